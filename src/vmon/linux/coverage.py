"""What a snapshot could not see is counted when somebody asks, from what it holds: reading costs the same.

A property that was not asked for has no gaps. What a process lacks that ended while it was read is lacking for that
reason ("torn"), and counted once, not field by field. Reads the identity (pid, start time) and a few pointers of those
that lack something. A hostile guest can lie in what was read, and then nothing is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vmon.core.coverage import Gaps
from vmon.linux.task import read_identity

if TYPE_CHECKING:
    from vmon.linux.openfiles import OpenFiles
    from vmon.linux.snapshot import Snapshot

Rows = NDArray[np.bool_]


def gaps_of(snapshot: Snapshot) -> Gaps:
    """What is missing from the answers that were read so far, of all processes together."""
    gaps, loaded = Gaps(), vars(snapshot)
    absent = _absent_rows(snapshot)
    gone = snapshot.ended | _moved_on(snapshot, absent)
    there = ~gone
    _add(
        gaps,
        "processes",
        "ended, or ran another program, while they were read",
        snapshot.dropped + int(gone.sum()),
    )
    for name, rows in absent.items():
        count = int((rows & there).sum())
        if count and name == "cmdline":
            gaps.add(name, "not resident", count=count)
        else:
            _add(gaps, name, "", count)
    if "_other_threads" in loaded:
        several = snapshot._signal["nr_threads"] > 1
        several[list(snapshot._other_threads)] = False
        count = int((several & there).sum())
        if count:
            gaps.add("threads", "bounded", "their times and memory are not counted", count)
    if "_open" in loaded:
        _add_files(gaps, snapshot._open, range(len(snapshot)), there)
    return gaps


def _absent_rows(snapshot: Snapshot) -> dict[str, Rows]:
    """By field, of those that were read, which processes have none though something says that they should."""
    loaded, found = vars(snapshot), {}
    if "cred" in loaded:
        found["credentials"] = ~snapshot.kernel.memory.mapped(snapshot._columns["real_cred"])
    if "cmdline" in loaded:
        found["cmdline"] = _absent(snapshot.cmdline)
    if "exe" in loaded:
        columns, which, _ = snapshot._mms
        found["exe"] = _absent(snapshot.exe) & np.append(columns["exe_file"] != 0, False)[which]
    if "_fs" in loaded:
        with_folder = snapshot._columns["fs"] != 0
        found["cwd"], found["root"] = (_absent(kind) & with_folder for kind in (snapshot.cwd, snapshot.root))
    if "_open" in loaded:
        found["files"] = np.zeros(len(snapshot), dtype=bool)
        found["files"][list(snapshot._open.fds.unreadable)] = True
    return found


def _moved_on(snapshot: Snapshot, absent: dict[str, Rows]) -> Rows:
    """Which of these still exist, but let go of what was read: they are ending, or in an exec. Touches the guest."""
    moved = np.zeros(len(snapshot), dtype=bool)
    rows = np.flatnonzero(np.logical_or.reduce([moved, *absent.values()]))
    if rows.size:
        now = snapshot.kernel.read("task_struct", "mm fs files real_cred", snapshot.tasks[rows])
        for name in ("mm", "fs", "files", "real_cred"):
            moved[rows] |= now[name] != snapshot._columns[name][rows]
    return moved


def gaps_of_files(snapshot: Snapshot, row: int) -> Gaps:
    """What is missing from the open files of one process."""
    gaps = Gaps()
    _add(gaps, "processes", "ended while it was read", int(snapshot.ended[row]))
    _add(gaps, "files", "", int(row in snapshot._open.fds.unreadable and not snapshot.ended[row]))
    _add_files(gaps, snapshot._open, [row], ~snapshot.ended)
    return gaps


def gaps_of_row(snapshot: Snapshot, row: int) -> Gaps:
    """Whether one process ended while something of it alone was read. Touches the guest."""
    gaps = Gaps()
    now = read_identity(snapshot.kernel, snapshot.tasks[row : row + 1])
    _add(gaps, "processes", "ended while it was read", int((now[0] != snapshot.identity[row]).any()))
    return gaps


def _absent(values: Sequence[object]) -> Rows:
    return np.array([value is None for value in values], dtype=bool)


def _add(gaps: Gaps, what: str, detail: str, count: int) -> None:
    if count:
        gaps.add(what, "torn" if what == "processes" else "unreadable", detail, count)


def _add_files(gaps: Gaps, found: OpenFiles, rows: Sequence[int], there: Rows) -> None:
    chosen = [row for row in rows if there[row]]
    truncated = sum(row in found.fds.truncated for row in chosen)
    if truncated:
        gaps.add("files", "bounded", count=truncated)
    unnamed = found.unnamed()
    _add(gaps, "path", "", sum(unnamed[row] for row in chosen))
    unknown = found.unknown_sockets
    _add(gaps, "sockets", "", sum(unknown[row] for row in chosen))
