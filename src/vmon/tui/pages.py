"""Records about one process, or about the guest, as the tables that a screen's lower half shows.

Pure. Texts are as the guest has them; the screen escapes them.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence

from vmon.core.coverage import GapRecord, said
from vmon.core.records.finding import FindingRecord
from vmon.core.records.memory import StackRecord
from vmon.core.records.process import EnvRecord, FileRecord, MapRecord, SocketRecord, ThreadRecord
from vmon.core.rules import RuleRecord, conditions
from vmon.tui.source import Page
from vmon.tui.words import size, span


def files(records: Iterable[FileRecord], coverage: Sequence[GapRecord]) -> Page:
    """Open descriptors."""
    rows = [
        (str(r.fd), r.mode, r.type, str(r.position), size(r.size), _path(r.path or "-", deleted=r.deleted))
        for r in records
    ]
    return _page(("FD", "MODE", "TYPE", "POSITION", "SIZE", "PATH"), rows, coverage, "no open file")


def sockets(records: Iterable[SocketRecord], coverage: Sequence[GapRecord]) -> Page:
    """Sockets that the process holds."""
    rows = []
    for r in records:
        local = endpoint(r.local_address, r.local_port) or r.path or r.interface or "-"
        peer = f"{r.peer_process}[{r.peer_pid}]" if r.peer_process else ""
        remote = endpoint(r.remote_address, r.remote_port) or peer or "-"
        rows.append((str(r.fd), f"{r.family} {r.protocol or r.type}", r.state, local, remote))
    return _page(("FD", "PROTOCOL", "STATE", "LOCAL", "REMOTE"), rows, coverage, "it holds no socket")


def endpoint(address: str, port: int | None) -> str:
    """An address and port as people write them; empty for none."""
    if not address and port is None:
        return ""
    number = "*" if port is None else port
    return f"[{address}]:{number}" if ":" in address else f"{address}:{number}"


def maps(records: Iterable[MapRecord], coverage: Sequence[GapRecord]) -> Page:
    """Memory areas."""
    rows = [
        (
            f"{r.start:012x}-{r.end:012x}",
            r.permissions,
            size(r.end - r.start),
            _path(r.path, deleted=r.deleted),
        )
        for r in records
    ]
    return _page(
        ("ADDRESS", "PERM", "SIZE", "PATH"), rows, coverage, "no memory area: a thread of the kernel has none"
    )


def threads(records: Iterable[ThreadRecord], coverage: Sequence[GapRecord]) -> Page:
    """Threads."""
    rows = [
        (str(r.tid), r.state, str(r.cpu), span(r.user_time + r.system_time), _since_boot(r.start_boottime_ns), r.name)
        for r in records
    ]  # fmt: skip
    return _page(("TID", "S", "CPU", "TIME", "START", "NAME"), rows, coverage, "it has no thread any more")


def stack(records: Iterable[StackRecord], coverage: Sequence[GapRecord]) -> Page:
    """Where each thread is in the kernel; a ? marks a guess."""
    rows = []
    for record in records:
        at = f"on CPU {record.on_cpu}" if record.on_cpu is not None else f"system call {record.syscall}"
        if record.on_cpu is None and record.syscall is None:
            at = ""
        rows.append((str(record.tid), record.state, f"{record.name}  {at}".rstrip()))
        for frame in record.frames:
            name = f"{frame.symbol}+{frame.offset:#x}" if frame.symbol else f"{frame.address:#x}"
            module = f" [{frame.module}]" if frame.module else ""
            rows.append(("", "", f"  {'' if frame.sure else '? '}{name}{module}"))
    return _page(("TID", "STATE", "WHERE"), rows, coverage, "no thread")


def environment(records: Iterable[EnvRecord] | None, coverage: Sequence[GapRecord]) -> Page:
    """Environment as laid out at exec."""
    if records is None:
        return Page(header=("NAME", "VALUE"), rows=(), nothing="its pages are not in the guest's memory")
    rows = [(r.name, r.value) for r in records]
    return _page(("NAME", "VALUE"), rows, coverage, "it has no environment")


def findings(records: Iterable[FindingRecord], coverage: Sequence[GapRecord]) -> Page:
    """What a check found."""
    rows = [
        (r.severity, r.check, "-" if r.pid is None else str(r.pid), f"{r.said} ({r.could_be})")
        for r in records
    ]
    return _page(("SEVERITY", "CHECK", "PID", "SAID"), rows, coverage, "nothing differs that should agree")


def rules(records: Iterable[RuleRecord], *, enforcing: bool) -> Page:
    """The rules in force in the guest."""
    rows = []
    for record in records:
        rule = record.rule
        action: str = rule.action
        if action in ("deny", "kill"):
            action = f"{action} {errno.errorcode.get(rule.errno, rule.errno)}"
        if rule.observe or not enforcing:
            action = f"would {action}"
        where = " ".join(f"{field}={value}" for field, value in conditions(rule).items())
        rows.append(
            (str(record.number), str(record.hits), action, " ".join(rule.events), where or "anything")
        )
    return _page(("RULE", "HITS", "ACTION", "ON", "WHERE"), rows, (), "no rule is in force")


def _since_boot(boottime_ns: int) -> str:
    return "+" + span(boottime_ns / 1e9)


def _path(path: str, *, deleted: bool) -> str:
    return f"{path} (deleted)" if deleted else path


def _page(
    header: Sequence[str], rows: Sequence[Sequence[str]], coverage: Sequence[GapRecord], nothing: str
) -> Page:
    return Page(header=header, rows=rows, nothing=nothing, missing=[said(gap) for gap in coverage])
