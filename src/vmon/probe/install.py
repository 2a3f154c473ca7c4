"""A probe is put into a guest once in its life: into pages that the guest does not use, in one pause of milliseconds.

Writes pages that Linux never hands out, one free page-table entry, and the call sites of a survey; all through ports.
When it is removed every changed instruction is as it was; its pages and their mapping stay for the guest's life, and
the next installation uses them again: a CPU may remember a mapping that is taken away. A hostile kernel can see and
remove the probe. Source of what is installed: probe/src.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vmon.arch.x86_64.code import BRANCH_BYTES
from vmon.core.address import PAGE_SIZE_BYTES, Gpa, Gva
from vmon.core.errors import BadStructure, NotSupported
from vmon.core.ports import Patch, PatchCode, PauseReport, WakeVm, WritePhys
from vmon.linux.kernel import Kernel
from vmon.probe.abi import Abi, load_abi
from vmon.probe.config import MAGIC
from vmon.probe.leftover import clear_leftovers
from vmon.probe.mailbox import Mailbox
from vmon.probe.place import SLOT_BYTES, Slot, encode_table_entry, find_low_pages, find_slot, maps_globally
from vmon.probe.plan import Plan, encode_config, make_plan, undo
from vmon.probe.ring import Ring
from vmon.probe.sites import Text, Way, find_strangers, read_text, survey
from vmon.probe.tamper import plan_of
from vmon.probe.window import Window

CHUNK_ORDER = 4
"""The kernel is asked for 64 KiB at a time: larger pieces may not be free."""
QUIET_S = 2.0
POLL_S = 0.001


@dataclass(frozen=True, slots=True)
class Ports:
    """What an installation needs of a transport."""

    write: WritePhys
    code: PatchCode
    vm: WakeVm


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

    def remove(self) -> PauseReport:
        """Every instruction as it was; the pages stay, dormant."""
        self.switch(on=False)
        self.put("log_kinds", 0)
        self.put("table_at", 0)
        self.put("tags", 0)
        patches = self.undoing(read_text(self.kernel))
        report = self._ports.code.patch(patches) if patches else PauseReport(0, 0)
        self._wait_until_quiet()
        return report

    def undoing(self, text: Text) -> list[Patch]:
        """What makes the code of a guest as it was before."""
        code = self.window.read(0, len(self.abi.code))
        return undo(text.gva, text.gpa, code, list(find_strangers(text)), self.abi)

    def _wait_until_quiet(self) -> None:
        """Nobody writes to the ring any more."""
        at, size = self._place("state", "in_flight")
        deadline = time.monotonic() + QUIET_S
        while any(self.window.read(at, size)) or self.get("state", "waiting"):
            if time.monotonic() > deadline:
                raise BadStructure("somebody does not leave the probe", field="vmon_state.in_flight")
            time.sleep(POLL_S)


def find(kernel: Kernel, ports: Ports, abi: Abi | None = None) -> Probe | None:
    """The probe that lies in a guest already; None where the slot is free or somebody else's."""
    abi = abi or load_abi()
    slot = find_slot(kernel)
    if slot.free:
        return None
    window = Window(kernel.memory.phys, ports.write, slot.table_gpa, globally=maps_globally(kernel))
    try:
        probe = Probe(kernel, ports, abi, window)
        if probe.get("config", "magic") != MAGIC:
            return None
    except BadStructure:
        return None
    if probe.get("config", "build") != abi.build:
        raise NotSupported(
            "a probe of another vmon lies in this guest",
            hint="remove it with that vmon, or restart the guest",
        )
    return probe


def install(
    kernel: Kernel, ports: Ports, ring_bytes: int = 1 << 20, prefer: Way = "call sites"
) -> tuple[Probe, PauseReport]:
    """Put a probe into a guest, or wake the one that is there, and finish what a vmon began that died.

    Nothing is watched until it is switched on. `prefer` is how functions are hooked where both ways are open; one that
    is there already stays as it is.
    """
    abi = load_abi()
    probe = find(kernel, ports, abi)
    if probe is None:
        plan = make_plan(kernel, abi, survey(kernel, prefer=prefer))
        probe = _place(kernel, ports, abi, bytes(plan.code), encode_config(kernel, abi, plan))
    else:
        plan = plan_of(kernel, abi, probe.window)
    probe.plan = plan
    probe.know_sites(plan.patches)
    probe.settle()
    report = _complete(kernel, ports, plan)
    if not probe.get("config", "ring_slots"):
        _make_ring(probe, ring_bytes)
    return probe, report


def _complete(kernel: Kernel, ports: Ports, plan: Plan) -> PauseReport:
    """Change what is as it was without a probe: all of it, or what a vmon left that died in the middle of it."""
    read = kernel.memory.phys.read
    missing = [patch for patch in plan.patches if read(patch.gpa, len(patch.old)) == patch.old]
    return ports.code.patch(missing) if missing else PauseReport(0, 0)


def _place(kernel: Kernel, ports: Ports, abi: Abi, code: bytes, config: bytes) -> Probe:
    slot: Slot = find_slot(kernel)
    if not slot.free:
        raise NotSupported(f"somebody else's memory is mapped at {slot.gva:#x}")
    clear_leftovers(kernel, ports.write, ports.code, abi)
    free = [page for run in find_low_pages(kernel).usable for page in run.each()]
    parts = [bytes(PAGE_SIZE_BYTES), code, config, bytes(abi.size("state"))]
    counts = [-(-len(part) // PAGE_SIZE_BYTES) for part in parts]
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
    for part, own in zip(parts[1:], pages[1:], strict=True):
        for number, page in enumerate(own):
            some = part[number * PAGE_SIZE_BYTES : (number + 1) * PAGE_SIZE_BYTES]
            ports.write.write(page, some.ljust(PAGE_SIZE_BYTES, b"\0"))
    ports.write.write(slot.entry_gpa, encode_table_entry(pages[0][0]).to_bytes(8, "little"))
    return Probe(kernel, ports, abi, window)


def _make_ring(probe: Probe, ring_bytes: int) -> None:
    """Pages that the guest's own kernel gives, through the mailbox; a power of two, as many as there are."""
    room = SLOT_BYTES - probe.abi.sizes["RING_AT"]
    wanted = 1 << (max(PAGE_SIZE_BYTES << CHUNK_ORDER, min(ring_bytes, room)).bit_length() - 1)
    given = probe.give_pages(probe.abi.sizes["RING_AT"], wanted // PAGE_SIZE_BYTES, writable=True)
    probe.put("ring_slots", given * PAGE_SIZE_BYTES // probe.abi.sizes["SLOT"])
