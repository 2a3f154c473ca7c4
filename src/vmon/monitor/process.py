"""A Process is one row of a snapshot: attributes are that moment's values, methods read more of the same process.

What an attribute costs: what lies in the task itself was read with the snapshot; the first use of another attribute
reads it for all processes of the snapshot at once (one to ten milliseconds for 500). Reading writes nothing to the
guest; what is done to a process is in vmon.monitor.process_calls. Threads may share processes: they read in turn.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from threading import RLock
from typing import TYPE_CHECKING

import msgspec

from vmon.core.coverage import Answer, GapRecord
from vmon.core.errors import NoSuchProcess, UsageError
from vmon.core.records.memory import Memory
from vmon.core.records.process import (
    EnvRecord,
    FileRecord,
    MapRecord,
    ProcessRecord,
    SocketRecord,
    ThreadRecord,
)
from vmon.core.text import guest_text
from vmon.linux.coverage import gaps_of_files, gaps_of_row
from vmon.linux.snapshot import Snapshot
from vmon.linux.usermem import require_mm
from vmon.monitor.process_calls import ProcessCalls

if TYPE_CHECKING:
    from vmon.monitor.machine import VirtualMachine


class Process(ProcessCalls, msgspec.Struct, frozen=True, eq=False):
    """One process of the guest, as it was when its snapshot was taken."""

    pid: int
    """Pid in the guest's first pid namespace (the kernel's tgid)."""
    ppid: int
    """Pid of the parent; 0 for the first process and for kthreadd."""
    name: str
    """comm: at most 15 bytes, set by the process itself."""
    state: str
    """Letter of /proc/PID/stat: R S D T t Z X I P."""
    uid: int | None
    """Real user id, as the first user namespace has it; None when the credentials can't be read."""
    start_boottime_ns: int
    """When it started, in nanoseconds since the guest booted."""
    threads_count: int
    """Number of threads."""
    kernel_thread: bool
    """Whether it is a thread of the kernel."""
    _snapshot: Snapshot
    _row: int
    _reading: RLock
    _vm: VirtualMachine | None

    @classmethod
    def all_of(cls, snapshot: Snapshot, vm: VirtualMachine | None = None) -> list[Process]:
        """Every process of a snapshot, in its order. Without a machine nothing can be done to them."""
        return list(
            map(
                cls,
                snapshot.pid,
                snapshot.ppid,
                [guest_text(name) for name in snapshot.name],
                snapshot.state,
                snapshot.uid,
                snapshot.start_boottime_ns,
                snapshot.threads,
                snapshot.kernel_thread,
                repeat(snapshot),
                range(len(snapshot)),
                repeat(RLock()),
                repeat(vm),
            )
        )

    def __repr__(self) -> str:
        return f"<vmon.Process {self.key} {self.name!r}>"

    def _repr_html_(self) -> str:
        """What a notebook shows: every field of record()."""
        from vmon.core.html import card  # noqa: PLC0415 - outside of notebooks nobody needs it

        return card(repr(self), self.as_dict())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Process) and other.key == self.key

    def __hash__(self) -> int:
        return hash(self.key)

    @property
    def key(self) -> str:
        """pid@start in ns since boot: the same process for ever, also when the pid is used again."""
        return self._snapshot.key(self._row)

    @property
    def parent_key(self) -> str | None:
        """Key of the parent; None for the first process and for kthreadd."""
        with self._reading:
            return self._snapshot.parent_key[self._row]

    @property
    def _machine(self) -> VirtualMachine:
        if self._vm is None:
            raise UsageError(
                "this process was read from a snapshot alone",
                hint="vm.process(pid) gives one that can be acted on",
            )
        return self._vm

    @property
    def exe(self) -> str | None:
        """Executable file; None for kernel threads and zombies."""
        with self._reading:
            path = self._snapshot.exe[self._row]
        return guest_text(path.text) if path else None

    @property
    def cmdline(self) -> list[str] | None:
        """Arguments; None when their pages are not in memory."""
        with self._reading:
            line = self._snapshot.cmdline[self._row]
        return [guest_text(word) for word in line] if line is not None else None

    @property
    def cwd(self) -> str | None:
        """Working directory."""
        with self._reading:
            path = self._snapshot.cwd[self._row]
        return guest_text(path.text) if path else None

    @property
    def resident_size(self) -> int | None:
        """Bytes in RAM; None for a kernel thread."""
        with self._reading:
            return self._snapshot.resident_size[self._row]

    def record(self) -> ProcessRecord:
        """Every field, as a record that can be written out."""
        with self._reading:
            return self._snapshot.record(self._row)

    @property
    def coverage(self) -> list[GapRecord]:
        """What is missing from all that was read so far of the processes of its snapshot."""
        with self._reading:
            return self._snapshot.coverage

    def files(self) -> Answer[FileRecord]:
        """Open file descriptors, lowest first."""
        with self._reading:
            return Answer(self._snapshot.files[self._row], self._gaps_of_files)

    def _gaps_of_files(self) -> list[GapRecord]:
        with self._reading:
            return gaps_of_files(self._snapshot, self._row).records()

    def sockets(self) -> Answer[SocketRecord]:
        """Sockets among the open files."""
        with self._reading:
            return Answer(self._snapshot.sockets[self._row], self._gaps_of_files)

    def maps(self) -> Answer[MapRecord]:
        """Address space, lowest first. Touches the guest at each call."""
        with self._reading:
            return Answer(self._snapshot.maps(self._row), gaps_of_row(self._snapshot, self._row))

    def environ(self) -> Answer[EnvRecord] | None:
        """Environment as laid out at exec; None when its pages are not in memory. Touches the guest at each call."""
        with self._reading:
            items = self._snapshot.environ(self._row)
            return None if items is None else Answer(items, gaps_of_row(self._snapshot, self._row))

    def read_memory(self, address: int, size_bytes: int) -> Memory:
        """Bytes of its memory: zeros where they could not be read, which `.missing` and `.coverage` of the answer tell.

        Touches the guest at each call: under 1 ms, and about 3 ms a MiB. NotMapped where no area is in the range or
        the process has no memory, NoSuchProcess when it ended or ran another program, UsageError for more than 1 GiB.
        """
        read = self._snapshot.memory(self._row).read_memory(address, size_bytes)
        self._require_mm()
        return read

    def iter_memory(self, address: int, size_bytes: int) -> Iterator[Memory]:
        """The same in pieces of at most 16 MiB, for ranges of any size; each is read when it is asked for."""
        for piece in self._snapshot.memory(self._row).iter_memory(address, size_bytes):
            self._require_mm()
            yield piece

    def _require_mm(self) -> None:
        snapshot, row = self._snapshot, self._row
        require_mm(snapshot.kernel, int(snapshot.tasks[row]), self.pid, snapshot.mm(row))

    def threads(self) -> Answer[ThreadRecord]:
        """Threads, the main one included. Touches the guest at each call."""
        with self._reading:
            return Answer(self._snapshot.thread_records(self._row), gaps_of_row(self._snapshot, self._row))

    def is_alive(self) -> bool:
        """Whether the guest still has this very process, a zombie too. Touches the guest."""
        if not self._snapshot.unchanged()[self._row]:
            return False
        # What was freed may lie there as it was: whoever has a machine looks the pid up as well.
        return self._vm is None or self._now() != "X"

    def require_alive(self) -> None:
        """Raise NoSuchProcess when it has ended."""
        if not self.is_alive():
            raise NoSuchProcess(f"process {self.pid} ended while it was read")
