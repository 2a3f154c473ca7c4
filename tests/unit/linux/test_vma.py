from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kernel.fuzz import OutOfBounds, steady
from tests.unit.linux.build import Guest
from vmon.core.address import Gva
from vmon.core.errors import BadStructure, GuestDataError
from vmon.kernel.columns import Columns
from vmon.linux import vma
from vmon.linux.vma import area_name, find_vmas, permissions

MODELS = pytest.mark.parametrize("model", ["new", "old"])
LEAF, RANGE, ARANGE = 1, 2, 3


def starts(guest: Guest, mm: int) -> list[int]:
    _, columns = find_vmas(guest.kernel(), Gva(mm))
    found: list[int] = columns["vm_start"].tolist()
    return found


def area(start: int, end: int) -> dict[str, int]:
    return {"vm_start": start, "vm_end": end}


@MODELS
def test_areas_in_address_order_with_and_without_holes(model: str) -> None:
    guest = Guest(model)
    mm = guest.new("mm_struct")
    ranges = [(0x1000, 0x3000), (0x3000, 0x4000), (0x9000, 0xA000), (0xA000, 0xB000), (1 << 46, 1 << 47)]
    made = guest.areas(mm, [area(*pair) for pair in ranges])
    gvas, columns = find_vmas(guest.kernel(), Gva(mm))
    assert gvas.tolist() == made
    assert list(zip(columns["vm_start"].tolist(), columns["vm_end"].tolist(), strict=True)) == ranges


@MODELS
def test_an_address_space_without_areas(model: str) -> None:
    guest = Guest(model)
    assert starts(guest, guest.new("mm_struct")) == []


def test_a_tree_of_one_area_has_no_node() -> None:
    guest = Guest("new")
    mm = guest.new("mm_struct")
    only = guest.new("vm_area_struct", {"vm_mm": mm, "vm_start": 0, "vm_end": 0x1000})
    guest.set(mm, "mm_struct", {"mm_mt.ma_root": only})
    assert starts(guest, mm) == [0]


def node(guest: Guest, kind: int, pivots: list[int], slots: list[int]) -> int:
    """An encoded maple node."""
    name = "maple_arange_64" if kind == ARANGE else "maple_range_64"
    gva = guest.new(name, align=256)
    guest.write(guest.at(gva, name, "pivot"), struct.pack(f"<{len(pivots)}Q", *pivots))
    guest.write(guest.at(gva, name, "slot"), struct.pack(f"<{len(slots)}Q", *slots))
    return gva | kind << 3 | 4


def rooted(guest: Guest, top: int) -> int:
    return guest.new("mm_struct", {"mm_mt.ma_root": top & ~7 | top & 0x78 | 2})


def test_a_tree_of_three_levels() -> None:
    guest = Guest("new")
    mm = guest.new("mm_struct")
    areas = [
        guest.new("vm_area_struct", {"vm_mm": mm, "vm_start": n << 16, "vm_end": (n << 16) + 0x1000})
        for n in range(16)
    ]
    leaves = [node(guest, LEAF, [(n << 16) + 0xFFF, (n << 16) + 0xFFFF], [areas[n], 0]) for n in range(16)]
    middle = [
        node(guest, RANGE, [(n << 16) + 0xFFFF for n in range(low, low + 4)], leaves[low : low + 4])
        for low in range(0, 16, 4)
    ]
    top = node(guest, ARANGE, [(n << 18) + 0x3FFFF for n in range(3)], middle)
    guest.set(mm, "mm_struct", {"mm_mt.ma_root": top & ~7 | 2})
    assert starts(guest, mm) == [n << 16 for n in range(16)]


@MODELS
def test_what_belongs_to_another_mm_or_ends_before_it_starts_is_left_out(model: str) -> None:
    guest = Guest(model)
    mm = guest.new("mm_struct")
    made = guest.areas(mm, [area(n << 12, (n << 12) + 0x1000) for n in range(1, 6)])
    guest.set(made[1], "vm_area_struct", {"vm_mm": mm + 64})
    guest.set(made[3], "vm_area_struct", {"vm_end": 0})
    assert starts(guest, mm) == [0x1000, 0x3000, 0x5000]


def test_a_list_that_runs_into_itself() -> None:
    guest = Guest("old")
    mm = guest.new("mm_struct")
    made = guest.areas(mm, [area(n << 12, (n << 12) + 0x1000) for n in range(1, 40)])
    guest.set(made[-1], "vm_area_struct", {"vm_next": made[7]})
    kernel = guest.kernel(calls_limit=500)
    with pytest.raises(BadStructure, match="runs into itself") as caught:
        find_vmas(kernel, Gva(mm))
    assert caught.value.field == "vm_area_struct.vm_next"
    assert caught.value.address in made


@MODELS
def test_more_areas_than_the_limit(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vma, "MAX_VMAS", 4)
    guest = Guest(model)
    mm = guest.new("mm_struct")
    guest.areas(mm, [area(n << 12, (n << 12) + 0x1000) for n in range(1, 15)])
    with pytest.raises(BadStructure) as caught:
        find_vmas(guest.kernel(), Gva(mm))
    assert caught.value.field in ("mm_struct.mmap", "maple_node")
    assert caught.value.address


def test_a_node_that_contains_itself() -> None:
    guest = Guest("new")
    top = node(guest, ARANGE, [0x1000], [0, 0])
    guest.write(guest.at(top & ~0xFF, "maple_arange_64", "slot"), struct.pack("<2Q", top, top))
    with pytest.raises(BadStructure) as caught:
        starts(guest, rooted(guest, top))
    assert caught.value.field == "maple_node"
    assert caught.value.address & ~0xFF == top & ~0xFF


def test_nodes_that_double_at_every_level() -> None:
    """Thirty nodes, each holding the next in nine slots whose pivots never reach the end of the range."""
    guest = Guest("new")
    below = node(guest, LEAF, [1, 2], [0, 0])
    for level in range(29):
        below = node(guest, RANGE, [3 + level] * 9, [below] * 10)
    with pytest.raises(BadStructure) as caught:
        starts(guest, rooted(guest, below))
    assert caught.value.field == "maple_node"


@pytest.mark.parametrize("kind", [0, 4, 9, 15])
def test_a_node_of_a_kind_that_does_not_exist(kind: int) -> None:
    guest = Guest("new")
    with pytest.raises(BadStructure, match=f"type {kind}"):
        starts(guest, rooted(guest, guest.alloc(256, 256) | kind << 3))


def test_a_node_that_is_not_mapped() -> None:
    guest = Guest("new")
    with pytest.raises(GuestDataError):
        starts(guest, rooted(guest, 0xFFFF_F000_0000_0000 | LEAF << 3))


def test_permissions() -> None:
    assert [permissions(flags) for flags in (0, 1, 3, 5, 7, 0x87)] == [
        "---p", "r--p", "rw-p", "r-xp", "rwxp", "rwxs",
    ]  # fmt: skip


def names(guest: Guest, values: dict[str, int], heap: tuple[int, int] = (0, 0), stack: int = 0) -> bytes:
    gva = guest.new("vm_area_struct", values)
    columns: Columns = guest.kernel().read(
        "vm_area_struct", vma.VMA_COLUMNS, np.array([gva], dtype=np.uint64)
    )
    return area_name(guest.kernel(), columns, 0, heap, stack)


def test_names_of_areas_without_a_file() -> None:
    guest = Guest("new")
    here = area(0x5000, 0x8000)
    assert names(guest, here) == b""
    assert names(guest, here, heap=(0x6000, 0x7000)) == b"[heap]"
    assert names(guest, here, stack=0x7F00) == b"[stack]"
    assert names(guest, here, heap=(0x9000, 0xA000), stack=0x9000) == b""


def test_names_that_cannot_be_read() -> None:
    guest = Guest("new")
    here = area(0x5000, 0x8000)
    ops = guest.kernel().symbol("special_mapping_vmops")
    wild = 0xFFFF_F000_0000_0000
    assert names(guest, {**here, "vm_ops": ops, "vm_private_data": wild}) == b"[special]"
    mapping = guest.new("vm_special_mapping", {"name": wild})
    assert names(guest, {**here, "vm_ops": ops, "vm_private_data": mapping}) == b"[special]"
    assert names(guest, {**here, "anon_name": wild}) == b""


def test_a_name_without_end_is_cut() -> None:
    guest = Guest("new")
    text = guest.data(b"A" * 5000)
    name = names(
        guest, {**area(0x5000, 0x8000), "anon_name": text - guest.profile["anon_vma_name"].offset("name")}
    )
    assert name == b"[anon:" + b"A" * 80 + b"]"


@steady(120)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([LEAF, RANGE, ARANGE, ARANGE, 7]),
            st.lists(st.integers(0, 60), max_size=9),
            st.lists(st.integers(-1, 8), max_size=10),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_trees_of_any_shape(shapes: list[tuple[int, list[int], list[int]]]) -> None:
    """Nodes whose slots lead to any node: an answer or BadStructure, and never many reads."""
    guest = Guest("new")
    nodes = [node(guest, kind, pivots, []) for kind, pivots, _ in shapes]
    for encoded, (kind, _, slots) in zip(nodes, shapes, strict=True):
        name = "maple_arange_64" if kind == ARANGE else "maple_range_64"
        values = [0 if slot < 0 else nodes[slot % len(nodes)] for slot in slots]
        guest.write(guest.at(encoded & ~0xFF, name, "slot"), struct.pack(f"<{len(values)}Q", *values))
    kernel = guest.kernel(calls_limit=200)
    try:
        find_vmas(kernel, Gva(rooted(guest, nodes[0])))
    except OutOfBounds:
        raise
    except GuestDataError as error:
        assert error.address
