"""A function is hooked at its callers: each call of it in the kernel's text is a site that can lead elsewhere first.

Reads the text once (18 MB, 5 to 30 ms) through KernelMemory and writes nothing. Call sites are the better neighbour:
the guest's own tracers patch the function's entry and go on working. A call that is not seen here is not watched: from
a module, through a pointer, under a kprobe; so a function without sites is hooked at its entry nop, and one that
modules may call is said to be. An entry sees every call, and is taken first where that is asked for; not one that a
tracer or a kprobe of the guest has taken, nor one whose callers count their returns (call-depth tracking).

A hostile guest can plant calls and lie about symbols: a site must be an instruction of the text, at most MAX_SITES a
function, or its calls are not used. The kernel patches its text as it runs (static keys, ftrace): who installs compares
the old bytes once more, with the vCPUs paused.
Sources: arch/x86/kernel/{ftrace,alternative,callthunks,kprobes/core}.c, include/linux/export.h.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from vmon.arch.x86_64.code import (
    ENTRY_BYTES,
    Call,
    Entry,
    decode_branch,
    decode_entry,
    depth_thunk_bytes,
    encode_branch,
    find_calls,
    find_calls_into,
    is_instruction,
)
from vmon.core.address import Gpa, Gva
from vmon.core.errors import BadStructure
from vmon.core.ports import Patch
from vmon.linux.kernel import Kernel
from vmon.probe.hooks import EVENTS, FUNCTIONS, TICKS, Event, Function
from vmon.probe.place import SLOT_BYTES, SLOT_GVA

MAX_TEXT_BYTES = 64 << 20
MAX_SITES = 64
"""Calls of one function; the most that a hook has is 6."""
MAX_STRANGERS = 256
PADDING_BYTES = 16

How = Literal["call sites", "entry nop", "not available"]
Way = Literal["call sites", "entry nop"]


@dataclass(frozen=True, slots=True)
class Text:
    """The kernel's code as it was read."""

    gva: Gva
    gpa: Gpa
    data: bytes

    def place(self, gva: int) -> Gpa:
        """Where an address of the text lies; the image is in one piece."""
        return Gpa(self.gpa + gva - self.gva)

    def patched(self, patches: Iterable[Patch]) -> Text:
        """The same code with these changes."""
        data = bytearray(self.data)
        for patch in patches:
            data[patch.gpa - self.gpa : patch.gpa - self.gpa + len(patch.new)] = patch.new
        return Text(self.gva, self.gpa, bytes(data))

    def __contains__(self, gva: int) -> bool:
        return 0 <= gva - self.gva < len(self.data)


@dataclass(frozen=True, slots=True)
class Site:
    """One call or tail jump of a function."""

    gva: Gva
    gpa: Gpa
    opcode: int
    target: Gva
    """Where it leads: the function, or the call-depth thunk before it. A hook goes on to exactly here."""

    @property
    def old(self) -> bytes:
        """The five bytes that stand there."""
        return encode_branch(Call(self.gva, self.opcode, self.target))


@dataclass(frozen=True, slots=True)
class EntryNop:
    """The nop at a function's start."""

    gva: Gva
    gpa: Gpa
    old: bytes


@dataclass(frozen=True, slots=True)
class Reach:
    """How one function can be hooked."""

    function: Function
    how: How
    gva: Gva | None = None
    sites: tuple[Site, ...] = ()
    entry: EntryNop | None = None
    """There where it is free, whichever way is chosen."""
    why: str = ""
    """Why it is not available, or why its calls were not chosen."""
    exported: bool = False
    """Modules may call it, and their calls are no sites."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EventReach:
    """How an event can be watched."""

    event: Event
    parts: tuple[Reach, ...]
    """The chosen function of each part that is there."""
    why: str = ""
    """Why it is not available; empty when it is."""

    @property
    def available(self) -> bool:
        """Whether every part that it needs can be hooked."""
        return not self.why

    @property
    def how(self) -> How:
        """By calls alone, or by an entry in any part."""
        if self.why:
            return "not available"
        return "entry nop" if any(part.how == "entry nop" for part in self.parts) else "call sites"

    @property
    def deny(self) -> bool:
        """Whether the event can be refused."""
        return self.available and any(part.function.deny for part in self.parts)

    @property
    def sites_count(self) -> int:
        """Instructions that would be changed."""
        return sum(len(part.sites) if part.how == "call sites" else 1 for part in self.parts)


@dataclass(frozen=True, slots=True)
class Survey:
    """What can be watched in a kernel."""

    events: tuple[EventReach, ...]
    ticks: tuple[EventReach, ...]
    strangers: tuple[Call, ...] = field(default=())
    """Calls of the text that lead into the free slot: of another monitor, or of a vmon before this one."""
    prefer: Way = "call sites"
    """The way that was taken where both were open."""


def read_text(kernel: Kernel) -> Text:
    """The code from _stext to _etext. BadStructure when the symbols make no sense, NotMapped when it is not there."""
    start, end = kernel.symbol("_stext"), kernel.symbol("_etext")
    bases = kernel.memory.bases
    if not bases.text_gva <= start < end <= bases.text_gva + bases.image_size_bytes:
        raise BadStructure("the text does not lie in the image", field="_stext", address=start)
    if end - start > MAX_TEXT_BYTES:
        raise BadStructure(f"a text of {end - start:,} bytes", field="_etext", address=end)
    return Text(start, kernel.memory.gpa(start), kernel.memory.read(start, end - start))


def survey(kernel: Kernel, text: Text | None = None, prefer: Way = "call sites") -> Survey:
    """How every event and tick can be hooked in this kernel. 20 to 40 ms."""
    text = text or read_text(kernel)
    reaches = {reach.function.name: reach for reach in find_reaches(kernel, text, FUNCTIONS, prefer)}
    return Survey(
        tuple(judge(event, reaches) for event in EVENTS),
        tuple(judge(event, reaches) for event in TICKS),
        find_strangers(text),
        prefer,
    )


def judge(event: Event, reaches: dict[str, Reach]) -> EventReach:
    """The first choice of each part that can be hooked."""
    chosen: list[Reach] = []
    lacks: list[str] = []
    for part in event.parts:
        options = [reaches[choice.name] for choice in part.choices]
        usable = next((reach for reach in options if reach.how != "not available"), None)
        if usable is not None:
            chosen.append(usable)
        elif not (part.optional and all(reach.gva is None for reach in options)):
            lacks.extend(f"{reach.function.name}: {reach.why}" for reach in options)
    return EventReach(event, tuple(chosen), "; ".join(lacks))


def find_reaches(
    kernel: Kernel, text: Text, functions: Iterable[Function], prefer: Way = "call sites"
) -> list[Reach]:
    """How each function can be hooked, in their order. One pass over the text for all of them."""
    wanted = list(functions)
    starts = {item.name: kernel.symbol(item.name) for item in wanted if kernel.has_symbol(item.name)}
    entered = {name: _entered_at(text, gva) for name, gva in starts.items() if gva in text}
    calls: dict[int, list[Call]] = {}
    for call in find_calls(text.data, text.gva, {gva for places in entered.values() for gva in places}):
        calls.setdefault(call.target, []).append(call)
    found = []
    for function in wanted:
        gva = starts.get(function.name)
        if gva is None:
            found.append(Reach(function, "not available", why="this kernel has no such function"))
        elif gva not in text:
            found.append(Reach(function, "not available", gva, why="it does not lie in the kernel's text"))
        else:
            own = [call for place in entered[function.name] for call in calls.get(place, [])]
            counted = len(entered[function.name]) > 1
            exported = kernel.has_symbol(f"__ksymtab_{function.name}")
            found.append(_reach(text, Place(function, gva, exported, counted), own, prefer))
    return found


class Place(NamedTuple):
    """A function that lies in the text."""

    function: Function
    gva: Gva
    exported: bool
    counted: bool
    """Whether a thunk before it counts its calls."""


def _entered_at(text: Text, gva: Gva) -> tuple[Gva, ...]:
    """Where callers may enter a function: at its start, and at the call-depth thunk before it where one stands."""
    at = gva - text.gva
    thunk = depth_thunk_bytes(text.data[max(0, at - PADDING_BYTES) : at])
    return (gva, Gva(gva - thunk)) if thunk else (gva,)


def _reach(text: Text, place: Place, calls: list[Call], prefer: Way) -> Reach:
    function, gva, exported = place.function, place.gva, place.exported
    at = gva - text.gva
    entry = decode_entry(text.data[at : at + ENTRY_BYTES])
    warnings = _entry_warnings(text, gva, entry)
    taken = _entry_taken(entry, warnings, counted=place.counted)
    nop = None
    if not taken:
        nop_gva = Gva(gva + entry.offset)
        nop = EntryNop(nop_gva, text.place(nop_gva), entry.data)
    few = calls if len(calls) <= MAX_SITES else []
    sure = [call for call in few if is_instruction(text.data, call.gva - text.gva)]
    if nop is not None and prefer == "entry nop":
        why = "its entry was asked for"
    elif len(calls) > MAX_SITES:
        why = f"{len(calls)} calls of it, more than any kernel has"
    elif len(sure) < len(calls):
        why = f"{len(calls) - len(sure)} of {len(calls)} calls of it may be no instructions"
    else:
        why = "" if calls else "nothing in the kernel's text calls it directly"
    sites = tuple(Site(call.gva, text.place(call.gva), call.opcode, call.target) for call in sure)
    if not why:
        return Reach(function, "call sites", gva, sites, nop, "", exported, warnings)
    if nop is not None:
        return Reach(function, "entry nop", gva, (), nop, why, exported, warnings)
    return Reach(function, "not available", gva, (), None, f"{why}, and {taken}", exported, warnings)


def _entry_taken(entry: Entry, warnings: tuple[str, ...], *, counted: bool) -> str:
    """Why a function can't be hooked at its entry; empty where it can."""
    if counted:
        # One that is refused returns past the function's own return: it would be counted for ever.
        return "its callers count that it returns (call-depth tracking)"
    if entry.state == "nop":
        return ""
    return warnings[0] if warnings else f"there is no nop at its entry ({entry.data.hex(' ')})"


def _entry_warnings(text: Text, gva: Gva, entry: Entry) -> tuple[str, ...]:
    """Whom the entry belongs to now, when it is not free."""
    if entry.state == "breakpoint":
        return ("a breakpoint stands at its entry: a kprobe of the guest, or text being patched",)
    branch = decode_branch(entry.data, Gva(gva + entry.offset))
    if branch is None or entry.state not in ("call", "jump"):
        return ()
    where = "in the kernel's text" if branch.target in text else "outside the kernel's text"
    who = "is traced" if entry.state == "call" else "jumps away"
    return (f"its entry {who}: it leads to {branch.target:#x}, {where}",)


def find_strangers(text: Text) -> tuple[Call, ...]:
    """Instructions of the text that lead into the free slot. An untouched kernel has none."""
    calls = find_calls_into(text.data, text.gva, SLOT_GVA, SLOT_BYTES)[:MAX_STRANGERS]
    return tuple(call for call in calls if is_instruction(text.data, call.gva - text.gva))
