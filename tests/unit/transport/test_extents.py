"""The table from guest-physical addresses to places, against a plain search."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmon.core.address import Gpa
from vmon.core.errors import PhysReadError
from vmon.transport.ram import Extent, ExtentTable

TOP = (1 << 64) - 1


@st.composite
def tables(draw: st.DrawFn) -> ExtentTable:
    """Up to six extents, some adjacent, some continuing each other in the backing."""
    extents: list[Extent] = []
    at = place = 0
    for _ in range(draw(st.integers(0, 6))):
        at += draw(st.sampled_from([0, 0, 1, 4096, 1 << 30]))
        place += draw(st.sampled_from([0, 0, 4096, 1 << 40]))
        size = draw(st.sampled_from([1, 7, 4096, 10000, 1 << 33]))
        extents.append(Extent(Gpa(at), size, place, draw(st.integers(0, 1))))
        at, place = at + size, place + size
    return ExtentTable(draw(st.permutations(extents)))


@st.composite
def addresses(draw: st.DrawFn, table: ExtentTable) -> list[int]:
    edges = [edge for e in table.extents for edge in (e.gpa, e.end_gpa)] + [0, 1 << 63, TOP]
    steps = st.integers(-5000, 5000)
    return [
        max(0, min(TOP, draw(st.sampled_from(edges)) + draw(steps))) for _ in range(draw(st.integers(1, 12)))
    ]


@given(st.data(), st.sampled_from([1, 2, 8, 4096, 9000]))
def test_against_a_plain_search(data: st.DataObject, size: int) -> None:
    table = data.draw(tables())
    gpas = data.draw(addresses(table))
    array = np.array(gpas, np.uint64)
    places, inside, slots = table.places(array, size)
    backings = table.backings(slots)
    contained = table.contains(array, size)
    for index, gpa in enumerate(gpas):
        owner = next((e for e in table.extents if e.gpa <= gpa and gpa + size <= e.end_gpa), None)
        assert bool(inside[index]) == (owner is not None)
        if owner:
            assert places[index] == owner.place + gpa - owner.gpa and backings[index] == owner.backing
        in_range = any(r.gpa <= gpa and gpa + size <= r.end_gpa for r in table.ranges)
        assert bool(contained[index]) == in_range
        if in_range:
            pieces = table.pieces(gpa, size)
            assert sum(piece_size for _, _, piece_size in pieces) == size
            at = gpa
            for extent, place, piece_size in pieces:
                assert extent.gpa <= at and at + piece_size <= extent.end_gpa
                assert place == extent.place + at - extent.gpa
                at += piece_size
        else:
            with pytest.raises(PhysReadError):
                table.pieces(gpa, size)


def test_neighbours_merge_only_where_both_sides_continue() -> None:
    table = ExtentTable(
        [
            Extent(Gpa(0), 10, 100),
            Extent(Gpa(10), 10, 110),
            Extent(Gpa(20), 10, 500),
            Extent(Gpa(30), 10, 510, backing=1),
            Extent(Gpa(50), 10, 520, backing=1),
        ]
    )
    assert [(e.gpa, e.size_bytes, e.place) for e in table.extents] == [
        (0, 20, 100),
        (20, 10, 500),
        (30, 10, 510),
        (50, 10, 520),
    ]
    assert [(r.gpa, r.size_bytes) for r in table.ranges] == [(0, 40), (50, 10)]


def test_overlap_is_refused() -> None:
    with pytest.raises(ValueError, match="overlap"):
        ExtentTable([Extent(Gpa(0), 10, 0), Extent(Gpa(9), 10, 100)])


def test_negative_sizes_are_refused() -> None:
    with pytest.raises(PhysReadError):
        ExtentTable([Extent(Gpa(0), 10, 0)]).pieces(5, -1)
