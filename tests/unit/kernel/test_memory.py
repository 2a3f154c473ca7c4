from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kernel.fuzz import steady
from tests.unit.linux.build import (
    BANNER,
    HEAP_BYTES,
    HEAP_GPA,
    RODATA_GPA,
    RODATA_GVA,
    TEXT_GPA,
    VMALLOC,
    Guest,
)
from vmon.arch.x86_64.paging import NOT_MAPPED
from vmon.core.address import Gva
from vmon.core.errors import BadStructure, GuestDataError, NotMapped, PhysReadError
from vmon.kernel.memory import KernelMemory

LA57 = pytest.mark.parametrize("la57", [False, True])


def make(la57: bool = False) -> tuple[Guest, KernelMemory]:
    guest = Guest("new", la57)
    guest.heap[0:4096] = bytes([0xAA]) * 4096
    guest.heap[4096:8192] = bytes([0xBB]) * 4096
    guest.text = guest.data(b"hello\0more")
    return guest, guest.kernel().memory


@LA57
def test_a_pointer_is_direct_or_in_the_image_or_walked(la57: bool) -> None:
    guest, memory = make(la57)
    assert memory.gpa(Gva(guest.gva(HEAP_GPA))) == HEAP_GPA
    assert memory.gpa(Gva(RODATA_GVA + 0xE0)) == RODATA_GPA + 0xE0
    assert memory.gpa(Gva(VMALLOC[la57] + 4096)) == HEAP_GPA
    assert memory.gpa(Gva(VMALLOC[la57] + 5)) == HEAP_GPA + 4096 + 5
    assert memory.read(Gva(RODATA_GVA + 0xE0), len(BANNER)) == BANNER
    assert memory.u32(Gva(VMALLOC[la57])) == 0xBBBB_BBBB
    assert memory.u64(Gva(VMALLOC[la57] + 4096)) == 0xAAAA_AAAA_AAAA_AAAA


@LA57
def test_pages_that_are_neighbours_by_address_only(la57: bool) -> None:
    _, memory = make(la57)
    edge = VMALLOC[la57] + 4096
    assert memory.read(Gva(edge - 3), 6) == b"\xbb\xbb\xbb\xaa\xaa\xaa"
    rows = memory.gather(np.array([edge - 3, edge, edge - 6], dtype=np.uint64), 6)
    assert [bytes(row) for row in rows] == [b"\xbb" * 3 + b"\xaa" * 3, b"\xaa" * 6, b"\xbb" * 6]


@LA57
def test_an_address_with_no_page_is_named(la57: bool) -> None:
    _, memory = make(la57)
    for gva in (0, 0x1234, VMALLOC[la57] + 3 * 4096, (1 << 64) - 8):
        with pytest.raises(NotMapped) as caught:
            memory.read(Gva(gva), 8)
        assert caught.value.address == gva
    with pytest.raises(NotMapped) as caught:
        memory.read(Gva(VMALLOC[la57] + 2 * 4096 - 4), 8)
    assert caught.value.address == VMALLOC[la57] + 2 * 4096


def test_a_hole_in_the_direct_map_is_no_ram() -> None:
    guest, memory = make()
    with pytest.raises(PhysReadError) as caught:
        memory.read(Gva(guest.gva(0x10)), 8)
    assert caught.value.address == 0x10
    with pytest.raises(GuestDataError):
        memory.read(Gva(guest.gva(HEAP_GPA + HEAP_BYTES - 4)), 8)


@LA57
def test_rows_that_are_not_mapped_are_zeros_and_spoil_nothing(la57: bool) -> None:
    guest, memory = make(la57)
    wild = [
        0,
        0x7FFF_0000,
        guest.gva(0x10),
        VMALLOC[la57] + 3 * 4096,
        VMALLOC[la57] + 2 * 4096 - 4,
        (1 << 64) - 1,
    ]
    gvas = np.array([guest.gva(HEAP_GPA), *wild, RODATA_GVA + 0xE0], dtype=np.uint64)
    rows = memory.gather(gvas, 8)
    assert bytes(rows[0]) == b"\xaa" * 8
    assert bytes(rows[-1]) == BANNER[:8]
    assert not rows[1:-1].any()
    gpas = memory.gpas(gvas)
    assert gpas[[1, 2, 4, 6]].tolist() == [int(NOT_MAPPED)] * 4
    assert gpas[-1] == RODATA_GPA + 0xE0


def test_user_addresses_cost_no_walk() -> None:
    _, memory = make()
    before = len_of(memory)
    assert (memory.gpas(np.array([0, 0x7FFD_0000_0000], dtype=np.uint64)) == NOT_MAPPED).all()
    assert len_of(memory) - before <= 5


def len_of(memory: KernelMemory) -> int:
    calls: int = memory.phys.calls  # type: ignore[attr-defined]
    return calls


def test_strings_end_at_nul_at_the_limit_and_where_memory_ends() -> None:
    guest, memory = make()
    text = guest.text
    assert memory.string(Gva(text)) == b"hello"
    assert memory.string(Gva(text), 3) == b"hel"
    assert memory.string(Gva(text), 0) == b""
    assert memory.string(Gva(guest.gva(HEAP_GPA)), 100) == b"\xaa" * 100
    edge = VMALLOC[False] + 4096
    assert memory.string(Gva(edge - 2), 4) == b"\xbb\xbb\xaa\xaa"
    assert memory.string(Gva(edge + 4096 - 2), 100) == b"\xaa\xaa"
    with pytest.raises(NotMapped):
        memory.string(Gva(edge + 4096), 100)
    with pytest.raises(BadStructure, match="limit"):
        memory.string(Gva(text), 4097)


ODD = [0, 1, TEXT_GPA, 0x7FFF_FFFF_F000, RODATA_GVA, VMALLOC[False], VMALLOC[False] + 8190, (1 << 64) - 1]


@steady(150)
@given(
    st.lists(
        st.one_of(
            st.integers(0, (1 << 64) - 1),
            st.tuples(st.sampled_from(ODD), st.integers(-9000, 9000)).map(lambda pair: sum(pair) % (1 << 64)),
            st.integers(HEAP_GPA - 100, HEAP_GPA + HEAP_BYTES + 100).map(
                lambda gpa: 0xFFFF_8880_0000_0000 + gpa
            ),
        ),
        min_size=1,
        max_size=8,
    ),
    st.integers(1, 64),
)
def test_any_address_is_the_same_one_by_one_and_together(gvas: list[int], size: int) -> None:
    memory = MEMORY
    together = memory.gather(np.array(gvas, dtype=np.uint64), size)
    for row, gva in zip(together, gvas, strict=True):
        try:
            single = memory.read(Gva(gva), size)
        except GuestDataError:
            single = None
        if gva + size < 1 << 64:
            assert bytes(row) == (single if single is not None else bytes(size))


MEMORY = make()[1]
MEMORY.phys.calls_limit = 10**9  # type: ignore[attr-defined]
MEMORY.phys.bytes_limit = 10**12  # type: ignore[attr-defined]
