"""One process as rows: its record, and what it holds. What may be secret (environment, memory) is for operators.

Reads guests through vmon.monitor.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from vmon.api.table import PROCESS, VM, Asked, NoQuery, Row
from vmon.api.tokens import Role
from vmon.api.views import said_of
from vmon.core.coverage import Answer, GapRecord
from vmon.core.records import content, memory, process
from vmon.monitor.machine import VirtualMachine
from vmon.monitor.process import Process
from vmon.monitor.views.memory import Part


class StackQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which thread."""

    tid: int | None = None
    """All where none is named."""


class ScanBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is looked for, and where."""

    rules: str
    """Text of YARA rules, without include."""
    pids: tuple[int, ...] = ()
    """All processes where none is named."""
    parts: tuple[Part, ...] = ("processes",)


class StringsQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which texts."""

    least_chars: int = 4
    wide: bool = True
    """UTF-16 too."""
    limit: int = 10_000
    """So many at most; what is behind them is told as a gap."""


def environ(asked: Asked) -> Answer[process.EnvRecord]:
    """The environment; where its pages are not in memory, that is the coverage."""
    found = asked.vm.process(asked.pid).environ()
    if found is not None:
        return found
    return Answer([], [GapRecord(what="environ", reason="not resident", count=1, detail="")])


def strings(asked: Asked) -> Answer[memory.StringRecord]:
    """Texts, and a gap for those that are left out."""
    query: StringsQuery = asked.query
    found = asked.vm.strings(asked.pid, query.least_chars, wide=query.wide)
    if 0 <= query.limit < len(found):
        left = len(found) - query.limit
        gap = GapRecord(what="strings", reason="bounded", count=left, detail="by limit")
        return Answer(found[: query.limit], [*found.coverage, gap])
    return found


def scan(asked: Asked) -> Answer[memory.ScanRecord]:
    """Matches of YARA rules, which are compiled from a file of this call's own."""
    body: ScanBody = asked.body
    with TemporaryDirectory(prefix="vmon-") as folder:
        file = Path(folder) / "rules.yar"
        file.write_text(body.rules, encoding="utf-8")
        return asked.vm.scan([file], pids=body.pids, parts=body.parts, includes=False)


def _of_process(
    name: str, of: type[msgspec.Struct], call: Callable[[Asked], Any], role: Role = "viewer"
) -> Row:
    return Row(
        name=f"process_{name}",
        path=f"{PROCESS}/{name}",
        call=call,
        returns=of,
        many=True,
        said=said_of(getattr(Process, name)),
        role=role,
        covers=(f"Process.{name}",),
    )


def _of_machine(
    name: str,
    of: type[msgspec.Struct],
    query: type[msgspec.Struct] = NoQuery,
    role: Role = "viewer",
    path: str = "",
    call: Callable[[Asked], Any] | None = None,
) -> Row:
    def plain(asked: Asked) -> Any:
        return getattr(asked.vm, name)(asked.pid, **msgspec.structs.asdict(asked.query))

    return Row(
        name=f"process_{name}",
        path=f"{PROCESS}/{path or name}",
        call=call or plain,
        returns=of,
        many=True,
        query=query,
        said=said_of(getattr(VirtualMachine, name)),
        role=role,
        covers=(f"VirtualMachine.{name}",),
    )


ROWS = (
    Row(
        name="process",
        path=PROCESS,
        call=lambda asked: asked.vm.process(asked.pid).record(),
        returns=process.ProcessRecord,
        said=said_of(VirtualMachine.process),
        covers=("VirtualMachine.process", "Process.record"),
    ),
    _of_process("files", process.FileRecord, lambda asked: asked.vm.process(asked.pid).files()),
    _of_process("sockets", process.SocketRecord, lambda asked: asked.vm.process(asked.pid).sockets()),
    _of_process("maps", process.MapRecord, lambda asked: asked.vm.process(asked.pid).maps()),
    _of_process("threads", process.ThreadRecord, lambda asked: asked.vm.process(asked.pid).threads()),
    _of_process("environ", process.EnvRecord, environ, "operator"),
    _of_machine("descendants", process.ProcessRecord),
    _of_machine("stack", memory.StackRecord, StackQuery),
    _of_machine("auxv", memory.AuxRecord),
    _of_machine("hashed_maps", content.HashedMapRecord, path="hashed-maps"),
    _of_machine("strings", memory.StringRecord, StringsQuery, "operator", call=strings),
    Row(
        name="scan",
        method="POST",
        path=f"{VM}/scan",
        call=scan,
        returns=memory.ScanRecord,
        many=True,
        body=ScanBody,
        role="operator",
        only_reads=True,
        said=said_of(VirtualMachine.scan),
        covers=("VirtualMachine.scan",),
    ),
    Row(
        name="process_hash",
        path=f"{PROCESS}/hash",
        call=lambda asked: asked.vm.hashed_processes([asked.pid]),
        returns=content.HashedProcessRecord,
        many=True,
        said=said_of(VirtualMachine.hashed_processes),
        covers=("VirtualMachine.hashed_processes",),
    ),
)
