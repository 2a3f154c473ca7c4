"""`vmon who`: who sits at a terminal of a guest. Reads the guest, changes nothing."""

from __future__ import annotations

from vmon.cli.listing import listing
from vmon.cli.output import View
from vmon.cli.ps import started
from vmon.core.records.login import LoginRecord


def row(record: LoginRecord) -> tuple[object, ...]:
    """One line of the table."""
    return (
        record.tty,
        record.uid,
        record.login_uid,
        record.sid,
        record.process,
        None if record.start_boottime_ns is None else started(record.start_boottime_ns),
        None if record.idle is None else f"{record.idle} s",
        record.foreground_pgid,
        None if record.foreground_command is None else " ".join(record.foreground_command),
    )


HEADER = ("TTY", "UID", "LOGIN UID", "SESSION", "LEADER", "STARTED", "IDLE", "FOREGROUND", "COMMAND")
WHO = View(LoginRecord, HEADER, row, "nobody has a terminal")
who = listing("who", "List the sessions of TARGET that have a terminal.", WHO, lambda vm: vm.who())
