"""A call is e8 and a signed 32-bit distance: all callers of a function are found by arithmetic over the whole text.

Decodes and makes bytes that it is given; reads nothing. Data or the middle of an instruction can look like a call:
only exact targets count, and `is_instruction` asks whether decoding arrives there. Measured with capstone 5.0 on
Debian's 5.10, 6.1, 6.12, 6.18 and 7.2: of 407,887 function starts 51 were hit by bytes that are no instruction, 0.0001
a function; no decoding arrived at any of the 51, and all did at each of the 224 call sites of vmon's own hooks. Of
ordinary calls 99 in 100 are reached by 95 % of the decodings or more. Tables of bare jumps (static call trampolines, a
switch of system calls) decode ambiguously, and count as doubtful. A hostile text can make at most MAX_CALLS calls.
Sources: Intel SDM vol. 2 (CALL, JMP, NOP, ENDBR64), arch/x86/kernel/{alternative,callthunks}.c, asm/ibt.h.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vmon.arch.x86_64.length import boundary_share
from vmon.core.address import Gva
from vmon.core.errors import BadStructure, UsageError

CALL, JUMP = 0xE8, 0xE9
BREAKPOINT = 0xCC
BRANCH_BYTES = 5
ENTRY_BYTES = 9
"""An entry's landing pad and what follows it."""
MAX_CALLS = 20_000
CHUNK_BYTES = 1 << 20
SURE_SHARE = 0.75
"""Nothing inside an instruction was reached by more than 0.56 of the decodings, see the header."""

# The nops that the kernel puts where a compiler called __fentry__; the second on AMD, seen on 5.10.
ENTRY_NOPS = (bytes.fromhex("0f1f440000"), bytes.fromhex("6666666690"))
# endbr64, and what it is overwritten with where nothing jumps to the function indirectly: seen on 6.12, on 6.18.
LANDING_PADS = (bytes.fromhex("f30f1efa"), bytes.fromhex("660f1f00"), bytes.fromhex("0f1f40d6"))
# sarq $5, %gs:__x86_call_depth, absolute and relative to RIP: callers enter here with retbleed=stuff. The second was
# seen on 6.12 and 6.18, the first is from the source of 6.2.
DEPTH_THUNKS = ((10, bytes.fromhex("6548c13c25")), (9, bytes.fromhex("6548c13d")))


class Call(NamedTuple):
    """A call or a jump with a 32-bit distance."""

    gva: Gva
    opcode: int
    """CALL or JUMP."""
    target: Gva


class Entry(NamedTuple):
    """The five bytes at a function's entry that ftrace may patch."""

    offset: int
    """From the function's start: 0, or 4 behind a landing pad."""
    state: Literal["nop", "call", "jump", "breakpoint", "other"]
    """nop: free. call: traced. jump, breakpoint: a kprobe. other: this function has no such place."""
    data: bytes


def decode_branch(data: bytes, gva: Gva) -> Call | None:
    """The call or jump that `data` starts with; None when it is neither."""
    if len(data) < BRANCH_BYTES or data[0] not in (CALL, JUMP):
        return None
    distance = int.from_bytes(data[1:BRANCH_BYTES], "little", signed=True)
    return Call(gva, data[0], Gva((gva + BRANCH_BYTES + distance) & 0xFFFF_FFFF_FFFF_FFFF))


def encode_branch(call: Call) -> bytes:
    """Its five bytes; UsageError when the target is out of reach."""
    distance = call.target - call.gva - BRANCH_BYTES
    if call.opcode not in (CALL, JUMP) or not -(1 << 31) <= distance < 1 << 31:
        raise UsageError(f"no branch {call.opcode:#x} leads from {call.gva:#x} to {call.target:#x}")
    return bytes((call.opcode,)) + distance.to_bytes(4, "little", signed=True)


def decode_entry(data: bytes) -> Entry:
    """What stands where ftrace may patch, from the first ENTRY_BYTES of a function."""
    offset = 4 if data[:4] in LANDING_PADS else 0
    place = data[offset : offset + BRANCH_BYTES]
    if place in ENTRY_NOPS:
        return Entry(offset, "nop", place)
    if len(place) == BRANCH_BYTES and place[0] == CALL:
        return Entry(offset, "call", place)
    if len(place) == BRANCH_BYTES and place[0] == JUMP:
        return Entry(offset, "jump", place)
    if place[:1] == bytes((BREAKPOINT,)):
        return Entry(offset, "breakpoint", place)
    return Entry(offset, "other", place)


def depth_thunk_bytes(before: bytes) -> int:
    """How far before a function its callers enter it, by the 16 bytes before it; 0: at its start."""
    for size, head in DEPTH_THUNKS:
        thunk = before[-size:]
        if len(thunk) == size and thunk.startswith(head) and thunk[-1] == 5:
            return size
    return 0


def is_instruction(text: bytes, at: int) -> bool:
    """Whether an instruction starts at `at`, by the agreement of decodings that start before it."""
    return boundary_share(text, at) >= SURE_SHARE


def find_calls(text: bytes, text_gva: Gva, targets: Iterable[int]) -> list[Call]:
    """Every e8 and e9 in a text whose target is exactly one of `targets`, by address. 25 ms for 18 MB.

    Not verified: ask `is_instruction`. BadStructure when there are more than MAX_CALLS.
    """
    wanted = np.array(sorted(_distances(text_gva, targets)), dtype=np.int64)

    def chosen(distances: NDArray[np.int64]) -> NDArray[np.bool_]:
        if not wanted.size:
            return np.zeros(distances.shape, dtype=bool)
        nearest = np.minimum(np.searchsorted(wanted, distances), wanted.size - 1)
        found: NDArray[np.bool_] = wanted[nearest] == distances
        return found

    return _scan(text, text_gva, chosen)


def find_calls_into(text: bytes, text_gva: Gva, start: Gva, size_bytes: int) -> list[Call]:
    """Every e8 and e9 in a text whose target lies in a range. Not verified, and some are chance."""
    low = start - text_gva

    def chosen(distances: NDArray[np.int64]) -> NDArray[np.bool_]:
        return (distances >= low) & (distances < low + size_bytes)

    return _scan(text, text_gva, chosen)


def _distances(text_gva: Gva, targets: Iterable[int]) -> set[int]:
    """Targets from the start of the text; those that no branch reaches are left out."""
    return {far for target in targets if abs(far := target - text_gva) < 1 << 33}


def _scan(text: bytes, text_gva: Gva, chosen: Callable[[NDArray[np.int64]], NDArray[np.bool_]]) -> list[Call]:
    """A chunk at a time, so that a text of nothing but e8 costs no more memory than another."""
    data = np.frombuffer(text, dtype=np.uint8)
    last = len(data) - BRANCH_BYTES
    found: list[Call] = []
    for start in range(0, last + 1, CHUNK_BYTES):
        places = np.flatnonzero((data[start : min(start + CHUNK_BYTES, last + 1)] & 0xFE) == CALL) + start
        distances = np.zeros(places.shape, dtype=np.uint32)
        for byte in range(4):
            distances |= data[places + (1 + byte)].astype(np.uint32) << np.uint32(8 * byte)
        targets = places + BRANCH_BYTES + distances.view(np.int32)
        hits = chosen(targets)
        for place, target in zip(places[hits].tolist(), targets[hits].tolist(), strict=True):
            found.append(Call(Gva(text_gva + place), text[place], Gva(text_gva + target)))
        if len(found) > MAX_CALLS:
            raise BadStructure(f"more than {MAX_CALLS:,} calls of a few functions", address=text_gva)
    return found
