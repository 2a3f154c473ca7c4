"""How much of a CPU each process took, from two frames of a guest, against the guest's own clock.

Pure. An idle guest moves its clock on only now and then, so it is carried on by the host's for a little while; a guest
that stands still (paused) gets no time. What a process used is cut to what CPUs there are.
"""

from __future__ import annotations

from vmon.tui.source import Frame

LONGEST_LAG_S = 1.2
"""An idle guest's clock is at most so old."""


class Clock:
    """The guest's clock, in seconds, carried on between its ticks."""

    def __init__(self) -> None:
        self.seconds: float | None = None
        self._host_s = 0.0
        self.stands_still = False
        """Whether the guest's clock has not moved for longer than an idle guest's would."""

    def look(self, uptime_ns: int | None, host_s: float) -> float:
        """Seconds that passed in the guest since the last look; 0 for the first one."""
        passed = host_s - self._host_s
        self._host_s = host_s
        if uptime_ns is None:
            self.stands_still = False
            return passed if self.seconds is not None else self._begin(host_s)
        told = uptime_ns / 1e9
        if self.seconds is None:
            return self._begin(told)
        before = self.seconds
        carried = before + passed
        self.seconds = max(before, min(max(carried, told), told + LONGEST_LAG_S))
        self.stands_still = carried > told + LONGEST_LAG_S and self.seconds - before < passed / 2
        return self.seconds - before

    def _begin(self, seconds: float) -> float:
        self.seconds = seconds
        return 0.0


class Rates:
    """What was used between the last two frames."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.cpu: dict[str, float] = {}
        """Of each process, by key: CPUs' worth, 1.0 for one whole CPU. Empty until there were two frames."""
        self.busy: list[float] = []
        """Of each CPU, from 0 to 1, in the order of the frame."""
        self._boot = ""
        self._used: dict[str, float] = {}
        self._was_busy: dict[int, float] = {}

    def look(self, frame: Frame) -> None:
        """Take in the next frame."""
        if frame.boot != self._boot:
            self._boot = frame.boot
            self.clock, self._used, self._was_busy, self.cpu, self.busy = Clock(), {}, {}, {}, []
        passed = self.clock.look(frame.load.uptime_ns, frame.host_s)
        now = {row.key: row.cpu_s for row in frame.rows}
        busy = dict(zip(frame.load.cpus, frame.load.busy, strict=True))
        if self._used and passed > 0:
            most = float(max(1, len(busy)))
            # What was not there before has used all its time since.
            self.cpu = {
                key: min(max(used - self._used.get(key, 0.0), 0.0) / passed, most)
                for key, used in now.items()
            }
            self.busy = [
                min(max(seconds - self._was_busy.get(cpu, seconds), 0.0) / passed, 1.0)
                for cpu, seconds in busy.items()
            ]
        elif self._used:
            self.cpu = dict.fromkeys(now, 0.0)
            self.busy = [0.0] * len(busy)
        self._used, self._was_busy = now, busy
