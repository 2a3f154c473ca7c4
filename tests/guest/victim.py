"""A vmon that does, once, all that changes a guest, and tells how far it is: tests end it in the middle."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import vmon
from vmon.core.rules import Rule
from vmon.transport.qemu import code

PATIENCE_S = 180.0
ASKED = "/tmp/asked"
"""Somebody in the guest opens it again and again; each time a victim is asked that has come so far."""
ALL = (
    "attach",
    "install",
    "pause",
    "ring",
    "watch",
    "rules",
    "signal",
    "drop",
    "remove",
    "pause out",
    "gone",
)
"""In order, of one that puts the probe in and takes it out; in the pauses the guest stands still."""
PAUSES = ("pause", "pause out")
ADOPTING = ("attach", "install", "watch", "rules", "ask", "signal", "drop")
"""Of one that finds the probe in the guest, and leaves it there."""
END = "end"
PRELOADED = ["vmon.monitor.stream", "vmon.control.signals", "vmon.transport.qemu.code", "qemu.qmp", __name__]


class Victim:
    """A process of its own, forked within milliseconds from one that has imported everything."""

    def __init__(self, target: str, pid: int, *, adopts: bool) -> None:
        """`pid` is a process of the guest to which SIGCONT does nothing."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        self._reader, writer = context.Pipe(duplex=False)
        self.process: BaseProcess = context.Process(target=live, args=(target, pid, adopts, writer))
        self.process.start()
        writer.close()
        self.stages = ADOPTING if adopts else ALL

    def wait_for(self, stage: str) -> int:
        """Until the stage begins; when that was, in nanoseconds of the monotonic clock."""
        while True:
            assert self._reader.poll(PATIENCE_S), f"it never came to {stage}"
            said, at_ns = self._reader.recv()
            if said == stage:
                return int(at_ns)

    def rehearse(self) -> dict[str, float]:
        """Let it live to its end; how many seconds each stage took."""
        begins = [self.wait_for(stage) for stage in (*self.stages, END)]
        self.process.join(PATIENCE_S)
        assert self.process.exitcode == 0
        return {
            stage: (end - begin) / 1e9
            for stage, begin, end in zip(self.stages, begins[:-1], begins[1:], strict=True)
        }

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.join(PATIENCE_S)
        self._reader.close()


def live(target: str, pid: int, adopts: bool, writer: Connection) -> None:
    """What the process does."""

    def tell(stage: str) -> None:
        writer.send((stage, time.monotonic_ns()))

    pauses = iter((("pause", "ring"), ("pause out", "gone")))
    apply_patches: Callable[..., None] = code.apply_patches

    def told(*arguments: Any) -> None:
        within, after = next(pauses)
        tell(within)
        apply_patches(*arguments)
        tell(after)

    code.apply_patches = told
    tell("attach")
    with vmon.attach(target) as vm:
        tell("install")
        vm.install_probe()
        tell("watch")
        stream = vm.event_stream("file.open", decide=lambda _: "deny")
        stream.start()
        stream.take()
        tell("rules")
        added = vm.add_rules(
            [
                Rule(events=("file.open",), path="/tmp/nobody"),
                Rule(events=("file.open",), path=ASKED, action="ask", fallback="allow", timeout_ms=500),
            ]
        )
        tell("ask")
        next(event for event in stream.follow(PATIENCE_S) if event.verdict == "denied")
        tell("signal")
        vm.signal(pid, signal.SIGCONT)
        tell("drop")
        stream.take()
        stream.stop()
        vm.drop_rules(*(record.number for record in added))
        if not adopts:
            tell("remove")
            vm.remove_probe()
    tell(END)
    sys.stdout.flush()
    os._exit(0)
