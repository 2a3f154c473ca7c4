from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kernel.fuzz import WORD_VALUES, steady
from tests.unit.linux.orcs import STACK_BYTES, Orcs, Row
from vmon.core.errors import GuestDataError
from vmon.linux import unwind
from vmon.linux.registers import Thread
from vmon.linux.unwind import Unwinder

FIRST, SECOND, THIRD = 0, 0x100, 0x200
ROWS: list[Row] = [
    (FIRST, "call", "sp", 16, "undefined", 0),
    (SECOND, "call", "sp", 24, "prev sp", -16),
    (THIRD, "call", "bp", 16, "prev sp", -16),
    (0x300, "regs", "sp", 0, "undefined", 0),
    (0x400, "call", "sp", 0, "undefined", 0),
    (0x500, "call", "r10", 8, "undefined", 0),
    (0x600, "end", "undefined", 0, "undefined", 0),
]
MODULE = 0xFFFF_FFFF_C010_0000


def names(orcs: Orcs, thread: Thread) -> list[tuple[str | None, int, bool]]:
    return [(frame.symbol, frame.offset, frame.sure) for frame in Unwinder(orcs.kernel()).frames(thread)]


@pytest.mark.parametrize("old", [False, True])
def test_from_frame_to_frame_to_the_end(old: bool) -> None:
    orcs = Orcs(ROWS, old=old)
    end = orcs.stack + 0x1000 + 56
    thread = orcs.thread(
        {
            8: orcs.text + SECOND + 0x20,
            # second saved the frame pointer, which third's frame hangs on.
            16 + 24 - 16: end + 0x80,
            16 + 24 - 8: orcs.text + THIRD + 0x30,
            0x80 + 8: orcs.text + 0x600 + 5,
        }
    )
    assert names(orcs, thread) == [
        ("first", 0x10, True), ("second", 0x20, True), ("third", 0x30, True), ("third", 0x405, True),
    ]  # fmt: skip


def test_the_entry_from_user_space_is_the_end() -> None:
    orcs = Orcs(ROWS)
    regs = 16
    thread = orcs.thread({8: orcs.text + 0x300 + 5, regs + unwind.CS: 0x33, regs + unwind.RIP: 0x400000})
    assert names(orcs, thread) == [("first", 0x10, True), ("third", 0x105, True)]


def test_an_interrupt_of_the_kernel_is_gone_through() -> None:
    orcs = Orcs(ROWS)
    end, regs = orcs.stack + 0x1000 + 56, 16
    thread = orcs.thread(
        {
            8: orcs.text + 0x300 + 5,
            regs + unwind.CS: 0x10,
            # Struck at the very first instruction of second: its entry is that of this address, not of the one before.
            regs + unwind.RIP: orcs.text + SECOND,
            regs + unwind.RSP: end + 0x200,
            0x200 + 24 - 8: orcs.text + 0x600 + 5,
        }
    )
    assert [offset for _, offset, _ in names(orcs, thread)][-1] == 0x405
    assert all(sure for *_, sure in names(orcs, thread))


def test_where_the_table_does_not_help_the_rest_is_guessed() -> None:
    orcs = Orcs(ROWS)
    thread = orcs.thread({8: orcs.text + 0x500 + 5, 0x40: orcs.text + THIRD + 7, 0x48: 0x1234})
    assert names(orcs, thread) == [
        ("first", 0x10, True), ("third", 0x305, True), ("third", 7, False),
    ]  # fmt: skip


def test_a_kernel_without_tables_is_guessed() -> None:
    orcs = Orcs(ROWS)
    del orcs.small.profile.symbols["__start_orc_unwind"]
    thread = orcs.thread({8: orcs.text + SECOND + 0x20})
    # Where it was switched away from is known without them.
    assert names(orcs, thread) == [("first", 0x10, True), ("second", 0x20, False)]


def test_frames_in_a_module() -> None:
    orcs = Orcs(ROWS)
    rows: list[Row] = [(0, "call", "sp", 32, "undefined", 0)]
    orcs.module(b"loop", MODULE, rows, {0x10: b"lo_first", 0x80: b"lo_second"})
    thread = orcs.thread({8: MODULE + 0x90, 16 + 32 - 8: orcs.text + 0x600 + 1})
    frames = Unwinder(orcs.kernel()).frames(thread)
    assert [(frame.symbol, frame.offset, frame.module, frame.sure) for frame in frames] == [
        ("first", 0x10, "", True),
        ("lo_second", 0x10, "loop", True),
        ("third", 0x401, "", True),
    ]


def test_a_module_without_a_table_is_guessed() -> None:
    orcs = Orcs(ROWS)
    orcs.module(b"loop", MODULE, [], {})
    thread = orcs.thread({8: MODULE + 0x90, 0x20: MODULE + 0x91})
    frames = Unwinder(orcs.kernel()).frames(thread)
    assert [(frame.address, frame.symbol, frame.module, frame.sure) for frame in frames] == [
        (orcs.text + 0x10, "first", "", True),
        (MODULE + 0x90, None, "loop", True),
        (MODULE + 0x91, None, "loop", False),
    ]


def test_frames_that_lead_nowhere_end() -> None:
    orcs = Orcs(ROWS)
    # A frame of no size would be gone through for ever.
    loop = orcs.thread({-8: orcs.text + 0x400 + 5, 8: orcs.text + 0x400 + 5, 16 - 8: orcs.text + 0x400 + 5})
    assert len(Unwinder(orcs.kernel()).frames(loop)) <= unwind.MAX_FRAMES
    for pointer in (orcs.stack - 64, orcs.stack + STACK_BYTES - 8, orcs.stack + STACK_BYTES, 0):
        lost = Thread(1, 1, b"x", "S", orcs.stack, pointer, None, None)
        assert all(not frame.sure for frame in Unwinder(orcs.kernel()).frames(lost))


def test_threads_without_a_stack() -> None:
    orcs = Orcs(ROWS)
    assert Unwinder(orcs.kernel()).frames(Thread(1, 1, b"x", "Z", 0, 0, None, None)) == []
    with pytest.raises(GuestDataError):
        Unwinder(orcs.kernel()).frames(Thread(1, 1, b"x", "S", 0xFFFF_C900_0000_0000, 0, None, None))


@steady(60)
@given(st.lists(st.tuples(st.integers(0, STACK_BYTES // 8 - 1), WORD_VALUES), max_size=60), st.data())
def test_any_stack_ends(words: list[tuple[int, int]], data: st.DataObject) -> None:
    orcs = Orcs(ROWS)
    thread = orcs.thread({8: orcs.text + SECOND + 0x20})
    for place, value in words:
        inside = data.draw(st.booleans())
        orcs.small.put(orcs.stack + 8 * place, orcs.text + value % 0x700 if inside else value)
    assert len(Unwinder(orcs.kernel()).frames(thread)) <= 2 * unwind.MAX_FRAMES
