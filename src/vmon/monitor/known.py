"""What is known of the processes of a stream: program and parents of each, the container of each cgroup.

Looks at all processes once, and again, at most once a second, when an event comes from a cgroup that was not there; all
else is learned from the events. What a hostile guest makes up fills the tables up to a bound, then they are forgotten.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from vmon.core.events import Event
from vmon.core.text import guest_text
from vmon.linux.snapshot import Snapshot

MAX_KNOWN = 100_000
MAX_ABOVE = 32
MAX_GONE = 4096
"""Events of a process are looked at some time after they were learned from, when it may have ended."""
LOOK_AGAIN_S = 1.0


@dataclass(slots=True)
class Life:
    """A process, as far as it was seen."""

    exe: str | None = None
    previous: str | None = None
    """What it ran before its last exec."""
    name: str | None = None
    cmdline: list[str] | None = None
    above: tuple[tuple[str, str | None], ...] = ()
    """Keys of those that it comes from, nearest first, and what each ran when it started the next."""


class Known:
    """`snapshot` shows the processes that are there now."""

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot
        found = snapshot()
        self._lives: dict[str, Life] = {
            found.key(row): Life(None if exe is None else guest_text(exe.text))
            for row, exe in enumerate(found.exe)
        }
        self._gone: dict[str, tuple[int, Life]] = {}
        self._keys: dict[int, str] = {}
        self._closely = False
        self._containers: dict[int, str | None] = dict(found.containers)
        self._looked_at = time.monotonic()

    def look_closely(self) -> None:
        """Read names, arguments and parents of those that are there; some milliseconds, once."""
        if self._closely:
            return
        self._closely = True
        found = self._snapshot()
        rows = {found.key(row): row for row in range(len(found.pid))}
        for key, row in rows.items():
            life = self._lives.setdefault(key, Life())
            exe, words = found.exe[row], found.cmdline[row]
            life.exe = life.exe or (None if exe is None else guest_text(exe.text))
            life.name = guest_text(found.name[row])
            life.cmdline = None if words is None else [guest_text(word) for word in words]
            self._keys[found.pid[row]] = key
        for key, row in rows.items():
            life = self._lives[key]
            above: list[tuple[str, str | None]] = []
            while len(above) < MAX_ABOVE and (row := rows.get(found.parent_key[row] or "", -1)) >= 0:
                parent = found.key(row)
                above.append((parent, self._lives[parent].exe))
            life.above = life.above or tuple(above)

    def program(self, key: str) -> str | None:
        """What a process runs; None where it was not seen to start."""
        life = self._lives.get(key)
        return None if life is None else life.exe

    def life(self, key: str) -> Life | None:
        """What is known of a process, also of one that ended a moment ago."""
        life = self._lives.get(key)
        return self._gone[key][1] if life is None and key in self._gone else life

    def life_of(self, pid: int) -> Life | None:
        """Of the process that has a pid, or had it last."""
        return self.life(self._keys.get(pid, ""))

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

    def _end(self, event: Event) -> None:
        life = self._lives.pop(event.key, None)
        if life is not None:
            self._gone[event.key] = event.pid, life
        if len(self._gone) > MAX_GONE:
            key = next(iter(self._gone))
            pid, _ = self._gone.pop(key)
            if self._keys.get(pid) == key:
                del self._keys[pid]

    def learn(self, event: Event) -> None:
        """Starts and ends of processes."""
        lives = self._lives
        if event.event == "process.exec" and event.cmdline and event.exe:
            life = lives.setdefault(event.key, Life())
            life.previous, life.exe = life.exe, event.exe
            life.name, life.cmdline = event.name, event.cmdline
            self._keys[event.pid] = event.key
        elif event.event == "process.fork" and event.target_key and event.target_pid is not None:
            parent = lives.get(event.key) or Life()
            above = ((event.key, parent.exe), *parent.above[: MAX_ABOVE - 1])
            lives[event.target_key] = Life(parent.exe, None, event.name, parent.cmdline, above)
            self._keys[event.target_pid] = event.target_key
        elif event.event == "process.exit":
            self._end(event)
        if len(lives) > MAX_KNOWN:
            lives.clear()
            self._keys.clear()
