"""The guests that are measured: booted for it, in a run folder of their own, ended whatever happens.

`workload many N` (of the guest tests) gives N processes that share program, pages and files: the cheapest crowd.
`crowd N` gives N that share nothing. Both are real: a web server's workers, and everything else.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from vmon.core.errors import VmonError
from vmon.lab.guest import LabGuest
from vmon.lab.matrix import find_series

HERE = Path(__file__).parent
SOURCES = {
    "workload": HERE.parent / "tests" / "guest" / "inside" / "workload.c",
    "crowd": HERE / "crowd.c",
    "work": HERE / "work.c",
}
COUNT_PROCESSES = "cat /proc/[0-9]*/comm 2>/dev/null | grep -cE '^(w-one-of-many|crowd-member)$'; true"


class Guests:
    """Boots guests when they are asked for; a context manager that ends them."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._folder = Path(tempfile.mkdtemp(prefix="vmon-bench-"))
        self._overlay = self._folder / "overlay"
        self._up: dict[str, LabGuest] = {}
        self._own_run_folder = "VMON_RUN_DIR" not in os.environ

    def __enter__(self) -> Self:
        if self._own_run_folder:
            # Short, because a socket's path has 107 bytes.
            os.environ["VMON_RUN_DIR"] = f"/tmp/vmon-b{os.getpid()}"
        (self._overlay / "lab").mkdir(parents=True)
        for name, source in SOURCES.items():
            program = self._overlay / "lab" / name
            subprocess.run(
                ["gcc", "-static", "-O1", "-pthread", "-w", "-o", program, source], check=True, timeout=120
            )
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self._up):
            self.down(name)
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._own_run_folder:
            shutil.rmtree(os.environ.pop("VMON_RUN_DIR"), ignore_errors=True)

    def scratch(self, name: str) -> Path:
        """A path in a folder that goes at the end."""
        return self._folder / name

    def up(self, purpose: str, kernel: str, *, cpu_words: str = "", **plan: Any) -> LabGuest:
        """Boot a guest, or give the one that is up. `cpu_words` are added to the kernel's usual -cpu."""
        name = f"bench-{purpose}-{kernel}"
        if name not in self._up:
            self._say(f"{kernel:>6}  booting {name}")
            series = find_series(kernel)
            if cpu_words:
                plan["cpu"] = f"{series.tcg_cpu if series else 'max'},{cpu_words}"
                plan["accel"] = "tcg"
            self._up[name] = LabGuest.up(name, kernel=kernel, overlay=self._overlay, **plan)
        return self._up[name]

    def down(self, name: str) -> None:
        """End one guest."""
        guest = self._up.pop(name, None)
        if guest is not None:
            guest.down()

    @staticmethod
    def start_many(guest: LabGuest, count: int) -> None:
        """`count` plain children of one process."""
        _start(guest, f"/lab/workload many {count}", count)

    @staticmethod
    def start_crowd(guest: LabGuest, count: int) -> None:
        """`count` processes with files of their own."""
        _start(guest, f"/lab/crowd {count}", count)

    @staticmethod
    def end_processes(guest: LabGuest) -> None:
        """End what start_* started, and wait until they are gone."""
        guest.run("killall -9 workload crowd-member crowd", timeout_s=60)
        _wait_for(guest, 0)


def _start(guest: LabGuest, command: str, count: int) -> None:
    # In a session of its own: what ends the command that started it does not end it.
    done = guest.run(f"setsid {command}; true", timeout_s=300)
    if done.out.strip() != b"ready":
        raise VmonError(f"{command} in {guest.name}: {done.out!r} {done.err!r}")
    _wait_for(guest, count)


def _wait_for(guest: LabGuest, count: int) -> None:
    """Until there are so many of them."""
    there = -1
    for _ in range(30):
        there = int(guest.run(COUNT_PROCESSES, timeout_s=60).out)
        if there == count:
            return
        time.sleep(0.2)
    raise VmonError(f"{there} processes instead of {count} in {guest.name}")
