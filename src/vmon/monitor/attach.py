"""Attaching is finding out how a target is reached, opening it, and identifying its kernel.

Opens a QMP socket and RAM, or a dump file; the guest is not paused and not written to. Each kind of target has one
door in vmon.transport.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from vmon.core.errors import NotSupported, PauseLost
from vmon.core.ports import HoldVm, ReadPhys, ReadRegs, WatchVm
from vmon.core.target import Target, parse_target
from vmon.lab import state
from vmon.monitor.machine import VirtualMachine

if TYPE_CHECKING:
    from vmon.transport.dump.write import DumpFormat, DumpWritten

LONGEST_DUMP_PAUSE_S = 30.0


class Closer(Protocol):
    """What is closed at the end."""

    def close(self) -> None:
        """Let go of sockets and files."""
        ...


@dataclass(slots=True)
class OpenTarget:
    """What a target turned out to be able to do."""

    ram: ReadPhys
    regs: ReadRegs | None
    watch: WatchVm | None
    hypervisor: str
    ram_access: str
    identity: str
    _closer: Closer

    def close(self) -> None:
        """Let go of sockets and files."""
        self._closer.close()


def attach(
    target: str | Target,
    *,
    wait_s: float = 0.0,
    symbols: str | Path | None = None,
    needs: Sequence[str] = (),
) -> VirtualMachine:
    """Attach to a guest and identify its kernel.

    `symbols` is a file for a guest that carries no types of its own (no BTF): a Volatility 3 symbol file (JSON, .xz,
    .gz), or a vmlinux with debug information (needs drgn: pip install 'vmon[drgn]'). It must be of the very build
    that the guest runs, else NoTypeInformation; a file that is neither is a UsageError.

    `needs` names abilities without which there is no point (VirtualMachine.abilities): "live", "probe", "net.connect";
    NotSupported says what is missing. It looks at the kernel's code, 25 to 65 ms.

    `target` is a lab guest's NAME, qmp:PATH, pid:N or dump:FILE. While no kernel is settled there, it is tried
    again for `wait_s` seconds. Costs 5 to 20 ms for a kernel met before, 50 to 150 ms for a new one. Raises
    TargetError (not reachable) or IdentifyError (reached, but no Linux that vmon knows).
    """
    wanted = parse_target(target) if isinstance(target, str) else target
    file = None
    if symbols is not None:
        from vmon.monitor.symbol_files import SymbolFile  # noqa: PLC0415

        file = SymbolFile(symbols)
    opened = open_target(wanted)
    try:
        vm = VirtualMachine(str(wanted), opened, wait_s, file)
        if needs:
            vm.require(*needs)
        return vm
    except BaseException:
        opened.close()
        raise


def open_target(target: Target) -> OpenTarget:
    """Reach a target without asking what runs there: enough for a dump of its RAM."""
    if target.kind == "dump":
        from vmon.transport.dump import open_dump  # noqa: PLC0415 - one door is opened, the others cost nothing

        dump = open_dump(target.value)
        regs = dump if isinstance(dump, ReadRegs) else None
        file = Path(target.value).stat()
        identity = f"dump {file.st_dev} {file.st_ino} {file.st_size} {file.st_mtime_ns}"
        return OpenTarget(dump, regs, None, "dump", "file", identity, dump)
    from vmon.transport.qemu import attach_pid, attach_qemu  # noqa: PLC0415
    from vmon.transport.ram import MappedRam  # noqa: PLC0415

    if target.kind == "qmp":
        guest = attach_qemu(target.value)
    elif target.kind == "pid":
        guest = attach_pid(int(target.value))
    else:
        _, record = state.find(target.value)
        guest = attach_pid(record.pid)
    access = "mapped" if isinstance(guest.ram, MappedRam) else "process memory"
    identity = f"process {guest.pid} {state.process_start(guest.pid)}"
    hypervisor = f"{guest.accel}, QEMU {guest.qemu_version}"
    return OpenTarget(guest.ram, guest, guest, hypervisor, access, identity, guest)


def dump(
    target: str | Target,
    file: str | Path,
    form: DumpFormat = "elf",
    progress: Callable[[int, int], None] | None = None,
    *,
    overwrite: bool = False,
    paused: bool = False,
    longest_pause_s: float = LONGEST_DUMP_PAUSE_S,
) -> DumpWritten:
    """Write a target's RAM to a file: raw, elf or lime. What runs there does not matter and is not looked at.

    `progress` is called with the bytes done and in all. The guest goes on meanwhile, so the file is not of one moment;
    with `paused` it is: the guest stands still while it is written, for `longest_pause_s` at most, and should vmon die
    the guardian lets it go on. Some 2 GB a second to memory. Raises TargetError, among them PauseLost where the pause
    ended before all was read (no file is kept then), NotSupported where the target can't be paused, and UsageError
    when the file is there already or can't be written.
    """
    from vmon.transport.dump import write_dump  # noqa: PLC0415

    opened = open_target(parse_target(target) if isinstance(target, str) else target)
    try:
        if not paused:
            return write_dump(opened.ram, file, form, progress, overwrite=overwrite)
        vm = opened.watch
        if vm is None or not isinstance(vm, HoldVm):
            raise NotSupported("this target can't be paused: it is a dump", hint="leave out --paused")
        with vm.held(longest_pause_s) as pause:

            def still(done_bytes: int, all_bytes: int) -> None:
                """Nothing that was read after the pause may be in the file."""
                try:
                    pause.require_time()
                except PauseLost:
                    raise _torn(f"{longest_pause_s:g} s of pause were not enough") from None
                if done_bytes == all_bytes and vm.state().status == "running":
                    raise _torn("somebody let the guest go on meanwhile")
                if progress is not None:
                    progress(done_bytes, all_bytes)

            written = write_dump(opened.ram, file, form, still, overwrite=overwrite)
        return replace(written, paused_ns=pause.paused_ns)
    finally:
        opened.close()


def _torn(why: str) -> PauseLost:
    return PauseLost(
        f"{why}: the dump would not be of one moment, nothing was kept",
        hint="allow a longer pause (--pause-limit), or write to a faster disk, or without --paused",
    )
