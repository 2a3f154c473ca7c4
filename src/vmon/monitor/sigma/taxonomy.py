"""What Sigma's categories and field names are here: which events of the probe, which ECS names, or why there is none.

Pure data. Source: the taxonomy appendix of the Sigma specification 2.1, which for Linux follows Sysmon's events 1, 3
and 11. A rule that asks for something that no event carries is not put in force: it would say that nothing happens.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import dataclass, field

from vmon.core import ecs
from vmon.policy.condition import ALWAYS, AnyOf, Condition, Holds, Test


class Unsupported(Exception):
    """A rule that can't be judged here; the text is the reason."""


@dataclass(frozen=True, slots=True)
class Source:
    """Events of the probe that are one of a category, and what some of its fields are called in them."""

    events: frozenset[str]
    condition: Condition = ALWAYS
    """Which of these events."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Fields that are called so only here."""
    lacks: tuple[str, ...] = ()
    """Beginnings of names of ECS that these events have not."""


def _not_opened(mode: str | int) -> bool:
    return isinstance(mode, int) and not stat.S_ISREG(mode)


_TARGET = {"TargetFilename": "file.path"}
_FILE = {**_TARGET, "FileName": "file.path"}
_NEW = {"TargetFilename": "vmon.new_path", "file.path": "vmon.new_path"}
_NO_NETWORK = ("destination.", "source.", "network.")
_NO_FILE = ("file.", "vmon.new_path", "vmon.mode")

PROCESS_CREATION = (
    # Told when it is done: what a rule of the probe decided before has no arguments yet. Nor has, where the kernel lets
    # it (before 5.18 and its backports), what was started without any.
    Source(
        frozenset(("process.exec",)),
        AnyOf((Test("process.args", "exists", (1,)), Test("vmon.rule", "exists", (0,)))),
        {},
        _NO_NETWORK,
    ),
)
FILE_EVENT = (
    # Every open that creates or may write; so a new file is told of once, as it is opened, not as it is made.
    Source(frozenset(("file.open",)), Test("vmon.write", "equals", (1,)), _TARGET, _NO_NETWORK),
    # Devices, pipes and sockets are made without being opened.
    Source(frozenset(("file.create",)), Holds("vmon.mode", _not_opened), _TARGET, _NO_NETWORK),
    Source(frozenset(("file.symlink",)), ALWAYS, _TARGET, _NO_NETWORK),
    # Most programs write beside and rename. Of the new name the path alone is at hand.
    Source(frozenset(("file.rename", "file.link")), ALWAYS, _NEW, (*_NO_NETWORK, "file.")),
)
NETWORK_CONNECTION = (
    Source(
        frozenset(("net.connect",)),
        # Not to a socket of this machine's file system, nor the end of a connection (AF_UNSPEC).
        Test("destination.ip", "exists", (1,)),
        {
            "DestinationIp": "destination.ip",
            "DestinationPort": "destination.port",
            "Protocol": "network.transport",
        },
        ("source.", *_NO_FILE),
    ),
)


def _source(event: str, names: Mapping[str, str] | None = None, *lacks: str) -> tuple[Source, ...]:
    return (Source(frozenset((event,)), ALWAYS, names or {}, (*_NO_NETWORK, *lacks)),)


CATEGORIES: dict[str, tuple[Source, ...]] = {
    "process_creation": PROCESS_CREATION,
    "process_termination": _source("process.exit", {}, *_NO_FILE),
    "file_event": FILE_EVENT,
    "file_access": _source("file.open", _FILE),
    "file_delete": _source("file.unlink", _FILE),
    "file_rename": _source("file.rename", {"SourceFilename": "file.path", "TargetFilename": "vmon.new_path"}),
    "image_load": _source("file.mmap_exec", {"ImageLoaded": "file.path"}),
    "driver_load": _source("module.load", {"ImageLoaded": "file.path"}),
    "network_connection": NETWORK_CONNECTION,
}
"""Linux's three, and those of Windows that mean something here."""

FIELDS = {
    "Image": "process.executable",
    "CommandLine": "process.command_line",
    "ProcessId": "process.pid",
    "ProcessGuid": "process.entity_id",
    "ParentImage": "process.parent.executable",
    "ParentCommandLine": "process.parent.command_line",
    "ParentProcessId": "process.parent.pid",
    "User": "user.name",
}
"""Names that are the same in every category."""
NETWORK_TYPES = {"true": "ipv6", "false": "ipv4"}
"""What DestinationIsIpv6 says."""

WHY_NO_FIELD = {
    "CurrentDirectory": "no event carries the working directory of a process",
    "LogonId": "Linux has no logon ids",
    "LogonGuid": "Linux has no logon ids",
    "IntegrityLevel": "Linux has no integrity levels",
    "OriginalFileName": "it is read from programs of Windows",
    "Product": "it is read from programs of Windows",
    "Description": "it is read from programs of Windows",
    "Company": "it is read from programs of Windows",
    "Hashes": "programs are not hashed as they start",
    "ParentUser": "the user of a parent is not recorded",
    "DestinationHostname": "a connection has an address; the name that was looked up is not seen",
    "SourceHostname": "a connection has an address; the name that was looked up is not seen",
    "SourceIp": "the own end of a connection is not known when it is asked for",
    "SourcePort": "the own end of a connection is not known when it is asked for",
    "SourceIsIpv6": "the own end of a connection is not known when it is asked for",
}
WHY_NO_CATEGORY = {
    "file_change": "changes of a file's times are not seen",
    "dns_query": "what is sent by UDP is not seen",
    "dns": "what is sent by UDP is not seen",
    "process_access": "Sysmon's event is one of Windows",
    "create_remote_thread": "Sysmon's event is one of Windows",
}
STANDING_IN = {"user.name"}
"""Names of ECS that no event carries and that are worked out here."""


def sources_of(category: str | None, product: str | None, service: str | None) -> tuple[Source, ...]:
    """Which events a log source is. Unsupported for one that is none."""
    if product not in (None, "linux"):
        raise Unsupported(f"it is about {product}, not Linux")
    if service is not None and service != "sysmon":
        raise Unsupported(f"it reads the log of {service}, which the guest writes itself")
    if category is None:
        raise Unsupported("its log source has no category")
    found = CATEGORIES.get(category)
    if found is None:
        why = WHY_NO_CATEGORY.get(category)
        raise Unsupported(f"category {category}" + (f": {why}" if why else " is none that is seen here"))
    return found


def ecs_name(sigma_name: str, source: Source) -> str:
    """What a field is called in these events. Unsupported for one that they lack."""
    found = source.names.get(sigma_name) or FIELDS.get(sigma_name)
    known = sigma_name in ecs.NAMES or sigma_name in STANDING_IN
    if found is None and known and not sigma_name.startswith(source.lacks):
        found = sigma_name
    if found is None:
        why = WHY_NO_FIELD.get(sigma_name)
        raise Unsupported(f"field {sigma_name}" + (f": {why}" if why else " is none of these events"))
    return found
