"""Guests shared by the guest tests: one of each kernel, booted once a test process, ended whatever happens."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import vmon
from tests.guest.truth import Truth
from vmon.core.errors import LabError
from vmon.lab import matrix
from vmon.lab.guest import LabGuest

INSIDE = Path(__file__).parent / "inside"
KERNELS = matrix.names()
ONE_CPU = [f"{kernel}, one CPU" for kernel in KERNELS]
"""For `guest`, where the guest's own kernel changes its code: tracers, kprobes, tracepoints.

QEMU 7.2 translates code without holding the lock of its page (it does since 8.2, "accel/tcg: Always lock pages before
translation"). What another vCPU changes in that moment stays in translation as it was, and the kernel dies of a trap
or a call that is not there any more: a 6.12 once did so as its function tracer was switched off. With one vCPU nobody
translates while another changes. vmon's own changes are made while all of them stand still.
"""
PATIENCE_S = 180.0
"""For what takes a second or two where nobody else wants the CPUs."""
OVERLAY_VARIABLE = "VMON_TEST_OVERLAY"
LONG_VARIABLE = "VMON_TEST_LONG"
"""Set by `./dev guest --long`: what hopes for bad luck is repeated many times more."""


def build_overlay(folder: Path) -> Path:
    """Make a folder to lay over the guests' root: the programs of `inside`, built for any kernel."""
    (folder / "lab").mkdir(parents=True)
    for source in sorted(INSIDE.glob("*.c")):
        command = ["gcc", "-static", "-O1", "-pthread", "-Wall", "-Wno-unused-result"]
        subprocess.run([*command, "-o", folder / "lab" / source.stem, source], check=True)
    return folder


@pytest.fixture(scope="session")
def overlay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The overlay, built for this run or, where there is no compiler, before it."""
    given = os.environ.get(OVERLAY_VARIABLE)
    return Path(given) if given else build_overlay(tmp_path_factory.mktemp("overlay"))


def boot(name: str, **options: Any) -> LabGuest:
    """LabGuest.up, and once more where the guest does not come up.

    A 6.18 that patches its own text as it boots now and then panics in the emulator, before vmon comes: see ONE_CPU.
    """
    try:
        return LabGuest.up(name, **options)
    except LabError as error:
        print(f"{name} is booted again: {error.message}", *error.log, sep="\n", file=sys.stderr)
        return LabGuest.up(name, **options)


class Guests:
    """Boots a guest of a kernel when it is first asked for, and ends the one before.

    Pytest runs the tests of one kernel after another. In the emulated host of `./dev guest --kvm` two guests at a
    time now and then ruin each other, which is the emulator's doing.
    """

    def __init__(self, overlay: Path) -> None:
        self._overlay = overlay
        self._guests: dict[str, LabGuest] = {}

    def get(self, asked: str) -> LabGuest:
        """Of a kernel of the matrix, with two CPUs; or of ONE_CPU."""
        if asked not in self._guests:
            self.end()
            kernel, _, one = asked.partition(",")
            name, cpus = f"t-{kernel}-{os.getpid()}", 1 if one else 2
            guest = boot(name, kernel=kernel, cpus=cpus, overlay=self._overlay)
            self._guests[asked] = guest
            done = guest.run("/lab/workload", timeout_s=PATIENCE_S)
            assert done.out == b"ready\n", (done.out, done.err)
        return self._guests[asked]

    def end(self) -> None:
        while self._guests:
            self._guests.popitem()[1].down()


@pytest.fixture(scope="session")
def guests(overlay: Path) -> Iterator[Guests]:
    found = Guests(overlay)
    yield found
    found.end()


@pytest.fixture(scope="session", autouse=True)
def own_run_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Guests of this test process have a run folder of their own; at the end nothing is left in it."""
    # Short, because a socket's path has 107 bytes.
    folder = Path(f"/tmp/vmon-t{os.getpid()}")
    old = os.environ.get("VMON_RUN_DIR")
    os.environ["VMON_RUN_DIR"] = str(folder)
    yield folder
    left = [guest.name for guest in LabGuest.list()]
    for name in left:
        LabGuest.find(name).down()
    shutil.rmtree(folder, ignore_errors=True)
    if old is None:
        del os.environ["VMON_RUN_DIR"]
    else:
        os.environ["VMON_RUN_DIR"] = old
    assert not left, f"guests left running by the tests: {left}"


@pytest.fixture(
    scope="session",
    params=KERNELS,
)
def guest(request: pytest.FixtureRequest, guests: Guests) -> LabGuest:
    """A running guest with the workload in it, once for each kernel of the matrix."""
    return guests.get(request.param)


@pytest.fixture
def vm(guest: LabGuest) -> Iterator[vmon.VirtualMachine]:
    with vmon.attach(guest.name) as machine:
        yield machine


def ask_truth(guest: LabGuest) -> Truth:
    """Read /proc inside the guest."""
    done = guest.run("/lab/oracle", timeout_s=PATIENCE_S)
    assert done.status == 0, done.err
    return Truth.parse(done.out)


SHELL = """
asleep() {
    for p in "$@"; do
        until grep -qE '^(35|230) ' /proc/$p/syscall 2>/dev/null; do [ -d /proc/$p ] || return 1; usleep 20000; done
    done
}
end() { kill -9 "$@"; wait "$@" 2>/dev/null; for p in "$@"; do while [ -d /proc/$p ]; do usleep 20000; done; done; }
"""
"""Two functions for scripts: `asleep PID...` waits until they sleep as sleep(1) does, `end PID...` until they are gone.

A process that was started a moment ago is still a copy of its shell, one that was killed has its files open still.
The numbers are those of nanosleep and clock_nanosleep; /proc/PID/wchan tells nothing up to 5.10.
"""


def say(guest: LabGuest, script: str) -> str:
    """What a shell in the guest prints. The functions of SHELL are there."""
    done = guest.run(SHELL + script, timeout_s=PATIENCE_S)
    assert done.status == 0, (script, done.out, done.err)
    return done.out.decode("utf-8", "surrogateescape")


def sleeping(guest: LabGuest, command: str = "sleep 100000") -> int:
    """Start a command in the background that ends as sleep(1), and wait until it does; its pid."""
    return int(say(guest, f"{command} >/dev/null 2>&1 </dev/null & asleep $! && echo $!"))
