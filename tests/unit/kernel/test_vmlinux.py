from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given

from tests.unit.kernel.build import BtfBuilder, note
from tests.unit.kernel.fuzz import damaged, steady
from vmon.core.errors import VmonError
from vmon.kernel.btf import Btf
from vmon.kernel.vmlinux import SECTION, Vmlinux, _signed

TEXT = 0xFFFF_FFFF_8100_0000
SITES = 0xFFFF_FFFF_8300_0000
SLIDE = 0x1200_0000
ID = bytes(range(20))


def relative(*places: int) -> bytes:
    return b"".join(
        struct.pack("<i", TEXT + place - (SITES + 4 * number)) for number, place in enumerate(places)
    )


def elf(sections: dict[str, tuple[int, bytes]], moved: tuple[tuple[int, ...], ...]) -> bytes:
    """An ELF file of these sections (address, bytes), with the places that are moved behind it, a block a kind."""
    names = b"\0" + b"".join(name.encode() + b"\0" for name in (*sections, ".shstrtab"))
    body, heads = bytearray(64), [bytes(SECTION.size)]
    for name, (address, data) in {**sections, ".shstrtab": (0, names)}.items():
        heads.append(
            SECTION.pack(names.index(name.encode() + b"\0"), 1, 0, address, len(body), len(data), 0, 0, 1, 0)
        )
        body += data
    table = len(body)
    body[:6] = b"\x7fELF\x02\x01"
    body[0x28:0x30] = struct.pack("<Q", table)
    body[0x3A:0x40] = struct.pack("<HHH", SECTION.size, len(heads), len(heads) - 1)
    tail = b"".join(
        struct.pack(f"<{1 + len(block)}I", 0, *(at & 0xFFFF_FFFF for at in block)) for block in moved
    )
    return bytes(body) + b"".join(heads) + tail


CODE = bytes(range(64)) * 2
SECTIONS = {
    ".text": (TEXT, CODE),
    ".notes": (TEXT + 0x1000, note(b"GNU\0", 3, ID)),
    ".return_sites": (SITES, relative(0x10, 0x20)),
    "runtime_ptr_x": (SITES, relative(0x30)),
    # A pointer, a type, a length; the last is not filled up.
    ".parainstructions": (
        SITES,
        struct.pack("<QBB", TEXT + 0x40, 1, 7) + bytes(6) + struct.pack("<QBB", TEXT + 0x50, 1, 6),
    ),
    ".altinstructions": (SITES, struct.pack("<iiHBB", TEXT + 0x60 - SITES, 0, 1, 9, 3)),
}
MOVED = ((TEXT + 8,), (TEXT + 16,), (TEXT + 24, TEXT + 28))


def types() -> Btf:
    made = BtfBuilder()
    u8, u16, s32 = made.integer("u8", 1), made.integer("u16", 2), made.integer("s32", 4)
    members = [("instr_offset", s32, 0, 0), ("repl_offset", s32, 32, 0), ("cpuid", u16, 64, 0)]
    made.composite("alt_instr", 12, [*members, ("instrlen", u8, 80, 0), ("replacementlen", u8, 88, 0)])
    return Btf(made.blob())


def test_code_is_moved_as_the_kernel_moves_it() -> None:
    made = Vmlinux(elf(SECTIONS, MOVED))
    assert made.build_id == ID.hex()
    start, still = made.text(0)
    assert (start, still.tobytes()) == (TEXT, CODE)
    _, data = made.text(SLIDE)
    words = {
        at: int.from_bytes(CODE[at : at + size], "little") for at, size in ((8, 8), (16, 4), (24, 4), (28, 4))
    }
    assert int.from_bytes(data[8:16].tobytes(), "little") == words[8] + SLIDE
    assert int.from_bytes(data[16:20].tobytes(), "little") == words[16] - SLIDE & 0xFFFF_FFFF
    assert int.from_bytes(data[24:28].tobytes(), "little") == words[24] + SLIDE & 0xFFFF_FFFF
    assert int.from_bytes(data[28:32].tobytes(), "little") == words[28] + SLIDE & 0xFFFF_FFFF
    rest = np.r_[0:8, 20:24, 32:128]
    assert (data[rest] == np.frombuffer(CODE, dtype=np.uint8)[rest]).all()


def test_since_6_15_there_are_two_kinds_of_places() -> None:
    _, data = Vmlinux(elf(SECTIONS, (MOVED[0], MOVED[2]))).text(SLIDE)
    assert data[16:20].tobytes() == CODE[16:20]
    assert data[24:28].tobytes() != CODE[24:28]


def test_what_the_kernel_changes_as_it_starts() -> None:
    found = Vmlinux(elf(SECTIONS, MOVED)).changed_at_boot(types())
    places = {
        int(place) - _signed(TEXT): int(length)
        for column, lengths in found
        for place, length in zip(column, lengths, strict=True)
    }
    assert places == {0x10: 5, 0x20: 5, 0x30: 8, 0x40: 7, 0x50: 6, 0x60: 9}


def test_bytes_by_their_address() -> None:
    made = Vmlinux(elf(SECTIONS, MOVED))
    assert made.read(TEXT + 4, 8) == CODE[4:12]
    with pytest.raises(VmonError):
        made.read(TEXT + 120, 16)


@steady(80)
@given(damaged(elf(SECTIONS, MOVED)))
def test_any_bytes(data: bytes) -> None:
    try:
        made = Vmlinux(data)
        made.text(SLIDE)
        assert len(made.build_id) <= 128
        made.changed_at_boot(types())
    except VmonError:
        return
