"""The doctor says beforehand what a probe could do in a guest and what is in its way, and touches nothing.

Reads the guest through the ports of its connection; what can't be read becomes an obstacle or a reason, not an error.
A hostile guest can make things look better or worse than they are: who installs checks again, with the guest paused.
A probe of this vmon, active or dormant, is in nobody's way: the kernel is judged as it would be without its calls.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from vmon.core.address import Gpa
from vmon.core.errors import GuestDataError, NotSupported, TargetError
from vmon.core.ports import PatchCode, WritePhys
from vmon.core.records.probe import AbilityRecord, DoctorRecord, HookRecord, PageRunRecord
from vmon.linux.kernel import Kernel
from vmon.probe.abi import Abi, load_abi
from vmon.probe.hooks import EVENTS, TICKS, Event
from vmon.probe.place import SLOT_GVA, LowPages, Slot, find_low_pages, find_slot
from vmon.probe.plan import page_counts, undo, way_of
from vmon.probe.sites import EventReach, Survey, find_strangers, read_text, survey
from vmon.probe.tenant import Tenant, find_tenant
from vmon.probe.window import Window

if TYPE_CHECKING:
    from vmon.monitor.machine import Connection

EFER_NO_EXECUTE = 1 << 11
MAX_SHOWN = 8

T = TypeVar("T")


def examine(target: str, kernel: Kernel, connection: Connection) -> DoctorRecord:
    """Everything that is decided before a probe is installed."""
    abilities, obstacles = _abilities(connection)
    slot, problem = _tried(lambda: find_slot(kernel))
    if slot is None:
        obstacles.append(f"no address for code: {problem}")
    abi = load_abi()
    least = sum(page_counts(abi))
    tenant, _ = _tried(lambda: find_tenant(kernel, abi))
    if tenant is not None and (obstacle := _way_in(tenant)):
        obstacles.append(obstacle)
    window = _window(kernel, tenant)
    pages, problem = _tried(lambda: find_low_pages(kernel))
    if window is None:
        if pages is None:
            obstacles.append(f"no place for code: {problem}")
        elif pages.pages < least:
            obstacles.append(f"no place for code: {pages.pages} free low pages, {least} are needed")
    searched, problem = _tried(lambda: _search(kernel, abi, window))
    found, calls = searched or (None, 0)
    if found is None:
        obstacles.append(f"the kernel's text can't be searched: {problem}")
    return DoctorRecord(
        target=target,
        release=kernel.profile.release,
        build_id=kernel.profile.build_id,
        hypervisor=connection.hypervisor,
        changed=False,
        obstacles=obstacles,
        abilities=abilities,
        pages=pages.pages if pages else 0,
        page_runs=_page_runs(pages),
        slot_address=SLOT_GVA,
        slot_entry_gpa=slot.entry_gpa if slot else None,
        events=_hooks(EVENTS, found.events if found else (), problem),
        ticks=_hooks(TICKS, found.ticks if found else (), problem),
        notes=_notes(found, slot, window, calls),
    )


class _NoWrites:
    """The doctor's way to write: none."""

    def write(self, gpa: Gpa, data: bytes) -> None:
        """NotSupported, always."""
        raise NotSupported(f"{len(data)} bytes were to be written to {gpa:#x} by who only looks")


def _way_in(tenant: Tenant) -> str:
    """Why the slot keeps a probe out; empty where it does not."""
    gva = tenant.slot.gva
    if tenant.state == "stranger":
        return f"somebody else's memory is mapped at {gva:#x} ({tenant.slot.entry:#x})"
    if tenant.state == "other vmon":
        return f"a probe of another vmon lies at {gva:#x}: remove it with that, or restart the guest"
    return ""


def _window(kernel: Kernel, tenant: Tenant | None) -> Window | None:
    """Of a probe of this vmon, which the next installation wakes."""
    if tenant is None or tenant.table_gpa is None:
        return None
    return Window(kernel.memory.phys, _NoWrites(), tenant.table_gpa)


def _search(kernel: Kernel, abi: Abi, window: Window | None) -> tuple[Survey, int]:
    """What the text offers without our own probe, and how many calls lead to that."""
    if window is None:
        return survey(kernel), 0
    text = read_text(kernel)
    ours = undo(text.gva, text.gpa, window.read(0, len(abi.code)), list(find_strangers(text)), abi)
    way = way_of(abi, window) if ours else "call sites"
    return survey(kernel, text.patched(ours), way), len(ours)


def _tried(ask: Callable[[], T]) -> tuple[T | None, str]:
    """An answer of the guest's memory, or why there is none."""
    try:
        return ask(), ""
    except GuestDataError as error:
        return None, str(error)


def _abilities(connection: Connection) -> tuple[list[AbilityRecord], list[str]]:
    """What the target's ports give, and what their lack is in the way of."""
    ram, regs, watch = connection.ram, connection.regs, connection.watch
    obstacles: list[str] = []
    size = sum(part.size_bytes for part in ram.ranges)
    abilities = [
        AbilityRecord(
            name="read RAM", available=True, detail=f"{size >> 20:,} MiB by {connection.ram_access}"
        )
    ]
    if regs is None:
        detail = "none here: whether this kernel is the one that runs can't be told"
    else:
        try:
            cpu = regs.registers()
            detail = f"CR3 {cpu.cr3:#x} of CPU {cpu.cpu}"
            if not cpu.efer & EFER_NO_EXECUTE:
                obstacles.append("the CPU knows no no-execute bit: data could not be kept from being run")
        except TargetError as error:
            regs, detail = None, error.message
    abilities.append(AbilityRecord(name="registers", available=regs is not None, detail=detail))
    if watch is None:
        abilities.append(AbilityRecord(name="run state", available=False, detail="a dump does not run"))
        obstacles.append("this target is a dump: there is nothing to install a probe in")
    else:
        state = watch.state()
        detail = f"{state.status}, {state.resets} resets seen"
        abilities.append(AbilityRecord(name="run state", available=True, detail=detail))
    writes = isinstance(ram, WritePhys) and isinstance(watch, PatchCode)
    detail = "RAM, and code in a pause of milliseconds" if writes else "there is no way to"
    if watch is not None and not writes:
        obstacles.append("there is no way to write to this guest")
    abilities.append(AbilityRecord(name="write", available=writes, detail=detail))
    return abilities, obstacles


def _page_runs(pages: LowPages | None) -> list[PageRunRecord]:
    if pages is None:
        return []
    runs = [(run, "") for run in pages.usable] + list(pages.refused)
    return [PageRunRecord(gpa=run.gpa, pages=run.pages, why=why) for run, why in sorted(runs)]


def _hooks(events: tuple[Event, ...], reaches: tuple[EventReach, ...], problem: str) -> list[HookRecord]:
    """One line an event, also when the text could not be searched."""
    return [_hook(reach) for reach in reaches or [EventReach(event, (), problem) for event in events]]


def _hook(reach: EventReach) -> HookRecord:
    notes = [reach.event.note] if reach.event.note else []
    for part in reach.parts:
        name = part.function.name
        if part.how == "entry nop":
            notes.append(f"{name}: {part.why}; the guest's own tracer may not be used on it meanwhile")
        elif part.exported:
            notes.append(f"calls of {name} from modules are not seen")
        notes.extend(f"{name}: {warning}" for warning in part.warnings)
    contexts = ("interrupt", "atomic", "locked", "may sleep")
    met = {part.function.context for part in reach.parts}
    return HookRecord(
        event=reach.event.name,
        how=reach.how,
        deny=reach.deny,
        sites=reach.sites_count if reach.available else 0,
        functions=[part.function.name for part in reach.parts],
        context=next((context for context in contexts if context in met), ""),
        why=reach.why,
        notes=notes,
    )


def _notes(found: Survey | None, slot: Slot | None, window: Window | None, calls: int) -> list[str]:
    """Whether our own probe is there, and what else was seen in the text."""
    notes = []
    if window is not None and calls:
        notes.append(f"a probe of this vmon is active at {SLOT_GVA:#x}: {calls} instructions lead to it")
    elif window is not None and found is not None:
        where = f"is mapped at {SLOT_GVA:#x}" if slot and not slot.free else "is mapped nowhere"
        notes.append(f"a dormant probe of this vmon {where}: the next installation uses its pages again")
    if found is not None and found.strangers:
        shown = ", ".join(f"{call.gva:#x}" for call in found.strangers[:MAX_SHOWN])
        more = " and more" if len(found.strangers) > MAX_SHOWN else ""
        mapped = "" if slot is None or not slot.free else ", where nothing is mapped"
        whose = "none that this vmon wrote" if window else "another probe, or another vmon's"
        notes.append(
            f"{len(found.strangers)} calls of the kernel's text lead to {SLOT_GVA:#x}{mapped}: "
            f"{whose} ({shown}{more})"
        )
    return notes
