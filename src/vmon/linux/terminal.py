"""A session has a terminal when its signal_structs point to a tty_struct, which names session and foreground.

Reads tty_struct, tty_driver, the files that are open on it, inode. A hostile guest can bend the list of files: it is
bounded. A session that ends meanwhile is there without its leader, or is not there.
Sources: include/linux/tty.h, drivers/tty/tty_io.c tty_update_time(), fs/proc/array.c do_task_stat().
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vmon.core.address import Gva
from vmon.core.coverage import Gaps
from vmon.core.errors import GuestDataError
from vmon.core.records.login import LoginRecord
from vmon.core.text import guest_text
from vmon.kernel.columns import Column, unique
from vmon.kernel.profile import Wants
from vmon.linux.inode import user_devices
from vmon.linux.kernel import Kernel
from vmon.linux.namespace import read_pid_numbers
from vmon.linux.snapshot import Snapshot
from vmon.linux.task import NS_PER_SECOND, walk_list
from vmon.linux.tty import read_ttys

MAX_FILES = 10_000
NOBODY = 0xFFFF_FFFF
MINOR_BITS = 20
# pgrp and session moved into tty_struct.ctrl in 5.15 or 5.16. i_atime: i_atime_sec since 6.11, __i_atime since 6.7.
WANTS = Wants(
    symbols=("tk_core", "timekeeper_data"),
    structs={
        "task_struct": "loginuid signal",
        "signal_struct": "tty",
        "tty_struct": "name index driver ctrl.pgrp|pgrp ctrl.session|session tty_files",
        "tty_driver": "major minor_start type subtype",
        "tty_file_private": "file list",
        "file": "f_inode",
        "inode": "i_rdev i_atime_sec|__i_atime.tv_sec|i_atime.tv_sec",
        "timekeeper": "xtime_sec",
    },
)


@dataclass(frozen=True, slots=True)
class Terminal:
    """One tty_struct."""

    name: str
    device: int
    """Kernel dev_t: 12 bits of major, 20 of minor."""
    sid: int
    pgid: int
    files: int
    """Address of its list of open files."""


def read_logins(kernel: Kernel, snapshot: Snapshot, gaps: Gaps) -> list[LoginRecord]:
    """Every session that has a terminal, the oldest first."""
    tasks = kernel.read("task_struct", "loginuid signal", snapshot.tasks)
    ttys = kernel.read("signal_struct", "tty", tasks["signal"])["tty"].tolist()
    rows_of: dict[int, list[int]] = {}
    for row, tty in enumerate(ttys):
        if tty:
            rows_of.setdefault(tty, []).append(row)
    terminals = read_terminals(kernel, np.array(list(rows_of), dtype=np.uint64))
    groups, sessions = snapshot.groups_of_session
    login_uids = tasks["loginuid"].tolist() if "loginuid" in tasks else [NOBODY] * len(snapshot)
    now, boot = _now(kernel), snapshot.boot_time
    result = []
    for rows, terminal in zip(rows_of.values(), terminals, strict=True):
        leader = next((row for row in rows if snapshot.pid[row] == terminal.sid), None)
        front = [row for row in rows if groups[row] == terminal.pgid]
        command = snapshot.cmdline[_first(snapshot, front, terminal.pgid)] if front else None
        start = None if leader is None else snapshot.start_boottime_ns[leader]
        typed = _last_typed(kernel, terminal, gaps)
        login_uid = NOBODY if leader is None else login_uids[leader]
        result.append(
            LoginRecord(
                tty=terminal.name,
                device=int(user_devices(np.array([terminal.device], dtype=np.uint64))[0]),
                sid=terminal.sid,
                process=None if leader is None else guest_text(snapshot.name[leader]),
                key=None if leader is None else snapshot.key(leader),
                uid=None if leader is None else snapshot.uid[leader],
                login_uid=None if login_uid == NOBODY else login_uid,
                start_boottime_ns=start,
                start_time=None if start is None or boot is None else boot + start / NS_PER_SECOND,
                idle=None if typed is None or now is None else max(0, now - typed),
                foreground_pgid=terminal.pgid or None,
                foreground_pids=[snapshot.pid[row] for row in front],
                foreground_command=None if command is None else [guest_text(word) for word in command],
                processes=sum(sessions[row] == terminal.sid for row in rows),
            )
        )
    return sorted(result, key=lambda record: (record.start_boottime_ns or 0, record.tty))


def _first(snapshot: Snapshot, rows: list[int], pgid: int) -> int:
    """The leader of a group, or its oldest process."""
    pids = snapshot.pid
    return min(rows, key=lambda row: (pids[row] != pgid, snapshot.start_boottime_ns[row]))


def read_terminals(kernel: Kernel, ttys: Column) -> list[Terminal]:
    """Terminals by their addresses, none of which is null, in that order."""
    columns = kernel.read("tty_struct", "index driver ctrl.pgrp ctrl.session", ttys)
    drivers = kernel.read("tty_driver", "major minor_start", columns["driver"])
    devices = (drivers["major"] << np.uint64(MINOR_BITS)) + drivers["minor_start"] + columns["index"]
    files = kernel.offset("tty_struct", "tty_files")
    rows = zip(
        read_ttys(kernel, ttys),
        (devices & np.uint64(0xFFFF_FFFF)).tolist(),
        read_pid_numbers(kernel, columns["ctrl.session"]),
        read_pid_numbers(kernel, columns["ctrl.pgrp"]),
        (ttys + np.uint64(files)).tolist(),
        strict=True,
    )
    return [Terminal(name or "?", device, sid, pgid, place) for name, device, sid, pgid, place in rows]


def _last_typed(kernel: Kernel, terminal: Terminal, gaps: Gaps) -> int | None:
    """Seconds since the epoch when something was last read from a terminal; None where it is not open."""
    offset = kernel.offset("tty_file_private", "list")
    try:
        nodes = walk_list(kernel, Gva(terminal.files), "tty_struct.tty_files", MAX_FILES)
    except GuestDataError as error:
        gaps.add("idle", "unreadable", error.message)
        return None
    opened = np.array(nodes, dtype=np.uint64) - np.uint64(offset)
    files = kernel.read("tty_file_private", "file", opened)["file"]
    inodes = unique(kernel.read("file", "f_inode", files)["f_inode"])
    columns = kernel.read("inode", "i_rdev i_atime_sec", inodes)
    # /dev/tty is open on many terminals, and everybody's keys are its.
    own = columns["i_rdev"] == np.uint64(terminal.device)
    times: list[int] = columns.signed("i_atime_sec")[own].tolist()
    return max(times, default=None)


def _now(kernel: Kernel) -> int | None:
    """Seconds since the epoch, by the guest's clock."""
    symbol = "timekeeper_data" if kernel.has_symbol("timekeeper_data") else "tk_core"
    try:
        # The timekeeper is 8-aligned behind the sequence count.
        return int(kernel.read_one("timekeeper", "xtime_sec", kernel.symbol(symbol) + 8)["xtime_sec"][0])
    except GuestDataError:
        return None
