"""A running QEMU guest: its RAM, its registers and its run state, by one QMP connection and /proc.

Reads the monitor (memory tree, host addresses of RAM) once at attach, then guest RAM directly; reading neither pauses
the guest nor writes to it. `patch` and `held` alone do, with what they bring in when first called. A guest can lie in
its RAM, not about where its RAM is. RAM that is hot-plugged after attach is seen after the next attach. When QEMU ends,
a mapped file goes on giving the last bytes: `state()` is what tells that it is gone.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any

from vmon.core.errors import NotSupported, TargetBusy, TargetError
from vmon.core.ports import LONGEST_HOLD_S, Patch, PauseReport, RamRange, Registers, Standstill, VmState
from vmon.transport.qemu import backing, host_processes, monitor_text
from vmon.transport.qemu.command_line import QmpSocket, parse_command_line
from vmon.transport.qemu.qmp import GREETING_SECONDS, QmpConnection, QmpError
from vmon.transport.ram import Extent, MappedRam, ProcessRam

if TYPE_CHECKING:
    from vmon.transport.qemu.code import CodeWriter, Pause

CALL_FUNCTION_VECTOR = 0xFB
"""Of a function call by another CPU; means nothing where none waits. The same in 5.10 to 7.2.

Source: arch/x86/include/asm/irq_vectors.h. That of a reschedule would not do: no irq_exit follows.
"""
HOW_TO_OFFER_QMP = (
    "start QEMU with -qmp unix:PATH,server=on,wait=off (a running QEMU can't be given a QMP socket)"
)


@dataclass(frozen=True, slots=True)
class HeldGuest:
    """Standstill: a guest in our pause."""

    registers: Sequence[Registers]
    _pause: Pause

    @property
    def paused_ns(self) -> int:
        """How long the guest stood still, once it goes on."""
        return self._pause.paused_ns

    def require_time(self) -> None:
        """Raise PauseLost where the guardian may end the pause at any moment."""
        self._pause.require_time()


@dataclass(slots=True)
class QemuGuest:
    """What attaching gives: ReadRegs, WatchVm, PatchCode and HoldVm itself, ReadPhys and WritePhys as `ram`."""

    qmp: QmpConnection
    ram: MappedRam | ProcessRam
    pid: int
    name: str
    qmp_path: str
    accel: str
    """kvm or tcg."""
    cpus: int
    qemu_version: str
    _code: CodeWriter | None = field(default=None, repr=False)

    @property
    def ranges(self) -> tuple[RamRange, ...]:
        """The guest's RAM as it was at attach."""
        return self.ram.ranges

    def all_registers(self) -> list[Registers]:
        """The same of every vCPU, in one round trip."""
        texts = self.qmp.execute_all(
            [
                ("human-monitor-command", {"command-line": "info registers", "cpu-index": cpu})
                for cpu in range(self.cpus)
            ]
        )
        return [monitor_text.registers(text, cpu) for cpu, text in enumerate(texts)]

    def registers(self, cpu: int = 0) -> Registers:
        """Control registers of one vCPU, as QEMU prints them."""
        if not 0 <= cpu < self.cpus:
            raise NotSupported(f"the guest has no vCPU {cpu}: it has {self.cpus}")
        return monitor_text.registers(self.qmp.monitor(["info registers"], cpu=cpu)[0], cpu)

    def state(self) -> VmState:
        """Run state, and how many resets there were since attach."""
        status = str(self.qmp.execute("query-status")["status"])
        return VmState(status=status, resets=self.qmp.resets)

    def wake(self, attempt: int = 0) -> None:
        """The release of a key that is not pressed: one interrupt of the keyboard controller, which Linux ignores.

        Where that did not help, the interrupt by which a CPU asks another to call a function: none is to be called.
        """
        if attempt:
            self._code_writer().interrupt(CALL_FUNCTION_VECTOR)
            return
        key = {"down": False, "key": {"type": "qcode", "data": "f12"}}
        with suppress(QmpError):
            self.qmp.execute("input-send-event", {"events": [{"type": "key", "data": key}]})

    def patch(self, patches: Sequence[Patch]) -> PauseReport:
        """Change code in one pause; the first call starts a guardian process, which ends with `close`."""
        return self._code_writer().patch(patches)

    @contextmanager
    def held(self, longest_s: float = LONGEST_HOLD_S) -> Iterator[Standstill]:
        """The guest stands still inside; the same guardian sees to it that it goes on."""
        with self._code_writer().held(longest_s) as pause:
            yield HeldGuest(self.all_registers(), pause)

    def _code_writer(self) -> CodeWriter:
        if self._code is None:
            from vmon.transport.qemu.code import CodeWriter  # noqa: PLC0415 - reading needs nothing of it

            sockets = [self.qmp_path]
            with suppress(TargetError):
                sockets += [path for path in qmp_paths(self.pid) if path != self.qmp_path]
            self._code = CodeWriter(self.qmp, self.ram, self.pid, self.accel, sockets)
        return self._code

    def close(self) -> None:
        """Free the QMP socket and the descriptors, end the guardian."""
        if self._code is not None:
            # First, for the guardian holds a copy of the QMP connection.
            self._code.close()
        self.qmp.close()
        self.ram.close()

    def __enter__(self) -> QemuGuest:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def attach_qemu(path: str) -> QemuGuest:
    """Attach to the guest behind a QMP socket."""
    qmp = QmpConnection(path)
    try:
        pid = host_processes.owner_of_socket(path, qmp.peer_pid)
        return _attach(qmp, pid)
    except BaseException:
        qmp.close()
        raise


def attach_pid(pid: int) -> QemuGuest:
    """Attach to a QEMU process by any QMP socket of it that is free."""
    paths = qmp_paths(pid)
    if not paths:
        raise TargetError(f"QEMU process {pid} offers no QMP socket", hint=HOW_TO_OFFER_QMP)
    if len(paths) > 1:
        # Whoever knocks where another is served waits until he gives up, and is in the next one's way for good.
        served = host_processes.served_paths(pid)
        paths.sort(key=served.__contains__)
    reasons: list[TargetError] = []
    for path in paths:
        try:
            qmp = QmpConnection(path, GREETING_SECONDS / len(paths))
        except TargetError as error:
            reasons.append(error)
            continue
        try:
            return _attach(qmp, pid)
        except BaseException:
            qmp.close()
            raise
    # Busy is what the operator can do something about, whatever the other sockets said.
    raise next((reason for reason in reasons if isinstance(reason, TargetBusy)), reasons[0])


def qmp_paths(pid: int) -> list[str]:
    """QMP sockets of a process: those that its command line names, else unnamed ones it listens on.

    A socket that the command line names for something else (a serial port, a display) is never tried:
    connecting there could be noticed by the guest or take the place of its user.
    """
    argv = host_processes.require_qemu(pid)
    command = parse_command_line(argv)
    named = [found for socket in command.qmp if (found := _path_of(pid, socket))]
    if named:
        return list(dict.fromkeys(named))
    text = "\n".join(argv)
    own = host_processes.own_listening_sockets(pid).values()
    return [host_processes.host_path(pid, path) for path in own if path.lstrip("\0") not in text]


def _path_of(pid: int, socket: QmpSocket) -> str:
    if socket.path:
        return host_processes.host_path(pid, socket.path)
    own = host_processes.own_listening_sockets(pid)
    return host_processes.host_path(pid, own[socket.fd]) if socket.fd in own else ""


def _attach(qmp: QmpConnection, pid: int) -> QemuGuest:
    kvm, name, cpus, memdevs, tree = qmp.execute_all(
        [
            ("query-kvm", None),
            ("query-name", None),
            ("query-cpus-fast", None),
            ("query-memdev", None),
            ("human-monitor-command", {"command-line": "info mtree -f"}),
        ]
    )
    _require_x86(cpus)
    pieces = monitor_text.memory_tree(tree, {str(memdev.get("id", "")) for memdev in memdevs})
    if not pieces:
        raise TargetError(
            "QEMU's memory tree shows no guest RAM", hint="is this a machine with RAM of its own?"
        )
    # One question a block: all of a block lies in one piece in QEMU's memory.
    firsts = {piece.block: piece for piece in reversed(pieces)}
    answers = qmp.monitor([f"gpa2hva {piece.gpa:#x}" for piece in firsts.values()])
    base_hvas = {
        block: monitor_text.host_address(answer) - piece.offset_bytes
        for (block, piece), answer in zip(firsts.items(), answers, strict=True)
    }
    extents = [
        Extent(piece.gpa, piece.size_bytes, base_hvas[piece.block] + piece.offset_bytes) for piece in pieces
    ]
    return QemuGuest(
        qmp=qmp,
        ram=open_ram(pid, extents),
        pid=pid,
        name=str(name.get("name", "")),
        qmp_path=qmp.path,
        accel="kvm" if kvm.get("enabled") else "tcg",
        cpus=len(cpus),
        qemu_version=qmp.qemu_version,
    )


def _require_x86(cpus: list[dict[str, Any]]) -> None:
    targets = {str(cpu.get("target", "")) for cpu in cpus}
    if not targets <= {"x86_64", "i386"}:
        raise NotSupported(f"the guest's CPU is {', '.join(sorted(targets))}: vmon knows x86-64")


def open_ram(pid: int, extents: list[Extent]) -> MappedRam | ProcessRam:
    """RAM at host addresses, through its files where all of it is shared, else through the process."""
    maps = backing.read_maps(pid)
    fds: dict[tuple[int, int], int] = {}
    mapped: list[Extent] = []
    anonymous = True
    try:
        for extent in extents:
            behind = backing.mappings_behind(maps, extent.place, extent.size_bytes)
            if not behind:
                raise TargetError(
                    f"process {pid} has nothing mapped where its monitor says that guest RAM is",
                    hint="is the socket forwarded from another QEMU, or did the guest unplug RAM just now?",
                )
            first = behind[0]
            anonymous &= first.inode == 0
            if (
                first.shared
                and first.file not in fds
                and (fd := backing.open_backing(pid, first)) is not None
            ):
                fds[first.file] = fd
            if first.shared and first.file in fds:
                place = first.file_offset + extent.place - first.start_hva
                mapped.append(Extent(extent.gpa, extent.size_bytes, place, list(fds).index(first.file)))
    except BaseException:
        _close_all(fds.values())
        raise
    if len(mapped) == len(extents):
        return MappedRam(mapped, list(fds.values()))
    _close_all(fds.values())
    return ProcessRam(extents, pid, anonymous=anonymous)


def _close_all(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)
