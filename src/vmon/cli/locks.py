"""`vmon locks`: who locks which file, and who waits for it. Reads the guest, changes nothing."""

from __future__ import annotations

from vmon.cli.listing import listing
from vmon.cli.output import View
from vmon.core.records.filesystem import LockRecord


def row(record: LockRecord) -> tuple[object, ...]:
    """One line of the table."""
    whole = record.start == 0 and record.end is None
    return (
        record.type,
        record.mode,
        record.state,
        record.pid if record.pid is not None else ",".join(map(str, record.holders)) or None,
        record.process,
        record.waits_for if record.state == "waiting" else None,
        ",".join(map(str, record.waiters)) or None,
        "whole" if whole else f"{record.start}-{'end' if record.end is None else record.end}",
        record.inode,
        f"{record.path} (deleted)" if record.deleted else record.path,
    )


HEADER = ("TYPE", "MODE", "STATE", "PID", "PROCESS", "WAITS FOR", "WAITERS", "BYTES", "INODE", "PATH")
LOCKS = View(LockRecord, HEADER, row, "no file is locked")
locks = listing("locks", "List the locks on files in TARGET, and who waits.", LOCKS, lambda vm: vm.locks())
