"""Processes that live as intruders do: from a deleted or memory-only program, with code they can write, being traced.

Reads the program file, the memory areas and the tracer of every process. None of it is a lie of the kernel; each has
honest reasons, which are said. When the guest changes its areas meanwhile, one can be missed.
Sources: fs/exec.c, mm/memfd.c, include/linux/mm.h VM_WRITE and VM_EXEC, kernel/ptrace.c.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vmon.check.kinds import finding
from vmon.core.address import Gva
from vmon.core.coverage import Gaps
from vmon.core.errors import GuestDataError
from vmon.core.records.finding import FindingRecord
from vmon.core.text import guest_text
from vmon.kernel.columns import text_rows
from vmon.kernel.profile import Wants
from vmon.linux import snapshot, vma
from vmon.linux.kernel import Kernel
from vmon.linux.snapshot import Snapshot

WANTS = (
    snapshot.WANTS
    | vma.WANTS
    | Wants(structs={"task_struct": "ptrace parent pid comm", "vm_area_struct": vma.VMA_FIELDS})
)
MEMFD = b"/memfd:"
MAX_AREAS_TOLD = 8


def check_habits(kernel: Kernel, gaps: Gaps) -> list[FindingRecord]:
    """Every process. 40 microseconds each, for its memory areas."""
    processes = Snapshot.of_all(kernel)
    return [*_programs(processes), *_areas(processes, gaps), *_traced(processes)]


def _subject(processes: Snapshot, row: int) -> str:
    return f"process {processes.pid[row]} ({guest_text(processes.name[row])})"


def _programs(processes: Snapshot) -> Iterator[FindingRecord]:
    for row, path in enumerate(processes.exe):
        if path is None or not path.deleted:
            continue
        memory_only = path.text.startswith(MEMFD)
        yield finding(
            "process.memfd" if memory_only else "process.deleted",
            _subject(processes, row),
            [f"mm_struct.exe_file: {guest_text(path.text)} (deleted)"],
            pid=processes.pid[row],
        )


def _areas(processes: Snapshot, gaps: Gaps) -> Iterator[FindingRecord]:
    kernel = processes.kernel
    mms = kernel.read("task_struct", "mm", processes.tasks)["mm"].tolist()
    both = np.uint64(vma.VM_WRITE | vma.VM_EXEC)
    for row, mm in enumerate(mms):
        if not mm:
            continue
        try:
            _, areas = vma.find_vmas(kernel, Gva(mm))
        except GuestDataError as error:
            gaps.add("memory areas", "unreadable", error.message)
            continue
        open_ones = np.flatnonzero((areas["vm_flags"] & both) == both).tolist()
        if open_ones:
            told = [
                f"{int(areas['vm_start'][at]):#x} to {int(areas['vm_end'][at]):#x}, "
                + ("of a file" if areas["vm_file"][at] else "anonymous")
                for at in open_ones[:MAX_AREAS_TOLD]
            ]
            more = len(open_ones) - len(told)
            evidence = [*told, *[f"and {more:,} more"] * (more > 0)]
            yield finding("process.writable_code", _subject(processes, row), evidence, pid=processes.pid[row])


def _traced(processes: Snapshot) -> Iterator[FindingRecord]:
    kernel = processes.kernel
    columns = kernel.read("task_struct", "ptrace parent", processes.tasks)
    rows = np.flatnonzero(columns["ptrace"] & np.uint64(1))
    tracers = kernel.read("task_struct", "pid comm", columns["parent"][rows])
    names = text_rows(tracers.raw("comm"))
    for row, pid, name in zip(rows.tolist(), tracers["pid"].tolist(), names, strict=True):
        evidence = [f"task_struct.ptrace is set, task_struct.parent is process {pid} ({guest_text(name)})"]
        yield finding("process.traced", _subject(processes, row), evidence, pid=processes.pid[row])
