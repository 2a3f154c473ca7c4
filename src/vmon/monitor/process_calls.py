"""What is done to a process, and what psutil's names ask of it where vmon has no attribute of that name.

Acts go through the guest's own kernel by the probe, to the very process that was meant or to none. Reads take a new
look at the guest where they are about other processes. What psutil knows and a host can't (user names, percent since
the last call) is not here.
"""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from vmon.core.coverage import Answer
from vmon.core.errors import NoSuchProcess, UsageError
from vmon.core.records.process import FileRecord, MapRecord, ProcessRecord, SocketRecord

if TYPE_CHECKING:
    from vmon.core.records.probe import ActRecord
    from vmon.core.rules import RuleRecord
    from vmon.monitor.machine import VirtualMachine
    from vmon.monitor.process import Process

WAIT_POLL_S = 0.02
STATUS = {
    "R": "running",
    "S": "sleeping",
    "D": "disk-sleep",
    "T": "stopped",
    "t": "tracing-stop",
    "Z": "zombie",
    "X": "dead",
    "I": "idle",
    "P": "parked",
}
"""Letters of /proc/PID/stat by psutil's words."""
GONE = ("Z", "X")
Kind = Literal["inet", "inet4", "inet6", "tcp", "tcp4", "tcp6", "udp", "udp4", "udp6", "unix", "all"]


class Ids(NamedTuple):
    """User or group ids of a process; None where the credentials can't be read."""

    real: int | None
    effective: int | None
    saved: int | None


class CpuTimes(NamedTuple):
    """Seconds of CPU, all threads."""

    user: float
    system: float


class MemoryInfo(NamedTuple):
    """Bytes; None for a kernel thread."""

    rss: int | None
    vms: int | None


class ProcessCalls:
    """Mixed into Process."""

    __slots__ = ()

    if TYPE_CHECKING:
        pid: int
        state: str
        threads_count: int

        @property
        def key(self) -> str:
            """pid@start."""

        @property
        def _machine(self) -> VirtualMachine: ...
        def record(self) -> ProcessRecord:
            """Every field."""

        def files(self) -> Answer[FileRecord]:
            """Open files."""

        def sockets(self) -> Answer[SocketRecord]:
            """Sockets."""

        def maps(self) -> Answer[MapRecord]:
            """Memory areas."""

        def is_alive(self) -> bool:
            """Whether it is there."""

    # What is done to it.

    def send_signal(self, number: int, *, force: bool = False) -> ActRecord:
        """Send it a signal, by the guest's own kernel; 1 to 10 ms. Puts the probe in where it is not there.

        NoSuchProcess when the pid is another process's by now, UsageError for init and kernel threads unless forced,
        NotSupported for a dump.
        """
        return self._machine.signal(self.pid, int(number), key=self.key, force=force)

    def kill(self, *, force: bool = False) -> ActRecord:
        """End it (SIGKILL). As send_signal."""
        return self.send_signal(signal.SIGKILL, force=force)

    def terminate(self, *, force: bool = False) -> ActRecord:
        """Ask it to end (SIGTERM). As send_signal."""
        return self.send_signal(signal.SIGTERM, force=force)

    def suspend(self, *, force: bool = False) -> ActRecord:
        """Stop it until `resume` (SIGSTOP). As send_signal."""
        return self.send_signal(signal.SIGSTOP, force=force)

    def resume(self, *, force: bool = False) -> ActRecord:
        """Let it go on (SIGCONT). As send_signal."""
        return self.send_signal(signal.SIGCONT, force=force)

    def quarantine(self, *, force: bool = False) -> list[RuleRecord]:
        """From now on it and what it starts may compute and read, and do nothing else. As VirtualMachine.quarantine."""
        return self._machine.quarantine(self.pid, key=self.key, force=force)

    def release(self) -> int:
        """Let it out of its quarantine; how many rules are gone with it. NoSuchProcess where it is in none."""
        return self._machine.release(self.pid, key=self.key)

    def wait(self, timeout: float | None = None) -> None:
        """Until it has ended, a zombie counts; TimeoutError after `timeout` seconds. Looks 50 times a second."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while self._now() not in GONE:
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"process {self.pid} has not ended in {timeout} s")
            time.sleep(WAIT_POLL_S)

    def _now(self) -> str:
        try:
            found = self._machine.process(self.pid)
        except NoSuchProcess:
            return "X"
        return found.state if found.key == self.key else "X"

    # psutil's names.

    def is_running(self) -> bool:
        """psutil's name for is_alive: a zombie still is, another process of the same pid is not."""
        return self.is_alive()

    def parent(self) -> Process | None:
        """Its parent as it is now; None for init, for kthreadd, and where the parent or itself has ended."""
        parent_key = self.record().parent_key
        return next((other for other in self._machine.processes() if other.key == parent_key), None)

    def parents(self) -> list[Process]:
        """Its parent, the parent's parent and so on, as they are now."""
        by_key = {other.key: other for other in self._machine.processes()}
        found: list[Process] = []
        above = self.record().parent_key
        while above is not None and (other := by_key.pop(above, None)) is not None:
            found.append(other)
            above = other.record().parent_key
        return found

    def children(self, *, recursive: bool = False) -> list[Process]:
        """Who has it for a parent now; with `recursive` all below it. NoSuchProcess when it has ended."""
        from vmon.linux.task import rows_below  # noqa: PLC0415

        processes = self._machine.processes()
        keys = [other.key for other in processes]
        if self.key not in keys:
            raise NoSuchProcess(f"process {self.pid} has ended")
        records = [other.parent_key for other in processes]
        if not recursive:
            return [other for other, above in zip(processes, records, strict=True) if above == self.key]
        rows = rows_below(keys.index(self.key), records, keys.__getitem__)
        return [processes[row] for row in rows[1:]]

    def status(self) -> str:
        """Its state in psutil's words: running, sleeping, stopped, zombie... as it was in its snapshot."""
        return STATUS.get(self.state, self.state)

    def num_threads(self) -> int:
        """psutil's name for threads_count."""
        return self.threads_count

    def num_fds(self) -> int:
        """How many descriptors it has open."""
        return len(self.files())

    def open_files(self) -> Answer[FileRecord]:
        """Of its open files the regular ones; `files` has all."""
        found = self.files()
        return Answer([file for file in found if file.type == "regular"], lambda: found.coverage)

    def net_connections(self, kind: Kind = "inet") -> Answer[SocketRecord]:
        """Of its sockets those of a kind, as psutil names kinds; `sockets` has all. UsageError for no kind."""
        found = self.sockets()
        return Answer([item for item in found if _is_of(item, kind)], lambda: found.coverage)

    def memory_maps(self) -> Answer[MapRecord]:
        """psutil's name for maps, without grouping."""
        return self.maps()

    def memory_info(self) -> MemoryInfo:
        """Bytes in RAM (rss) and of address space (vms)."""
        record = self.record()
        return MemoryInfo(record.resident_size, record.total_size)

    def cpu_times(self) -> CpuTimes:
        """Seconds of CPU until its snapshot was taken."""
        record = self.record()
        return CpuTimes(record.user_time, record.system_time)

    def create_time(self) -> float | None:
        """When it started, in seconds since the epoch by the guest's clock."""
        return self.record().start_time

    def uids(self) -> Ids:
        """Real, effective and saved user id."""
        record = self.record()
        return Ids(record.uid, record.euid, record.suid)

    def gids(self) -> Ids:
        """Real, effective and saved group id."""
        record = self.record()
        return Ids(record.gid, record.egid, record.sgid)

    def terminal(self) -> str | None:
        """Its controlling terminal."""
        return self.record().tty

    def nice(self) -> int:
        """Its priority, -20 to 19."""
        return self.record().nice

    def as_dict(self) -> dict[str, Any]:
        """Every field of record(), by name."""
        return msgspec.structs.asdict(self.record())


def _is_of(item: SocketRecord, kind: str) -> bool:
    families = {"inet": "4", "inet6": "6"}
    if kind == "all":
        return True
    if kind == "unix":
        return item.family == "unix"
    protocol, version = kind.rstrip("46"), kind[len(kind.rstrip("46")) :]
    if protocol not in ("inet", "tcp", "udp"):
        raise UsageError(
            f"there is no kind of connections {kind!r}", hint="inet, tcp, udp, tcp4, unix, all..."
        )
    if item.family not in families or (version and families[item.family] != version):
        return False
    return protocol in ("inet", item.protocol)
