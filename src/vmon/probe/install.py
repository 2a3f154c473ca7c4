"""A probe is put into a guest once in its life: into pages that the guest does not use, in one pause of milliseconds.

Writes pages that Linux never hands out, and in that pause one free page-table entry and the call sites of a survey; all
through ports. When it is removed every changed instruction is as it was, and so is the page-table entry as soon as
nobody is in the probe any more (vmon.probe.quiet). Its pages stay for the guest's life, and those that the guest's
kernel gave stay the probe's: a CPU may remember a mapping that is taken away, so the next installation uses the very
same pages again. A hostile kernel can see and remove the probe. Source of what is installed: probe/src.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vmon.arch.x86_64.code import BRANCH_BYTES
from vmon.core.address import PAGE_SIZE_BYTES, Gpa, Gva
from vmon.core.errors import NotSupported, UsageError
from vmon.core.ports import HoldVm, Patch, PatchCode, PauseReport, Standstill, WakeVm, WritePhys
from vmon.linux.kernel import Kernel
from vmon.probe.abi import Abi, load_abi
from vmon.probe.leftover import clear_leftovers
from vmon.probe.mailbox import Mailbox
from vmon.probe.place import SLOT_BYTES, Slot, find_low_pages, find_slot, mapping, maps_globally
from vmon.probe.plan import Plan, encode_config, make_plan, page_counts, undo, way_of
from vmon.probe.quiet import counted, lingering
from vmon.probe.ring import Ring
from vmon.probe.sites import Text, Way, find_strangers, read_text, survey
from vmon.probe.tenant import find_tenant
from vmon.probe.window import Window

CHUNK_ORDER = 4
"""The kernel is asked for 64 KiB at a time: larger pieces may not be free."""
TRIES = 100
"""In a busy guest two looks of three find both of two CPUs in a state that is understood."""
AGAIN_S = 0.01


@dataclass(frozen=True, slots=True)
class Ports:
    """What an installation needs of a transport."""

    write: WritePhys
    code: PatchCode
    vm: Machine


class Machine(WakeVm, HoldVm, Protocol):
    """A machine that can be woken and held."""


@dataclass(frozen=True, slots=True)
class Removal(PauseReport):
    """What taking a probe out cost the guest, and what is left of it."""

    held_ns: int = 0
    """For how long the guest stood still besides, while somebody was looked for who is in the probe."""
    left: str = ""
    """Why its page-table entry stays; empty when every byte of the kernel is as it was."""


class Probe:
    """A probe that lies in a guest, active or dormant. Made by `install` and `find`."""

    def __init__(self, kernel: Kernel, ports: Ports, abi: Abi, window: Window) -> None:
        self.kernel = kernel
        self.abi = abi
        self.window = window
        self.mailbox = Mailbox(abi, window, ports.vm.wake)
        self.plan: Plan | None = None
        """What it was installed, or adopted, after; known to `install` alone."""
        self._ports = ports
        self._sites: list[Patch] = []

    # Words of the configuration and of the state.

    def _place(self, struct: str, name: str) -> tuple[int, int]:
        offset, size = self.abi.member(struct, name)
        return self.abi.sizes["CONFIG_AT" if struct == "config" else "STATE_AT"] + offset, size

    def get(self, struct: str, name: str) -> int:
        """A number of struct vmon_config or vmon_state."""
        at, size = self._place(struct, name)
        return int.from_bytes(self.window.read(at, size), "little")

    def put(self, name: str, value: int) -> None:
        """A number of struct vmon_config; seen by the guest at once."""
        at, size = self._place("config", name)
        self.window.write(at, value.to_bytes(size, "little"))

    def counters(self, name: str) -> dict[str, int]:
        """seen, lost or denied, by the name of each event."""
        at, _ = self._place("state", name)
        values = np.frombuffer(self.window.read(at, 8 * len(self.abi.kinds)), dtype="<u8").tolist()
        return {name: values[number] for name, number in self.abi.events.items()}

    def events(self) -> list[str]:
        """Names of the events that it is set up to see."""
        kinds = set(self._hooks()["kind"].tolist())
        return [name for name, number in self.abi.events.items() if number in kinds]

    # Life.

    def ring(self) -> Ring:
        """The ring of records; NotSupported where it was never made."""
        slots = self.get("config", "ring_slots")
        if not slots:
            raise NotSupported("the probe has no ring", hint="it was not installed to its end: install again")
        return Ring(self.abi, self.window, slots)

    def give_pages(self, offset: int, count: int, *, writable: bool) -> int:
        """Put pages that the guest's own kernel gives behind an offset, in whole 64 KiB; how many there are.

        Those that a vmon got that died meanwhile count. They stay the probe's for the guest's life. NotSupported when
        the guest has not enough.
        """
        there, chunk = 0, 1 << CHUNK_ORDER
        while there < count:
            at = offset + there * PAGE_SIZE_BYTES
            if not self.window.entry(at + (chunk - 1) * PAGE_SIZE_BYTES):
                answer = self.mailbox.ask("GET_PAGES", order=CHUNK_ORDER)
                if answer.result:
                    raise NotSupported(
                        f"the guest gave {there} of {count} pages", hint="it is out of memory right now"
                    )
                start = self.kernel.memory.gpa(Gva(answer.value))
                pages = [Gpa(start + PAGE_SIZE_BYTES * number) for number in range(chunk)]
                self.window.map(at, pages, writable=writable)
            there += chunk
        return there

    def switch(self, *, on: bool) -> None:
        """Let events be seen, or pass. The mailbox is answered either way."""
        self.put("enabled", int(on))
        self.settle()

    def settle(self) -> None:
        """Open the gates of what is recorded or judged, and no others; called when that has changed."""
        at, _ = self._place("config", "gates")
        self.window.write(at, self.gates())

    def gates(self) -> bytes:
        """A byte for each entry, 1 where what comes is recorded or judged, as the configuration has it."""
        abi = self.abi
        kinds = 0
        if self.get("config", "enabled"):
            kinds = self.get("config", "log_kinds")
            if table := self.get("config", "table_at"):
                at, size = abi.member("table", "kinds")
                kinds |= int.from_bytes(self.window.read(table + at, size), "little")
            if self.get("config", "tags"):
                kinds |= sum(1 << abi.events[name] for name in ("process.fork", "process.exit"))
        hooks = self._hooks()
        seen = (np.uint64(kinds) >> hooks["kind"].astype(np.uint64)) & np.uint64(1)
        gates = (hooks["shape"] == abi.shapes["TICK"]) | (seen != 0)
        return bytes(gates.astype(np.uint8))

    def open_gates(self) -> bytes:
        """A byte for each entry, as they are."""
        at, size = self._place("config", "gates")
        return self.window.read(at, size)

    def _hooks(self) -> NDArray[np.void]:
        """struct vmon_hook of every entry."""
        at, size = self._place("config", "hooks")
        return np.frombuffer(self.window.read(at, size), self.abi.dtype("hook"))

    def active(self) -> bool:
        """Whether all instructions that are known to lead here still do: 20 microseconds. False where none is known."""
        gpas = np.array([site.gpa for site in self._sites], dtype=np.uint64)
        expected = b"".join(site.new for site in self._sites)
        return bool(expected) and self.kernel.memory.phys.gather(gpas, BRANCH_BYTES).tobytes() == expected

    def know_sites(self, patches: Sequence[Patch]) -> None:
        """The instructions that lead here, of which no other is looked at by `active`."""
        self._sites = list(patches)

    def find_sites(self) -> int:
        """Look for the instructions that lead here in all of the guest's code, 10 to 40 ms; how many there are."""
        undone = self.undoing(read_text(self.kernel))
        self.know_sites([Patch(patch.gpa, patch.new, patch.old) for patch in undone])
        return len(undone)

    def remove(self) -> Removal:
        """Every instruction as it was, and the page-table entry too as soon as nobody is in the probe."""
        self.switch(on=False)
        self.put("log_kinds", 0)
        self.put("table_at", 0)
        self.put("tags", 0)
        patches = self.undoing(read_text(self.kernel))
        report = self._ports.code.patch(patches) if patches else PauseReport(0, 0)
        self._sites = []
        held_ns, left = self.unmap()
        return Removal(report.paused_ns, report.patches, held_ns, left)

    def unmap(self) -> tuple[int, str]:
        """Take the mapping away where nothing leads here and nobody is here.

        For how long the guest stood still, about 10 milliseconds a look and TRIES looks at most; and why the mapping
        stays, empty when it is gone.
        """
        held_ns, why = 0, ""
        for _ in range(TRIES):
            slot = find_slot(self.kernel)
            if slot.free:
                return held_ns, ""
            if slot.table_gpa != self.window.table_gpa:
                return held_ns, "the slot leads to somebody else's pages"
            if not self.get("config", "boot"):
                return (
                    held_ns,
                    "nothing names this boot of the guest, by which the pages would be known again",
                )
            text = read_text(self.kernel)
            if find_strangers(text):
                return held_ns, "instructions lead to it: somebody put it in again"
            why = counted(self.abi, self.window)
            if not why:
                with self._ports.vm.held() as guest:
                    why = self._unmap_held(slot, text, guest)
                held_ns += guest.paused_ns
            if not why:
                break
            time.sleep(AGAIN_S)
        return held_ns, why

    def _unmap_held(self, slot: Slot, text: Text, guest: Standstill) -> str:
        """Why nothing was done; empty when it was."""
        if why := lingering(self.kernel, self.abi, self.window, guest.registers):
            return why
        if read_text(self.kernel) != text:
            return "the kernel changes its code"
        guest.require_time()
        self._ports.write.write(slot.entry_gpa, bytes(8))
        return ""

    def undoing(self, text: Text) -> list[Patch]:
        """What makes the code of a guest as it was before."""
        code = self.window.read(0, len(self.abi.code))
        return undo(text.gva, text.gpa, code, list(find_strangers(text)), self.abi)


def find(kernel: Kernel, ports: Ports, abi: Abi | None = None) -> Probe | None:
    """The probe that lies in a guest already, mapped or not; None where there is none, or somebody else's pages."""
    abi = abi or load_abi()
    tenant = find_tenant(kernel, abi)
    if tenant.state == "other vmon":
        raise NotSupported(
            "a probe of another vmon lies in this guest",
            hint="remove it with that vmon, or restart the guest",
        )
    if tenant.table_gpa is None:
        return None
    window = Window(kernel.memory.phys, ports.write, tenant.table_gpa, globally=maps_globally(kernel))
    return Probe(kernel, ports, abi, window)


def install(
    kernel: Kernel, ports: Ports, ring_bytes: int = 1 << 20, prefer: Way = "call sites"
) -> tuple[Probe, PauseReport]:
    """Put a probe into a guest, or wake the one that is there, and finish what a vmon began that died.

    Nothing is watched until it is switched on. `prefer` is how functions are hooked where both ways are open; one that
    is active already stays as it is.
    """
    abi = load_abi()
    if ring_bytes > (room := SLOT_BYTES - abi.sizes["RING_AT"]):
        raise UsageError(f"a ring of {ring_bytes:,} bytes: the probe has room for {room:,}")
    text = read_text(kernel)
    probe = find(kernel, ports, abi)
    there = probe.undoing(text) if probe is not None else []
    code: list[Patch] = []
    if probe is not None and there:
        text, prefer = text.patched(there), way_of(abi, probe.window)
    plan = make_plan(kernel, abi, survey(kernel, text, prefer))
    if probe is None:
        probe = _place(kernel, ports, abi, plan)
    elif not there:
        code = _renew(kernel, abi, probe, plan)
    probe.plan = plan
    probe.know_sites(plan.patches)
    probe.settle()
    report = _complete(kernel, ports, probe, [*code, *_missing(kernel, plan)])
    if not probe.get("config", "ring_slots"):
        _make_ring(probe, ring_bytes)
    return probe, PauseReport(report.paused_ns, max(0, report.patches - len(code)))


def _missing(kernel: Kernel, plan: Plan) -> list[Patch]:
    """What is as it was without a probe: all of it, or what a vmon left that died in the middle of it."""
    read = kernel.memory.phys.read
    return [patch for patch in plan.patches if read(patch.gpa, len(patch.old)) == patch.old]


def _complete(kernel: Kernel, ports: Ports, probe: Probe, patches: Sequence[Patch]) -> PauseReport:
    """Map the probe and lead instructions to it, in one pause: so nobody takes the mapping away in between."""
    if not patches:
        return PauseReport(0, 0)
    report = ports.code.patch([mapping(find_slot(kernel), probe.window.table_gpa), *patches])
    return PauseReport(report.paused_ns, report.patches - 1)


def _renew(kernel: Kernel, abi: Abi, probe: Probe, plan: Plan) -> list[Patch]:
    """Give a probe that nothing leads to another plan: its configuration at once; what is to change of its code."""
    there = probe.window.read(0, len(plan.code))
    wanted = bytes(plan.code)
    if there != wanted and (why := probe.unmap()[1]):
        raise NotSupported(f"the probe that is there can't be changed now: {why}", hint="try again")
    slots = probe.get("config", "ring_slots")
    probe.window.write(abi.sizes["CONFIG_AT"], encode_config(kernel, abi, plan, probe.window.table_gpa))
    probe.put("ring_slots", slots)
    patches = []
    for at in range(0, len(wanted), PAGE_SIZE_BYTES):
        old, new = there[at : at + PAGE_SIZE_BYTES], wanted[at : at + PAGE_SIZE_BYTES]
        if old != new:
            patches.append(Patch(probe.window.pages(at, len(new))[0], old, new))
    return patches


def _place(kernel: Kernel, ports: Ports, abi: Abi, plan: Plan) -> Probe:
    """Write a probe into low pages, and the entries that will lead to it; nothing leads there yet."""
    slot = find_slot(kernel)
    if not slot.free:
        raise NotSupported(f"somebody else's memory is mapped at {slot.gva:#x}")
    clear_leftovers(kernel, ports.write, ports.code, abi)
    free = [page for run in find_low_pages(kernel).usable for page in run.each()]
    counts = page_counts(abi)
    if len(free) < sum(counts):
        raise NotSupported(
            f"this guest keeps {len(free)} low pages that it does not use, and the probe needs {sum(counts)}"
        )
    pages = []
    for count in counts:
        pages.append(free[:count])
        del free[:count]
    # The page-table entries first: by them a probe is known that never came to be.
    window = Window(kernel.memory.phys, ports.write, pages[0][0], globally=maps_globally(kernel))
    window.map(0, pages[1], executable=True)
    window.map(abi.sizes["CONFIG_AT"], pages[2])
    window.map(abi.sizes["STATE_AT"], pages[3], writable=True)
    config = encode_config(kernel, abi, plan, window.table_gpa)
    for part, own in zip((bytes(plan.code), config, b""), pages[1:], strict=True):
        for number, page in enumerate(own):
            some = part[number * PAGE_SIZE_BYTES : (number + 1) * PAGE_SIZE_BYTES]
            ports.write.write(page, some.ljust(PAGE_SIZE_BYTES, b"\0"))
    return Probe(kernel, ports, abi, window)


def _make_ring(probe: Probe, ring_bytes: int) -> None:
    """Pages that the guest's own kernel gives, through the mailbox; a power of two, as many as there are."""
    wanted = 1 << (max(PAGE_SIZE_BYTES << CHUNK_ORDER, ring_bytes).bit_length() - 1)
    given = probe.give_pages(probe.abi.sizes["RING_AT"], wanted // PAGE_SIZE_BYTES, writable=True)
    probe.put("ring_slots", given * PAGE_SIZE_BYTES // probe.abi.sizes["SLOT"])
