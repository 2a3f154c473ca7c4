from __future__ import annotations

import struct

from tests.unit.linux.space import PAGE, Space
from vmon.core.coverage import Gaps
from vmon.linux.auxv import read_auxv, read_auxv_bytes

AT = 0x7FFD_0000_0000


def made(*pairs: tuple[int, int]) -> Space:
    space = Space()
    space.area(AT, 2)
    space.small.set(space.mm, "mm_struct", saved_auxv=b"".join(struct.pack("<QQ", *pair) for pair in pairs))
    return space


def test_entries_and_their_texts() -> None:
    space = made((6, 4096), (31, AT + PAGE - 3), (77, 1), (0, 0))
    space.page(AT, bytes(PAGE - 3) + b"/bi")
    space.page(AT + PAGE, b"n/\xff\0more")
    gaps = Gaps()
    kernel = space.small.kernel()
    records = read_auxv(kernel, space.mm, 5, space.memory(), gaps)
    assert [(record.name, record.type, record.value, record.text) for record in records] == [
        ("AT_PAGESZ", 6, 4096, None),
        ("AT_EXECFN", 31, AT + PAGE - 3, "/bin/\udcff"),
        ("77", 77, 1, None),
    ]
    assert (records[0].pid, gaps.records()) == (5, [])
    assert read_auxv_bytes(kernel, space.mm) == struct.pack("<8Q", 6, 4096, 31, AT + PAGE - 3, 77, 1, 0, 0)


def test_a_vector_without_an_end_and_texts_that_are_nowhere() -> None:
    space = made((15, 0x10), (24, (1 << 64) - 1), (31, AT), (31, AT + PAGE))
    space.page(AT, b"x" * PAGE)
    space.page(AT + PAGE, b"x" * PAGE)
    gaps = Gaps()
    records = read_auxv(space.small.kernel(), space.mm, 5, space.memory(), gaps)
    assert [record.text for record in records] == [None] * 4
    assert [(gap.what, gap.reason, gap.count) for gap in gaps.records()] == [("text", "not resident", 4)]
    assert len(read_auxv_bytes(space.small.kernel(), space.mm)) == 64
