"""An event's fields with what is known of other processes: its parent, those that it comes from, who it is done to.

Pure, but for what Known has learned. A rename and a link are about both of their paths, so that a rule about a file is
about what takes its place too.
"""

from __future__ import annotations

from vmon.core import ecs
from vmon.core.events import Event
from vmon.monitor.known import Known

PATHS = ("file.path", "file.name", "file.directory", "file.extension")


def described(event: Event, known: Known) -> ecs.Fields:
    """The fields of `with_others`, and of a rename or a link those of both paths."""
    found = with_others(event, known)
    if event.path is not None and event.new_path is not None:
        both = [ecs.of_path(path) for path in (event.path, event.new_path)]
        for name in PATHS:
            words = [str(one[name]) for one in both if name in one]
            if words:
                found[name] = words
    return found


def with_others(event: Event, known: Known) -> ecs.Fields:
    """Fields by the names of vmon.core.ecs, those of PARENT and OTHERS too where they are known."""
    found = ecs.fields(event)
    own = known.life(event.key)
    above = own.above if own is not None else ()
    _put(found, "process.previous.executable", own.previous if own and event.cmdline else None)
    parent = known.life_of(event.ppid)
    if parent is not None:
        _put(found, "process.parent.executable", parent.exe)
        _put(found, "process.parent.name", parent.name)
        _put(found, "process.parent.command_line", " ".join(parent.cmdline) if parent.cmdline else None)
    found["vmon.tree.entity_id"] = [event.key, *(key for key, _ in above)]
    found["vmon.tree.executable"] = [exe for _, exe in above if exe is not None]
    if event.event in ("process.signal", "process.ptrace") and event.target_key:
        target = known.life(event.target_key)
        _put(found, "vmon.target.executable", target.exe if target is not None else None)
    return found


def _put(found: ecs.Fields, name: str, value: str | None) -> None:
    if value is not None:
        found[name] = value
