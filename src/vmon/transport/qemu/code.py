"""Code of a running guest is changed while none of its vCPUs runs: in a pause with a deadline and a guardian.

Speaks QMP, and under TCG to a gdbstub that is opened for the change and closed with it. Under KVM code is written like
any RAM, for entering the guest again makes a vCPU forget what it had decoded; TCG keeps translations, which only a
write that QEMU itself makes drops. A guest can't prolong its pause; it can have changed the code, which is noticed
before the first byte is written. Somebody else's pause is left as it is; one that begins or ends within the few
milliseconds of ours can't be told from ours.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from vmon.core.address import Gpa
from vmon.core.errors import NotSupported, PauseLost, TargetBusy, TargetError
from vmon.core.ports import LONGEST_HOLD_S, Patch, PauseReport
from vmon.transport.patches import apply_patches, check_patches, verify_patches
from vmon.transport.qemu import host_processes
from vmon.transport.qemu.command_line import parse_command_line
from vmon.transport.qemu.gdbstub import StubClient
from vmon.transport.qemu.guard import FOLDER_PREFIX, Guard
from vmon.transport.qemu.qmp import QmpConnection
from vmon.transport.ram import MappedRam, ProcessRam

LONGEST_PAUSE_NS = int(LONGEST_HOLD_S * 1e9)
MARGIN_NS = 100_000_000
"""Nothing is written so shortly before the guardian ends the pause."""
MSI_GPA = Gpa(0xFEE0_0000)
"""Where devices write their interrupts: to CPU 0, fixed, the vector as data. Source: hw/intc/apic.c."""
STUB_LABEL = "gdb"
STANDING_STILL = frozenset({"paused", "prelaunch", "debug"})
CLOSE_STUB = ("human-monitor-command", {"command-line": "gdbserver none"})


@dataclass(slots=True)
class Pause:
    """One pause, while it lasts and after."""

    deadline_ns: int
    ours: bool
    """Whether we stopped the guest, so that we let it go on."""
    paused_ns: int = 0

    def require_time(self) -> None:
        """Raise PauseLost where the guardian may end the pause at any moment."""
        if time.monotonic_ns() > self.deadline_ns - MARGIN_NS:
            raise PauseLost(
                "the pause took too long: the guest goes on",
                hint="this host is overloaded; some places may have been changed, read them again",
            )


class CodeWriter:
    """PatchCode for one QEMU."""

    def __init__(
        self, qmp: QmpConnection, ram: MappedRam | ProcessRam, pid: int, accel: str, sockets: Sequence[str]
    ) -> None:
        """`sockets`: those by which the guardian may reach QEMU, the one of `qmp` first."""
        self._qmp = qmp
        self._ram = ram
        self._pid = pid
        self._through_stub = accel != "kvm"
        self._sockets = tuple(sockets)
        self._guard: Guard | None = None

    def patch(self, patches: Sequence[Patch]) -> PauseReport:
        """All places in one pause, or none."""
        if not patches:
            return PauseReport(paused_ns=0, patches=0)
        check_patches(patches)
        # Before the pause too: a plan that is out of date costs the guest nothing.
        verify_patches(patches, self._ram.read)
        with self._paused(stub=self._through_stub) as pause:
            if self._through_stub:
                with StubClient(str(self._guarded().stub_path), pause.deadline_ns / 1e9) as stub:
                    self._apply(patches, pause, stub)
            else:
                self._apply(patches, pause, self._ram)
        return PauseReport(pause.paused_ns, len(patches))

    def interrupt(self, vector: int) -> None:
        """Send an interrupt to the first vCPU, as a device does: by a message to the local APICs. Pauses the guest."""
        with (
            self._paused(stub=True) as pause,
            StubClient(str(self._guarded().stub_path), pause.deadline_ns / 1e9) as stub,
        ):
            pause.require_time()
            stub.write(MSI_GPA, vector.to_bytes(4, "little"))

    @contextmanager
    def held(self, longest_s: float) -> Iterator[Pause]:
        """The guest stands still inside, and nothing of its code is changed."""
        with self._paused(stub=False, longest_ns=int(longest_s * 1e9)) as pause:
            yield pause

    def _apply(
        self, patches: Sequence[Patch], pause: Pause, writer: StubClient | MappedRam | ProcessRam
    ) -> None:
        def write(gpa: Gpa, data: bytes) -> None:
            pause.require_time()
            writer.write(gpa, data)

        apply_patches(patches, self._ram.read, write)

    def _guarded(self) -> Guard:
        """The guardian, started when it is first needed or is gone."""
        if self._guard is not None and not self._guard.is_running():
            self._guard.close()
            self._guard = None
        if self._guard is None:
            self._guard = Guard(self._pid, self._sockets, self._qmp.fd)
        return self._guard

    @contextmanager
    def _paused(self, *, stub: bool, longest_ns: int | None = None) -> Iterator[Pause]:
        """The guest stands still inside, with or without a gdbstub; whatever happens there, it goes on after."""
        guard = self._guarded()
        with guard.turn():
            if stub:
                self._require_free_stub()
            longest_ns = LONGEST_PAUSE_NS if longest_ns is None else longest_ns
            pause = Pause(time.monotonic_ns() + longest_ns, ours=self._runs())
            guard.arm(pause.deadline_ns, cont=pause.ours, stub=stub)
            if stub:
                self._open_stub(guard)
            begin_ns = time.monotonic_ns()
            try:
                if pause.ours:
                    before, _ = self._qmp.execute_all([("query-status", None), ("stop", None)])
                    pause.ours = before["status"] == "running"
                yield pause
            finally:
                self._go_on(pause, guard, stub=stub)
                pause.paused_ns = time.monotonic_ns() - begin_ns if pause.ours else 0
                try:
                    guard.disarm()
                except TargetError:  # the pause is over all the same; the next one gets another guardian
                    self.close()

    def _go_on(self, pause: Pause, guard: Guard, *, stub: bool) -> None:
        """Close the stub and let the guest go on, in one round trip; where QMP fails us, by the guardian."""
        commands = [CLOSE_STUB] * stub
        try:
            self._qmp.execute_all([*commands, *([("cont", None)] if pause.ours else [])])
        except BaseException:
            guard.arm(0, cont=pause.ours, stub=stub)
            raise

    def _runs(self) -> bool:
        """Whether the guest runs; TargetError in the states between running and standing still."""
        status = str(self._qmp.execute("query-status")["status"])
        if status != "running" and status not in STANDING_STILL:
            raise NotSupported(
                f"the guest is in state {status}: its code is changed while it runs or is paused",
                hint="wait until a migration, a snapshot or a reset is over",
            )
        return status == "running"

    def _require_free_stub(self) -> None:
        """Refuse where somebody uses QEMU's only gdbstub; one that a vmon left behind is closed."""
        for chardev in self._qmp.execute("query-chardev"):
            if chardev["label"] == STUB_LABEL:
                if (
                    f"/{FOLDER_PREFIX}" not in chardev["filename"]
                    or "disconnected:" not in chardev["filename"]
                ):
                    raise _busy()
                self._qmp.execute(*CLOSE_STUB)
        if parse_command_line(host_processes.command_of(self._pid)).gdbstub:
            raise _busy()

    def _open_stub(self, guard: Guard) -> None:
        device = str(guard.stub_path).replace(",", ",,")
        (text,) = self._qmp.monitor([f"gdbserver unix:{device},server=on,wait=off"])
        opened = "Could not open" not in text
        if not opened or not guard.stub_path.is_socket():
            if opened:  # in a file system that is not ours
                self._qmp.execute(*CLOSE_STUB)
            guard.disarm()
            raise TargetError(
                f"QEMU does not open its gdbstub: {text.strip()[:200]!r}",
                hint=f"code under TCG is written through it; may QEMU's user make files in {guard.folder.parent}?",
            )

    def close(self) -> None:
        """End the guardian."""
        if self._guard is not None:
            self._guard.close()
            self._guard = None


def _busy() -> TargetBusy:
    return TargetBusy(
        "QEMU's gdbstub is in use: under TCG code is written through it",
        hint="detach the debugger and close the stub (monitor: `gdbserver none`), or start QEMU without -s and -gdb",
    )
