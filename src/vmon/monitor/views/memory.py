"""The memory of processes as a whole: core files, texts, rules, registers and stacks. Reads the guest, changes nothing.

Bytes at an address are asked of a Process: read_memory.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vmon.core.address import Gva
from vmon.core.coverage import Answer, Gaps
from vmon.core.errors import GuestDataError, NoSuchProcess, UsageError
from vmon.core.records.memory import AuxRecord, CoreRecord, FrameRecord, StackRecord, StringRecord
from vmon.core.text import guest_text
from vmon.monitor.views.subject import Subject
from vmon.transport.newfile import new_file

if TYPE_CHECKING:
    from vmon.core.records.memory import ScanRecord
    from vmon.linux import registers
    from vmon.linux.snapshot import Snapshot

Part = Literal["processes", "files", "kernel"]
PARTS: tuple[Part, ...] = ("processes", "files", "kernel")
RAM_TIMES = 4
MAX_STRINGS = 1_000_000
NO_SYSCALL = 1 << 31
ON_CPU = "on a CPU right now: those of its last entry into the kernel"


class MemoryViews(Subject):
    """Mixed into VirtualMachine."""

    def auxv(self, pid: int) -> Answer[AuxRecord]:
        """The auxiliary vector of a process, as its program got it at exec. NoSuchProcess, NotMapped without memory."""
        from vmon.linux import auxv
        from vmon.linux.snapshot import Snapshot

        found = Snapshot.of_pid(self.wide_kernel, pid)
        gaps, mm = Gaps(), found.mm(0)
        memory = found.memory(0)
        assert mm is not None
        records = auxv.read_auxv(found.kernel, mm, pid, memory, gaps)
        _require_same(found)
        return Answer(records, gaps)

    def strings(self, pid: int, least_chars: int = 4, *, wide: bool = True) -> Answer[StringRecord]:
        """Printable texts in the memory of a process, by area, ASCII and (with `wide`) UTF-16.

        About 15 ms a MiB; at most a million. NoSuchProcess, NotMapped without memory, UsageError.
        """
        from vmon.linux import textscan, windows
        from vmon.linux.snapshot import Snapshot

        if not 1 <= least_chars <= textscan.MAX_TEXT_CHARS:
            raise UsageError(f"texts of at least {least_chars} characters", hint="1 to 4096")
        found = Snapshot.of_pid(self.wide_kernel, pid)
        memory, maps, gaps = found.memory(0), {area.start: area.path for area in found.maps(0)}, Gaps()
        ram = sum(part.size_bytes for part in found.kernel.memory.phys.ranges)
        budget = windows.Budget(RAM_TIMES * ram)
        records: list[StringRecord] = []
        for area in memory.areas if len(records) < MAX_STRINGS else ():
            pieces = windows.iter_windows(
                found.kernel, memory, [area], gaps, budget, overlap_bytes=textscan.OVERLAP_BYTES
            )
            for address, encoding, text in textscan.iter_texts(pieces, least_chars, wide=wide):
                if len(records) == MAX_STRINGS:
                    gaps.add("strings", "bounded", f"more than {MAX_STRINGS:,}")
                    break
                records.append(
                    StringRecord(
                        pid=pid,
                        address=address,
                        encoding=encoding,
                        text=text.decode("ascii"),
                        area=maps.get(area.start) or "",
                    )
                )
        _require_same(found)
        return Answer(records, gaps)

    def scan(
        self,
        rules: Sequence[str | Path],
        *,
        pids: Collection[int] = (),
        parts: Collection[Part] = PARTS[:1],
        includes: bool = True,
    ) -> Answer[ScanRecord]:
        """Run files of YARA rules over the memory of processes (all, or `pids`), the page cache, and the kernel.

        A rule is applied to each piece of memory that hangs together; without `includes` none may bring in another
        file. About 5 ms a MiB. NotSupported without yara-x, RulesError for rules that make no sense, NoSuchProcess.
        """
        from vmon.linux.snapshot import Snapshot
        from vmon.monitor.scanning import Scan
        from vmon.monitor.yara import compile_rules

        kernel = self.wide_kernel
        scan = Scan(kernel, compile_rules(rules, includes=includes))
        records: list[ScanRecord] = []
        if "processes" in parts:
            snapshots = [Snapshot.of_pid(kernel, pid) for pid in pids] or [Snapshot.of_all(kernel)]
            for snapshot in snapshots:
                records += scan.processes(snapshot)
        if "files" in parts:
            records += scan.files()
        if "kernel" in parts:
            records += scan.kernel()
        return Answer(records, scan.gaps)

    def core(self, pid: int, file: str | Path, *, overwrite: bool = False) -> CoreRecord:
        """Write a core file of a process, which goes on meanwhile: gdb and other tools open it.

        Memory that is not there is in no segment of the file. NoSuchProcess, NotMapped without memory,
        UsageError where the file is there already or can't be written. Its owner alone may read it.
        """
        from vmon.linux import auxv, coredump
        from vmon.linux.snapshot import Snapshot

        found = Snapshot.of_pid(self.wide_kernel, pid)
        kernel, gaps, path = found.kernel, Gaps(), Path(file)
        memory, mm = found.memory(0), found.mm(0)
        assert mm is not None
        threads = self._threads(found)
        running = sum(thread.on_cpu is not None for thread in threads)
        if running:
            gaps.add("registers", "torn", ON_CPU, running)
        notes = coredump.make_notes(found.record(0), threads, found.maps(0), auxv.read_auxv_bytes(kernel, mm))
        segments = coredump.plan_segments(memory, gaps)
        head, places, size = coredump.layout(segments, notes)
        stored = len(head)
        with new_file(path, overwrite=overwrite) as stream:
            stream.write(head)
            for segment, place in zip(segments, places, strict=True):
                for offset, data in coredump.segment_pieces(kernel, segment):
                    stream.seek(place + offset)
                    stream.write(data)
                    stored += len(data)
            stream.truncate(size)
            _require_same(found)
        return CoreRecord(
            pid=pid,
            path=str(path),
            size=size,
            stored=stored,
            threads=len(threads),
            segments=len(segments),
            coverage=gaps.records(),
        )

    def stack(self, pid: int, tid: int | None = None) -> Answer[StackRecord]:
        """Registers in user space and the kernel's functions of each thread of a process, or of one.

        About 150 ms once for names and tables, then milliseconds. Of a thread that a CPU runs right now
        neither is in memory. NoSuchProcess, also for a thread that it has not.
        """
        from vmon.linux import unwind
        from vmon.linux.snapshot import Snapshot

        found = Snapshot.of_pid(self.wide_kernel, pid)
        threads = [thread for thread in self._threads(found) if tid in (None, thread.tid)]
        if not threads:
            raise NoSuchProcess(
                f"process {pid} has no thread {tid}", hint="`vmon stack TARGET PID` lists all"
            )
        unwinder, gaps = unwind.Unwinder(found.kernel), Gaps()
        records = []
        for thread in threads:
            frames: list[FrameRecord] = []
            if thread.on_cpu is None:
                try:
                    frames = unwinder.frames(thread)
                except GuestDataError:
                    gaps.add("frames", "unreadable")
            else:
                gaps.add("registers, frames", "not looked for", "on a CPU right now")
            guesses = sum(not frame.sure for frame in frames)
            if guesses:
                gaps.add("frames", "unreadable", "words that look like returns, not all of them are", guesses)
            here = thread.registers if thread.on_cpu is None else None
            number = here["orig_rax"] if here else NO_SYSCALL
            records.append(
                StackRecord(
                    pid=pid,
                    tid=thread.tid,
                    name=guest_text(thread.name),
                    state=thread.state,
                    registers=here,
                    syscall=number if number < NO_SYSCALL else None,
                    on_cpu=thread.on_cpu,
                    frames=frames,
                )
            )
        return Answer(records, gaps)

    def _threads(self, found: Snapshot) -> list[registers.Thread]:
        from vmon.linux import registers
        from vmon.linux.task import find_threads

        kernel = found.kernel
        signal = kernel.read("task_struct", "signal", found.tasks)["signal"]
        return registers.read_threads(kernel, find_threads(kernel, Gva(int(signal[0]))))


def _require_same(found: Snapshot) -> None:
    """Raise NoSuchProcess where a process of one row is not what it was."""
    from vmon.linux import usermem

    usermem.require_mm(found.kernel, int(found.tasks[0]), found.pid[0], found.mm(0))
