from __future__ import annotations

import struct

import numpy as np
import pytest

from tests.unit.linux.build import HEAP_GPA, Guest
from vmon.core.errors import BadStructure
from vmon.kernel.columns import Columns, StructReader, text_rows
from vmon.kernel.profile import FieldLayout, StructLayout

LAYOUT = StructLayout(
    "thing",
    600,
    {
        "u8": FieldLayout(0, 1),
        "u16": FieldLayout(2, 2),
        "u32": FieldLayout(4, 4),
        "u64": FieldLayout(8, 8),
        "bits": FieldLayout(4, 4, bit=3, bits=5),
        "text": FieldLayout(16, 8, count=8),
        "numbers": FieldLayout(24, 16, count=4),
        "odd": FieldLayout(40, 3),
        "empty": FieldLayout(44, 0),
        "far": FieldLayout(592, 8),
    },
)
ALL = list(LAYOUT.fields)


def read(fields: list[str] | None = None) -> Columns:
    """Three things: all ones, counted bytes, and one that is not mapped."""
    guest = Guest("new")
    one, two = guest.alloc(600), guest.alloc(600)
    guest.write(one, b"\xff" * 600)
    guest.write(two, bytes(range(256)) * 2 + bytes(88))
    kernel = guest.kernel()
    gvas = np.array([one, two, 0x10], dtype=np.uint64)
    return StructReader(LAYOUT, fields or ALL).read(kernel.memory, gvas)


def test_numbers_of_every_width_and_rows_of_zeros() -> None:
    columns = read()
    assert columns.count == 3
    assert columns["u8"].tolist() == [0xFF, 0, 0]
    assert columns["u16"].tolist() == [0xFFFF, 0x0302, 0]
    assert columns["u32"].tolist() == [0xFFFF_FFFF, 0x07060504, 0]
    assert columns["u64"].tolist() == [(1 << 64) - 1, 0x0F0E0D0C0B0A0908, 0]
    assert columns["far"].tolist() == [(1 << 64) - 1, 0, 0]
    assert columns["u8"].dtype == np.uint64


def test_signed_numbers() -> None:
    columns = read()
    assert columns.signed("u8").tolist() == [-1, 0, 0]
    assert columns.signed("u32").tolist() == [-1, 0x07060504, 0]
    assert columns.signed("u64").tolist() == [-1, 0x0F0E0D0C0B0A0908, 0]


def test_bit_fields_arrays_and_bytes() -> None:
    columns = read()
    assert columns["bits"].tolist() == [0x1F, 0x07060504 >> 3 & 0x1F, 0]
    assert columns.words("numbers", 4, 4)[1].tolist() == list(struct.unpack("<4I", bytes(range(24, 40))))
    assert columns.words("numbers", 2).shape == (3, 2)
    assert columns.words("numbers", 3, 4).shape == (3, 3)
    assert bytes(columns.raw("text")[1]) == bytes(range(16, 24))
    assert columns.address(np.array([1000], dtype=np.uint64), "u64").tolist() == [1008]


def test_one_gather_for_what_lies_together_and_none_for_the_gap_between() -> None:
    guest = Guest("new")
    kernel = guest.kernel()
    ram = kernel.memory.phys
    before = ram.bytes_read, ram.calls  # type: ignore[attr-defined]
    StructReader(LAYOUT, ALL).read(kernel.memory, np.array([guest.gva(HEAP_GPA)], dtype=np.uint64))
    assert (ram.bytes_read - before[0], ram.calls - before[1]) == (44 + 8, 2)  # type: ignore[attr-defined]


def test_a_field_that_this_kernel_lacks_is_named() -> None:
    columns = read(["u8", "nothing"])
    assert "u8" in columns
    assert "nothing" not in columns
    for ask in (columns.__getitem__, columns.signed, columns.raw, lambda name: columns.words(name, 1)):
        with pytest.raises(BadStructure, match="no such field") as caught:
            ask("nothing")
        assert caught.value.field == "thing.nothing"


def test_a_field_of_another_size_than_needed_is_named() -> None:
    columns = read()
    asks = [
        (lambda: columns["odd"], "odd"),
        (lambda: columns["empty"], "empty"),
        (lambda: columns.signed("odd"), "odd"),
        (lambda: columns.raw("text", 4), "text"),
        (lambda: columns.words("odd", 1), "odd"),
        (lambda: columns.words("numbers", 3), "numbers"),
        (lambda: columns.words("numbers", 1 << 32), "numbers"),
    ]
    for ask, name in asks:
        with pytest.raises(BadStructure) as caught:
            ask()
        assert (caught.value.field, caught.value.address) == (f"thing.{name}", LAYOUT[name].offset)


def test_text_is_cut_at_the_first_nul() -> None:
    rows = np.frombuffer(b"abc\0defg" + b"12345678" + bytes(8), dtype=np.uint8).reshape(3, 8)
    assert text_rows(rows) == [b"abc", b"12345678", b""]
    assert text_rows(np.zeros((2, 0), dtype=np.uint8)) == [b"", b""]
    assert text_rows(np.zeros((0, 8), dtype=np.uint8)) == []
    assert text_rows(rows[:, 1:3]) == [b"bc", b"23", b""]


def test_no_rows() -> None:
    guest = Guest("new")
    columns = StructReader(LAYOUT, ALL).read(guest.kernel().memory, np.zeros(0, dtype=np.uint64))
    assert columns.count == 0
    assert columns["u64"].size == columns.signed("u32").size == 0
