"""What is known of the processes of a stream: the program of each, the container of each cgroup.

Looks at all processes once, and again, at most once a second, when an event comes from a cgroup that was not there; all
else is learned from the events. What a hostile guest makes up fills the tables up to a bound, then they are forgotten.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from vmon.core.events import Event
from vmon.core.text import guest_text
from vmon.linux.snapshot import Snapshot

MAX_KNOWN = 100_000
LOOK_AGAIN_S = 1.0


class Known:
    """`snapshot` shows the processes that are there now."""

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot
        found = snapshot()
        self._programs: dict[str, str] = {
            found.key(row): guest_text(exe.text) for row, exe in enumerate(found.exe) if exe is not None
        }
        self._containers: dict[int, str | None] = dict(found.containers)
        self._looked_at = time.monotonic()

    def program(self, key: str) -> str | None:
        """What a process runs; None where it was not seen to start."""
        return self._programs.get(key)

    def container(self, cgroup_id: int) -> str | None:
        """Which container a cgroup belongs to; None for none."""
        if cgroup_id not in self._containers:
            now = time.monotonic()
            if now - self._looked_at < LOOK_AGAIN_S and len(self._containers):
                return None
            self._looked_at = now
            self._containers.update(self._snapshot().containers)
            self._containers.setdefault(cgroup_id, None)
            if len(self._containers) > MAX_KNOWN:
                self._containers.clear()
        return self._containers.get(cgroup_id)

    def learn(self, event: Event) -> None:
        """Starts and ends of processes."""
        programs = self._programs
        if event.event == "process.exec" and event.cmdline and event.exe:
            programs[event.key] = event.exe
        elif event.event == "process.fork" and event.target_key and (exe := programs.get(event.key)):
            programs[event.target_key] = exe
        elif event.event == "process.exit":
            programs.pop(event.key, None)
        if len(programs) > MAX_KNOWN:
            programs.clear()
