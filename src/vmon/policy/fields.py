"""Which fields an event can have, by the names of vmon.core.ecs: a rule that asks for another can never fit.

Pure data. What a field means is told here once, and the schema of policies and `vmon policy fields` show it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vmon.core.ecs import KINDS

Kind = Literal["text", "path", "number", "address", "flag", "key"]
"""flag: true or false. key: pid@start."""

EVERY = tuple(KINDS)
FILES = tuple(name for name in KINDS if name.startswith("file."))
NETWORK = tuple(name for name in KINDS if name.startswith("net."))
OTHER_THAN_EXEC = tuple(name for name in KINDS if name != "process.exec")
PATHS = (*FILES, "process.exec", "module.load", "net.connect", "net.bind")
OWN_SIDE = ("net.bind", "net.listen", "net.accept")


@dataclass(frozen=True, slots=True)
class Field:
    """What a rule can ask about."""

    kind: Kind
    events: tuple[str, ...]
    means: str


FIELDS: dict[str, Field] = {
    "file.path": Field(
        "path", PATHS, "the whole path; of a rename or link either one; of an exec the program"
    ),
    "file.name": Field("text", PATHS, "its last name"),
    "file.directory": Field("path", PATHS, "all but its last name"),
    "file.extension": Field("text", PATHS, "what is behind the last dot of its name"),
    "process.executable": Field("path", EVERY, "the program of the process; of an exec the new one"),
    "process.previous.executable": Field("path", ("process.exec",), "the program that a process ran before"),
    "process.name": Field("text", OTHER_THAN_EXEC, "the kernel's name of the process, 15 bytes (comm)"),
    "process.args": Field("text", ("process.exec",), "each argument by itself, the program's name first"),
    "process.command_line": Field("text", ("process.exec",), "the arguments with a space between them"),
    "process.entity_id": Field("key", EVERY, "one process: pid@start, as `vmon ps -o json` gives it"),
    "process.pid": Field("number", EVERY, "its pid; another process may have it later"),
    "process.exit_code": Field("number", ("process.exit",), "as a shell has it: 128 and more for a signal"),
    "process.parent.pid": Field("number", EVERY, "the pid of the parent by now"),
    "process.parent.name": Field("text", EVERY, "the parent's name (comm)"),
    "process.parent.executable": Field("path", EVERY, "the parent's program"),
    "process.parent.command_line": Field("text", EVERY, "the parent's arguments"),
    "vmon.tree.entity_id": Field("key", EVERY, "the process or one that it comes from: pid@start"),
    "vmon.tree.executable": Field("path", EVERY, "the program of one that it comes from, when it started it"),
    "container.id": Field("text", EVERY, "the container of the process; startswith is enough"),
    "user.id": Field("number", EVERY, "the real user of the process"),
    "user.effective.id": Field("number", EVERY, "the effective user"),
    "group.id": Field("number", EVERY, "the real group"),
    "user.changes.id": Field("number", ("process.setuid", "file.chown"), "the user that it becomes"),
    "user.changes.effective.id": Field("number", ("process.setuid",), "the effective user that it becomes"),
    "user.changes.group.id": Field("number", ("file.chown",), "the group that it becomes"),
    "destination.ip": Field("address", ("net.connect",), "an address, or a network with |cidr"),
    "destination.port": Field("number", ("net.connect",), "the port that is connected to"),
    "source.ip": Field(
        "address", OWN_SIDE, "bound or listening: its own address; accepted: where it comes from"
    ),
    "source.port": Field("number", OWN_SIDE, "likewise"),
    "network.transport": Field("text", NETWORK, "tcp, udp..."),
    "network.type": Field("text", NETWORK, "ipv4 or ipv6"),
    "vmon.family": Field("text", NETWORK, "inet, inet6, unix, netlink..."),
    "vmon.write": Field("flag", ("file.open",), "whether the open may write"),
    "vmon.flags": Field("number", ("file.open", "file.mmap_exec", "file.mount"), "flags of the call"),
    "vmon.mode": Field("number", ("file.create", "file.mkdir", "file.chmod", "process.ptrace"), "its mode"),
    "vmon.signal": Field("number", ("process.signal",), "the signal that is sent"),
    "vmon.target.pid": Field("number", ("process.signal", "process.ptrace", "process.fork"), "to whom"),
    "vmon.target.entity_id": Field("key", ("process.signal", "process.ptrace", "process.fork"), "to whom"),
    "vmon.target.executable": Field("path", ("process.signal", "process.ptrace"), "to whom, by its program"),
}

ARGUMENTS = frozenset({"process.args", "process.command_line"})
"""What is known only once a program has started."""
WHO = frozenset(name for name, field in FIELDS.items() if field.events == EVERY or name in ("process.name",))
"""What is about the process that acts: what a scope can say."""

NEVER_REFUSED = ("process.fork", "process.exit")
"""The kernel asks nobody before these."""
NEVER_ASKED = (*NEVER_REFUSED, "process.signal", "process.ptrace")
"""The kernel can't wait there for an answer of the host."""
