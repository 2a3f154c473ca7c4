"""A VirtualMachine is an attached guest: it knows which kernel runs, and notices when that stops being true.

Reads through the transport it was given; what writes to the guest is in vmon.monitor.acts. A reset, a kexec or another
kernel under the same target is noticed by RESET events, by the bases in RAM, by the clock standing still and by CR3,
and the kernel is identified again. A hostile guest can at most make itself unidentifiable.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

import msgspec

from vmon.core.address import Gpa
from vmon.core.coverage import Answer
from vmon.core.errors import GuestDataError, IdentifyError, NotSupported, VmonError
from vmon.core.ports import HoldVm, PatchCode, ReadPhys, ReadRegs, Registers, WakeVm, WatchVm, WritePhys
from vmon.core.records.guest import EvidenceRecord, GuestRecord
from vmon.core.records.probe import AbilityRecord, DoctorRecord
from vmon.core.records.process import ProcessRecord
from vmon.kernel.identify import Identity, check_alive, identify, keep, profile_at, read_bases
from vmon.kernel.memory import KernelMemory
from vmon.linux import snapshot, stack
from vmon.linux.kernel import Kernel
from vmon.linux.snapshot import Snapshot
from vmon.linux.system import read_jiffies, read_system
from vmon.linux.task import rows_below
from vmon.monitor import views
from vmon.monitor.process import Process
from vmon.monitor.reacting import Reacting
from vmon.monitor.shelf import ProfileShelf
from vmon.probe import config, hooks, place, tenant

if TYPE_CHECKING:
    from vmon.kernel.learn import GivenTypes
    from vmon.kernel.profile import Wants
    from vmon.monitor.symbol_files import SymbolFile
    from vmon.probe.install import Ports

WANTS = snapshot.WANTS | hooks.WANTS | place.WANTS | config.WANTS | stack.WANTS | tenant.WANTS
"""What the probe asks for costs 1 to 3 of the 30 to 65 ms of a kernel never met: less than identifying twice."""
HYPERVISOR_CHECK_S = 0.25
CLOCK_ALARM_S = 2.0
SETTLE_S = 0.1
MAX_CPUS = 4096


@runtime_checkable
class WritingVm(PatchCode, WakeVm, HoldVm, Protocol):
    """What a machine must be able to do for a probe."""


class Connection(Protocol):
    """What attach hands over: RAM, and what else the transport can do."""

    ram: ReadPhys
    regs: ReadRegs | None
    watch: WatchVm | None
    hypervisor: str
    ram_access: str
    identity: str
    """Names this very run of the guest: another one under the same target has another."""

    def close(self) -> None:
        """Let go of sockets and files."""
        ...


def rodata_of(identity: Identity) -> Gpa:
    """Where the identified kernel's rodata starts."""
    return Gpa(identity.bases.text_gpa + identity.profile.rodata_offset)


class VirtualMachine(Reacting, views.Views):
    """An attached guest. Use it as a context manager; close() lets go of it."""

    def __init__(
        self, target: str, connection: Connection, wait_s: float = 0.0, symbols: SymbolFile | None = None
    ) -> None:
        self.target = target
        self._connection = connection
        self._symbols = symbols
        self._shelf = self._shelf_for(WANTS)
        self._resets = 0
        self.reboots = 0
        """Times that another kernel was found under this target since it was attached."""
        self._identity, self._kernel = self._identify(wait_s)
        self._checked_at = time.monotonic()
        self._jiffies = (0, self._checked_at)
        self._lost = False
        self._wider: tuple[Kernel, Kernel] | None = None
        self._knowing = threading.RLock()
        """Held while it is decided which kernel runs; never while somebody waits for the guest."""
        self.acting = threading.RLock()

    def __repr__(self) -> str:
        return f"<vmon.VirtualMachine {self.target}: Linux {self._identity.profile.release}>"

    def _repr_html_(self) -> str:
        """What a notebook shows: the guest as a whole, or why it can't be told."""
        from vmon.core.html import card  # noqa: PLC0415 - outside of notebooks nobody needs it

        try:
            fields = msgspec.structs.asdict(self.guest)
        except VmonError as error:
            return card(repr(self), {type(error).__name__: error.message, "hint": error.hint or None})
        notes = [f"not seen: {said}" for said in fields.pop("coverage")]
        return card(
            repr(self), {name: value for name, value in fields.items() if name != "evidence"}, notes=notes
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the guest; what runs is stopped, handlers' rules are dropped, other rules stay in force."""
        self.let_go()
        if self._stream is not None and self._stream.running:
            with contextlib.suppress(VmonError):
                self._stream.stop()
        self._connection.close()

    @property
    def identity(self) -> str:
        """Names this very run of the guest: another one under the same target has another."""
        return self._connection.identity

    def registers(self) -> list[Registers]:
        """Of every vCPU, as the hypervisor tells them: a millisecond each. None for a dump that has none."""
        found: list[Registers] = []
        with contextlib.suppress(NotSupported):
            while self._connection.regs is not None and len(found) < MAX_CPUS:
                found.append(self._connection.regs.registers(len(found)))
        return found

    @property
    def ram(self) -> ReadPhys:
        """The guest's physical memory."""
        return self._connection.ram

    @property
    def is_live(self) -> bool:
        """Whether the guest runs, or can go on: a dump can't."""
        return self._connection.watch is not None

    @property
    def _given(self) -> Callable[[], GivenTypes] | None:
        return self._symbols.load if self._symbols is not None else None

    def _shelf_for(self, wants: Wants) -> ProfileShelf:
        return ProfileShelf(
            wants, self._connection.identity, self._symbols.digest if self._symbols is not None else ""
        )

    def _identify(self, wait_s: float) -> tuple[Identity, Kernel]:
        """Identify, trying again for `wait_s` seconds while the guest is not settled."""
        connection = self._connection
        deadline = time.monotonic() + wait_s
        while True:
            try:
                identity = identify(connection.ram, connection.regs, WANTS, self._shelf, self._given)
                break
            except IdentifyError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(SETTLE_S)
        if not identity.from_cache:
            keep(identity.profile, rodata_of(identity), self._shelf)
        if connection.watch is not None:
            # Those up to here, and those of the firmware before it boots, belong to this boot.
            self._resets = connection.watch.state().resets
        return identity, Kernel(KernelMemory(connection.ram, identity.bases), identity.profile, self._given)

    def _still_there(self, *, closely: bool) -> bool:
        """Whether the identified kernel is the one that runs. Microseconds; a monitor round trip 4 times a second.

        `closely` asks the hypervisor and a CPU at once: some milliseconds.
        """
        identity, ram, watch = self._identity, self._connection.ram, self._connection.watch
        profile, bases = identity.profile, identity.bases
        rodata = rodata_of(identity)
        try:
            build_id = ram.read(Gpa(rodata + profile.build_id_offset), len(profile.build_id) // 2).hex()
            same = build_id == profile.build_id and read_bases(ram, rodata, profile, []) == bases
            now, jiffies = time.monotonic(), read_jiffies(self._kernel)
        except GuestDataError:
            return False
        if not same or watch is None:
            return same
        if jiffies != self._jiffies[0]:
            self._jiffies = (jiffies, now)
        if not closely and now - self._checked_at < HYPERVISOR_CHECK_S:
            return True
        self._checked_at = now
        state = watch.state()
        if state.resets != self._resets:
            return False
        doubtful = closely or now - self._jiffies[1] > CLOCK_ALARM_S
        if doubtful and state.status == "running" and self._connection.regs:
            # kexec leaves the old kernel whole and sends no event, but the old clock stands still.
            return check_alive(ram, self._connection.regs, bases).passed
        return True

    def _current(self, *, closely: bool = False) -> Kernel:
        """The running kernel, identified again when it changed."""
        with self._knowing:
            return self._decided(closely=closely)

    def _decided(self, *, closely: bool) -> Kernel:
        if self._lost or not self._still_there(closely=closely):
            # Until another one is found, what is in RAM of the old one is not shown again.
            self._lost = True
            self._identity, self._kernel = self._identify(wait_s=0.0)
            self._jiffies = (0, time.monotonic())
            self._lost = False
            self.reboots += 1
        return self._kernel

    @property
    def kernel(self) -> Kernel:
        """The running kernel, for readers of vmon.linux. Notices a reboot."""
        return self._current()

    @property
    def wide_kernel(self) -> Kernel:
        """The running kernel, for every reader of vmon.linux. 40 to 100 ms once for a build never met, then 1 to 3."""
        with self._knowing:
            kernel = self._current()
            if self._wider is None or self._wider[0] is not kernel:
                from vmon.monitor.views import wants  # noqa: PLC0415 - half of vmon is behind it

                wide = WANTS | wants.WANTS
                rodata = rodata_of(self._identity)
                profile = profile_at(self._connection.ram, rodata, wide, self._shelf_for(wide), self._given)
                self._wider = kernel, Kernel(kernel.memory, profile, self._given)
            return self._wider[1]

    @property
    def guest(self) -> GuestRecord:
        """The guest as a whole, read now. About a millisecond."""
        with self._knowing:
            kernel = self._current()
            identity, connection = self._identity, self._connection
        profile, bases = identity.profile, identity.bases
        system = read_system(kernel)
        return GuestRecord(
            target=self.target,
            os="Linux",
            release=profile.release,
            version=system.version,
            banner=profile.banner,
            build_id=profile.build_id,
            architecture=system.machine,
            hostname=system.nodename,
            boot_time=system.boot_time,
            cpus_online=system.cpus_online,
            memory_total=system.memory_total_bytes,
            ram_size=sum(part.size_bytes for part in connection.ram.ranges),
            modules=system.modules_count,
            command_line=system.command_line,
            paging_levels=5 if bases.la57 else 4,
            kaslr_slide=bases.kaslr_slide,
            page_offset_base=bases.page_offset_base,
            text_address=bases.text_gva,
            hypervisor=connection.hypervisor,
            ram_access=connection.ram_access,
            identified_ms=round(identity.duration_ms, 3),
            profile_from_cache=identity.from_cache,
            symbols=profile.symbol_count,
            types=profile.type_count,
            evidence=[
                EvidenceRecord(check=item.check, passed=item.passed, detail=item.detail)
                for item in identity.evidence
            ],
            coverage=self._coverage(),
        )

    def _coverage(self) -> list[str]:
        """What can't be seen here, a sentence each."""
        said = ["processes that hide from the task list: `vmon check` looks for them"]
        if self._connection.regs is None:
            said.append("no registers: whether this kernel was running when the dump was made is not checked")
        said.append("pages swapped out or not yet read in are reported as unknown")
        said.append("vsock, sctp and mptcp sockets are listed only where a process holds them")
        return said

    def snapshot(self) -> Snapshot:
        """All processes as columns: the fast lane under processes()."""
        return Snapshot.of_all(self._current())

    def processes(self) -> Answer[Process]:
        """Every process, kernel threads too, in the order of the guest's own list. Under a millisecond for 500.

        Its coverage is of what was read of them until it is asked for, by their attributes and record() too.
        """
        snapshot = self.snapshot()
        return Answer(Process.all_of(snapshot, self), lambda: snapshot.coverage)

    def process(self, pid: int) -> Process:
        """One process by its pid in the first namespace; NoSuchProcess when there is none."""
        return Process.all_of(Snapshot.of_pid(self._current(), pid), self)[0]

    def descendants(self, pid: int) -> list[ProcessRecord]:
        """A process and all below it, children before grandchildren; loops of a lying guest are cut. NoSuchProcess."""
        snapshot = self.snapshot()
        if pid not in snapshot.pid:
            return [self.process(pid).record()]
        rows = rows_below(snapshot.pid.index(pid), snapshot.parent_key, snapshot.key)
        return [snapshot.record(row) for row in rows]

    def _ports(self) -> Ports:
        ram, vm = self._connection.ram, self._connection.watch
        if isinstance(ram, WritePhys) and isinstance(vm, WritingVm):
            from vmon.probe.install import Ports  # noqa: PLC0415 - reading needs nothing of it

            return Ports(ram, vm, vm)
        raise NotSupported(
            "this target can't be written to: it is a dump",
            hint="`vmon doctor TARGET` tells what can be done",
        )

    def doctor(self) -> DoctorRecord:
        """What could be done to this guest: where a probe could live, which events it could see and refuse.

        Reads the kernel's text, 25 to 65 ms; changes nothing.
        """
        from vmon.monitor.doctor import examine  # noqa: PLC0415 - asked for once, if at all

        kernel = self._current()
        return examine(self.target, kernel, self._connection)

    @property
    def abilities(self) -> list[AbilityRecord]:
        """What can be done here: read, registers, live, write, probe, and each kind of event by its name, with why not.

        Looks at the kernel's code as `doctor` does, 25 to 65 ms.
        """
        from vmon.monitor.abilities import abilities_of  # noqa: PLC0415

        return abilities_of(self.doctor())

    def can(self, *names: str) -> bool:
        """Whether all of these abilities are there. UsageError for a name that is none; costs what `abilities` does."""
        try:
            self.require(*names)
        except NotSupported:
            return False
        return True

    def require(self, *names: str) -> None:
        """NotSupported that names what is missing of these abilities; nothing where they are there.

        `vm.require("probe", "net.connect")` before a tool starts says at once what it would say an hour later.
        """
        from vmon.monitor.abilities import require  # noqa: PLC0415

        require(self.target, self.abilities, names)
