"""An event's fields by the names of the Elastic Common Schema, flat: what policies match on and exports write.

Pure data. Source: ECS 8.17. What ECS has no name for stands under `vmon.`, and only the event's own words: nothing is
made up. Ids of users are texts, as ECS has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from vmon.core.events import Event
from vmon.core.rules import WRITING

Value = str | int | list[str]
Fields = dict[str, Value]


@dataclass(frozen=True, slots=True)
class Kind:
    """How ECS sorts one kind of event: event.category, event.type, event.action."""

    category: str
    types: tuple[str, ...]
    action: str


KINDS: dict[str, Kind] = {
    "process.fork": Kind("process", ("start",), "fork"),
    "process.exec": Kind("process", ("start",), "exec"),
    "process.exit": Kind("process", ("end",), "exit"),
    "process.setuid": Kind("process", ("change",), "setuid"),
    "process.signal": Kind("process", ("info",), "signal"),
    "process.ptrace": Kind("process", ("access",), "ptrace"),
    "file.open": Kind("file", ("access",), "open"),
    "file.create": Kind("file", ("creation",), "create"),
    "file.symlink": Kind("file", ("creation",), "symlink"),
    "file.unlink": Kind("file", ("deletion",), "unlink"),
    "file.rename": Kind("file", ("change",), "rename"),
    "file.link": Kind("file", ("creation",), "link"),
    "file.mkdir": Kind("file", ("creation",), "mkdir"),
    "file.rmdir": Kind("file", ("deletion",), "rmdir"),
    "file.chmod": Kind("file", ("change",), "chmod"),
    "file.chown": Kind("file", ("change",), "chown"),
    "file.truncate": Kind("file", ("change",), "truncate"),
    "file.mmap_exec": Kind("library", ("start",), "mmap_exec"),
    "file.mount": Kind("configuration", ("change",), "mount"),
    "net.connect": Kind("network", ("connection", "start"), "connect"),
    "net.bind": Kind("network", ("info",), "bind"),
    "net.listen": Kind("network", ("info",), "listen"),
    "net.accept": Kind("network", ("connection", "start"), "accept"),
    "module.load": Kind("driver", ("start",), "module_load"),
    "bpf.load": Kind("driver", ("start",), "bpf_load"),
}
"""Every event of the probe."""

RENAMED = {
    "key": "process.entity_id",
    "pid": "process.pid",
    "tid": "process.thread.id",
    "ppid": "process.parent.pid",
    "name": "process.name",
    "exe": "process.executable",
    "cmdline": "process.args",
    "exit_code": "process.exit_code",
    "container_id": "container.id",
    "path": "file.path",
    "protocol": "network.transport",
    "event": "vmon.event",
    "sequence": "event.sequence",
    "verdict": "vmon.verdict",
    "errno": "vmon.errno",
    "rule": "vmon.rule",
    "cut": "vmon.cut",
    "time_ns": "vmon.time_ns",
    "cpu": "vmon.cpu",
    "cgroup_id": "vmon.cgroup_id",
    "flags": "vmon.flags",
    "mode": "vmon.mode",
    "signal": "vmon.signal",
    "new_path": "vmon.new_path",
    "target_pid": "vmon.target.pid",
    "target_key": "vmon.target.entity_id",
    "family": "vmon.family",
    "ask": "vmon.ask",
}
"""Fields of an event that have one name whatever the event; the others are told apart in `fields`."""
IDS = {
    "uid": "user.id",
    "euid": "user.effective.id",
    "gid": "group.id",
    "new_uid": "user.changes.id",
    "new_euid": "user.changes.effective.id",
    "new_gid": "user.changes.group.id",
}
UNSET = {"rule": 0, "ask": 0, "errno": 0, "cut": False}
"""Fields of an event whose value says that there is none."""
OUTCOMES = {"denied": "failure", "killed": "failure", "asked": "unknown"}
NETWORK_TYPES = {"inet": "ipv4", "inet6": "ipv6"}
PARENT = ("process.parent.executable", "process.parent.command_line", "process.parent.name")
"""What no event carries and a stream that knows the other processes can add."""
OTHERS = (
    "process.previous.executable",
    "vmon.tree.entity_id",
    "vmon.tree.executable",
    "vmon.target.executable",
)
"""Likewise: what a process ran before its exec (which its check tells itself); it and all that it comes from, by their
keys and by their programs; the program of who is signalled or traced."""
NAMES = frozenset(
    {*RENAMED.values(), *IDS.values(), *PARENT, *OTHERS}
    | {f"event.{name}" for name in ("kind", "category", "type", "action", "outcome")}
    | {f"file.{name}" for name in ("name", "directory", "extension")}
    | {f"{side}.{name}" for side in ("source", "destination") for name in ("ip", "port")}
    | {"process.command_line", "network.type", "vmon.write"}
)
"""Every name that `fields` can give, and those of PARENT and OTHERS."""


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """The machine that events come from: what every output says of it."""

    target: str
    """As it was attached: lab:web1, qmp:/run/web1.qmp..."""
    hostname: str
    """As the guest calls itself."""
    release: str
    """Of its kernel."""
    boot_time_ns: int
    """Of the guest, in nanoseconds since 1970, by the guest's clock: added to an event's time_ns."""


def fields(event: Event) -> Fields:
    """Every field that the event has, flat, in no order that matters."""
    found: Fields = {}
    for name in event.__struct_fields__:
        value = getattr(event, name)
        if value is None or (name in UNSET and value == UNSET[name]):
            continue
        if name in RENAMED:
            found[RENAMED[name]] = value
        elif name in IDS:
            found[IDS[name]] = str(value)
    kind = KINDS[event.event]
    found["event.kind"] = "event"
    found["event.category"] = [kind.category]
    found["event.type"] = [*kind.types, *(("denied",) if event.verdict in ("denied", "killed") else ())]
    found["event.action"] = kind.action
    found["event.outcome"] = OUTCOMES.get(event.verdict, "success")
    if event.cmdline is not None:
        found["process.command_line"] = " ".join(event.cmdline)
    if event.exit_code is not None:
        # As a shell has it: a status, or 128 and the signal.
        signal = event.exit_code & 0x7F
        found["process.exit_code"] = 128 + signal if signal else event.exit_code >> 8
    if event.path is not None:
        found |= of_path(event.path)
    if event.event == "process.exec" and event.cmdline is None:
        found |= _asked_before(event)
    if event.event == "file.open" and event.flags is not None:
        found["vmon.write"] = int(bool(event.flags & WRITING))
    if event.address is not None:
        # What a socket is connected to, or came from, is the other side; a bound address is its own.
        side = {"net.connect": "destination"}.get(event.event, "source")
        found[f"{side}.ip"] = event.address
        if event.port is not None:
            found[f"{side}.port"] = event.port
    if event.family in NETWORK_TYPES:
        found["network.type"] = NETWORK_TYPES[event.family]
    return found


def _asked_before(event: Event) -> Fields:
    """Of an exec before it is done: the process still runs its old program."""
    programs = (("process.executable", event.path), ("process.previous.executable", event.exe))
    return {name: program for name, program in programs if program is not None}


def of_path(path: str) -> Fields:
    """A path and its parts."""
    folder, slash, name = path.rpartition("/")
    stem, dot, extension = name.rpartition(".")
    found: Fields = {"file.path": path, "file.name": name}
    if slash:
        found["file.directory"] = folder or "/"
    if dot and stem:
        found["file.extension"] = extension
    return found


def nested(flat: Mapping[str, Value]) -> dict[str, object]:
    """The same as objects within objects, as ECS documents are written."""
    whole: dict[str, object] = {}
    for name, value in flat.items():
        *above, last = name.split(".")
        place = whole
        for part in above:
            below = place.setdefault(part, {})
            assert isinstance(below, dict)
            place = below
        place[last] = value
    return whole
