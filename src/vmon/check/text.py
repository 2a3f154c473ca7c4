"""The kernel's code does not change but at places that it keeps lists of, and what stands there leads to known code.

Reads the text, the lists, and the first instructions of every function. What is left when the places are masked is kept
as a fingerprint, a number for each 64 bytes, and compared with that of an earlier look at this boot. A change that was
there before the first look, and is no detour at a function's start, is seen by the kernel's file alone. A hostile
guest can't know the fingerprint's weights, which are drawn by lot on the host.
Sources: as vmon.linux.patching; arch/x86/kernel/{jump_label,static_call,ftrace}.c for what may stand at a place.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from vmon.arch.x86_64.code import BRANCH_BYTES, CALL, JUMP, LANDING_PADS
from vmon.check.kinds import finding
from vmon.check.looks import settled
from vmon.core.coverage import Gaps
from vmon.core.errors import UsageError
from vmon.core.records.finding import FindingRecord
from vmon.kernel.columns import Column
from vmon.kernel.vmlinux import Vmlinux
from vmon.linux import code, patching
from vmon.linux.code import CodeMap
from vmon.linux.kernel import Kernel
from vmon.linux.patching import Patchable
from vmon.probe.abi import Abi
from vmon.probe.place import SLOT_GVA
from vmon.probe.plan import undo
from vmon.probe.sites import Text, find_strangers, read_text

WANTS = code.WANTS | patching.WANTS
LINE_BYTES = 64
WORDS = LINE_BYTES // 4
SHORT_JUMP = 0xEB
STATIC_CALL = "__SCT__"
MAX_CHANGES = 1000
ENTRY_WINDOW_BYTES = 24
Bytes = NDArray[np.uint8]


class Fingerprint(msgspec.Struct, frozen=True):
    """The masked text of one boot."""

    start: int
    weights: bytes
    """One odd 64-bit number for each word of a line, drawn on the host."""
    lines: bytes
    """A 64-bit sum for each line."""
    taken_at: float
    """Seconds since the epoch, by the host."""


@dataclass(frozen=True, slots=True)
class Masked:
    """The text with what may change taken out."""

    text: Text
    data: Bytes
    open: NDArray[np.bool_]
    """Of each byte, whether it may change."""
    places: Patchable


def own_text(kernel: Kernel, abi: Abi) -> Text:
    """The kernel's code, with the instructions that a probe of this vmon changed as they were before."""
    text = read_text(kernel)
    strangers = list(find_strangers(text))
    if not strangers:
        return text
    behind = kernel.memory.read(SLOT_GVA, len(abi.code))
    return text.patched(undo(text.gva, text.gpa, behind, strangers, abi))


def mask(kernel: Kernel, text: Text, gaps: Gaps) -> Masked:
    """Zeros where the kernel may change its code."""
    places = patching.find_patchable(kernel, gaps)
    data = np.frombuffer(text.data, dtype=np.uint8).copy()
    short = _at(text, data, places.jumps)
    two = short[(data[short] == SHORT_JUMP) | ((data[short] == 0x66) & (data[short + 1] == 0x90))]
    others = (places.calls, places.traced, places.probed, places.tracer)
    five = [short[~np.isin(short, two)], *(_at(text, data, column) for column in others)]
    symbols = kernel.symbols
    named = zip(symbols.names, symbols.addresses.tolist(), strict=True)
    trampolines = [address for name, address in named if name.startswith(STATIC_CALL)]
    five.append(_at(text, data, np.array(trampolines, dtype=np.uint64)))
    may_change = np.zeros(data.shape, dtype=bool)
    may_change[(two[:, None] + np.arange(2)).reshape(-1)] = True
    for column in five:
        may_change[(column[:, None] + np.arange(BRANCH_BYTES)).reshape(-1)] = True
    data[may_change] = 0
    return Masked(text, data, may_change, places)


def _at(text: Text, data: Bytes, gvas: Column) -> NDArray[np.int64]:
    """Offsets of places in the text; those elsewhere (init code, modules) left out."""
    offsets = (gvas - np.uint64(text.gva)).astype(np.int64)
    return np.unique(offsets[(offsets >= 0) & (offsets < len(data) - ENTRY_WINDOW_BYTES)])


def fingerprint(masked: Masked, taken_at: float, weights: bytes | None = None) -> Fingerprint:
    """A sum for each line, 10 ms. The same weights make two fingerprints comparable."""
    weights = weights or (np.frombuffer(secrets.token_bytes(8 * WORDS), dtype="<u8") | np.uint64(1)).tobytes()
    return Fingerprint(masked.text.gva, weights, _sums(masked.data, weights).tobytes(), taken_at)


def _sums(data: Bytes, weights: bytes) -> Column:
    whole = np.zeros(-(-len(data) // LINE_BYTES) * LINE_BYTES, dtype=np.uint8)
    whole[: len(data)] = data
    words = whole.view("<u4").reshape(-1, WORDS).astype(np.uint64)
    sums: Column = words @ np.frombuffer(weights, dtype="<u8")
    return sums


def check_text(
    kernel: Kernel,
    gaps: Gaps,
    areas: Callable[[Gaps], CodeMap],
    abi: Abi,
    before: Fingerprint | None,
    image: Vmlinux | None = None,
) -> list[FindingRecord]:
    """Detours at the starts of functions, and what changed since an earlier look. 60 to 120 ms.

    `areas` finds whose code is where, at each look anew. With the kernel's file, what is not as in it: 200 ms more.
    UsageError where that is the file of another kernel.
    """
    if image is not None and image.build_id != kernel.profile.build_id:
        raise UsageError(
            f"that is the file of another kernel: build id {image.build_id or 'none'}, the guest's is "
            f"{kernel.profile.build_id}",
            hint=f"give the vmlinuz of the guest's own kernel package, {kernel.profile.release}",
        )
    if before is None and image is None:
        gaps.add("code changed before this look", "not looked for", "the first look at this boot", 0)

    def look(seen: Gaps) -> dict[Hashable, FindingRecord]:
        masked = mask(kernel, own_text(kernel, abi), seen)
        found = _detours(kernel, masked, areas(seen))
        if before is not None:
            found.update(_changes(kernel, masked, before))
        if image is not None:
            found.update(_against_file(kernel, masked, image))
        return found

    return settled(look, gaps)


def _changes(kernel: Kernel, masked: Masked, before: Fingerprint) -> dict[Hashable, FindingRecord]:
    now = _sums(masked.data, before.weights)
    old = np.frombuffer(before.lines, dtype="<u8")
    if now.size != old.size or before.start != masked.text.gva:
        return {}
    found: dict[Hashable, FindingRecord] = {}
    for line in np.flatnonzero(now != old)[:MAX_CHANGES].tolist():
        gva = masked.text.gva + LINE_BYTES * line
        data = masked.text.data[LINE_BYTES * line : LINE_BYTES * (line + 1)]
        evidence = [f"{gva:#x}: now {data.hex()}", "what the kernel itself may change there is left out"]
        found["code.changed", gva] = finding("code.changed", _name(kernel, gva), evidence, address=gva)
    return found


def _against_file(kernel: Kernel, masked: Masked, image: Vmlinux) -> dict[Hashable, FindingRecord]:
    """Bytes that are not as the file has them, once it is moved to where this boot put it."""
    slide = kernel.memory.bases.kaslr_slide
    linked, data = image.text(slide)
    first = masked.text.gva - slide - linked
    count = min(len(masked.data), len(data) - first)
    now = np.frombuffer(masked.text.data, dtype=np.uint8)[:count]
    differs = (now != data[first : first + count]) & ~masked.open[:count]
    for places, lengths in image.changed_at_boot(kernel.all_types):
        starts = places - np.int64(linked + first - (1 << 64))
        inside = (starts >= 0) & (starts + lengths <= count)
        starts, sizes = starts[inside], lengths[inside]
        within = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        differs[np.repeat(starts, sizes) + within] = False
    found: dict[Hashable, FindingRecord] = {}
    for line in np.unique(np.flatnonzero(differs) // LINE_BYTES)[:MAX_CHANGES].tolist():
        at = int(np.flatnonzero(differs[LINE_BYTES * line :])[0]) + LINE_BYTES * line
        gva = masked.text.gva + at
        here, there = (bytes(part[at : at + 16]).hex() for part in (now, data[first:]))
        evidence = [f"{gva:#x}: {here} in memory, {there} in the file"]
        found["code.file", gva] = finding("code.file", _name(kernel, gva), evidence, address=gva)
    return found


def _name(kernel: Kernel, gva: int) -> str:
    symbol = kernel.symbols.at(gva)
    return f"{symbol[0]}+{symbol[1]:#x}" if symbol else f"{gva:#x}"


def _detours(kernel: Kernel, masked: Masked, areas: CodeMap) -> dict[Hashable, FindingRecord]:
    """Branches at the starts of functions, and at the places that may change, which lead out of known code."""
    text = masked.text
    data = np.frombuffer(text.data, dtype=np.uint8)
    symbols = kernel.symbols
    functions = np.array([kind in "TtWw" for kind in symbols.kinds])
    starts = _at(text, data, symbols.addresses[functions])
    pads = np.zeros(starts.size, dtype=bool)
    for pad in LANDING_PADS:
        same = [data[starts + number] == byte for number, byte in enumerate(pad)]
        pads |= np.logical_and.reduce(same)
    entries = np.where(pads, starts + 4, starts)
    places = masked.places
    listed = [
        _at(text, data, column) for column in (places.calls, places.traced, places.tracer, places.jumps)
    ]
    spots = np.unique(np.concatenate([starts, entries, *listed]))
    targets, branch = _targets(text, data, spots)
    wrong = branch & ~areas.known(targets)
    found: dict[Hashable, FindingRecord] = {}
    for spot, target in zip(spots[wrong].tolist()[:MAX_CHANGES], targets[wrong].tolist(), strict=False):
        gva = text.gva + spot
        evidence = [f"{gva:#x}: {bytes(data[spot : spot + 16]).hex()} leads to {target:#x}, in no known code"]
        found["code.detour", gva] = finding("code.detour", _name(kernel, gva), evidence, address=gva)
    return found


def _targets(text: Text, data: Bytes, spots: NDArray[np.int64]) -> tuple[Column, NDArray[np.bool_]]:
    """Where each place leads: near calls and jumps, and the ways to jump anywhere that take a register or the stack."""
    window = data[spots[:, None] + np.arange(ENTRY_WINDOW_BYTES)]
    near = (window[:, 0] == CALL) | (window[:, 0] == JUMP)
    distance = np.ascontiguousarray(window[:, 1:5]).view("<i4").reshape(-1).astype(np.int64)
    targets = (spots + np.int64(BRANCH_BYTES) + distance).view(np.uint64) + np.uint64(text.gva)
    # mov $target, %rax; jmp *%rax (and %r10, %r11), or push %rax; ret
    wide = np.ascontiguousarray(window[:, 2:10]).view("<u8").reshape(-1).astype(np.uint64)
    rex, opcode = window[:, 0], window[:, 1]
    to_low = (rex == 0x48) & (opcode >= 0xB8) & (opcode <= 0xBF)
    to_high = (rex == 0x49) & (opcode >= 0xB8) & (opcode <= 0xBF)
    leaves_low = ((window[:, 10] == 0xFF) & (window[:, 11] >> 4 == 0xE)) | (window[:, 11] == 0xC3)
    leaves_high = (window[:, 10] == 0x41) & ((window[:, 11] == 0xFF) | (window[:, 12] == 0xC3))
    far = (to_low & leaves_low) | (to_high & leaves_high)
    return np.where(far, wide, targets), near | far
