from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kernel.fuzz import WORD_VALUES, steady
from tests.unit.linux.build import Guest
from vmon.linux import fdtable
from vmon.linux.fdtable import MAX_FDS, OpenFds, open_mode, read_fds

MODELS = pytest.mark.parametrize("model", ["new", "old"])
FILE = 0xFFFF_8880_0200_3000
WILD = 0xFFFF_F000_0000_0000


def opened(guest: Guest, *files: int, **limits: int) -> OpenFds:
    return read_fds(guest.kernel(**limits), np.array(files, dtype=np.uint64))


def flat(found: OpenFds) -> list[tuple[int, int, int, bool]]:
    columns = (found.owner, found.fd, found.file, found.cloexec)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def table_of(guest: Guest, files: int) -> int:
    return guest.get(files, "files_struct", "fdt")


@MODELS
def test_small_and_large_tables_together(model: str) -> None:
    guest = Guest(model)
    small = guest.fdtable({0: FILE, 63: FILE + 8}, cloexec=[63])
    large = guest.fdtable({2: FILE, 64: FILE + 16, 511: FILE + 24}, cloexec=[64], size=512)
    found = opened(guest, large, 0, small, small)
    assert flat(found) == [
        (0, 2, FILE, False),
        (0, 64, FILE + 16, True),
        (0, 511, FILE + 24, False),
        (2, 0, FILE, False),
        (2, 63, FILE + 8, True),
        (3, 0, FILE, False),
        (3, 63, FILE + 8, True),
    ]
    assert found.unreadable == found.truncated == frozenset()


def test_no_tables_at_all() -> None:
    found = opened(Guest("new"), 0, 0)
    assert flat(found) == []
    assert found.unreadable == frozenset()
    assert flat(opened(Guest("new"))) == []


@pytest.mark.parametrize("size", [64, 256])
def test_a_bit_without_a_file_and_a_file_without_a_bit(size: int) -> None:
    guest = Guest("new")
    files = guest.fdtable({0: FILE, 1: 0, 40: FILE}, size=size)
    slots = guest.get(table_of(guest, files), "fdtable", "fd")
    guest.put64(slots + 8 * 5, FILE)
    assert [fd for _, fd, _, _ in flat(opened(guest, files))] == [0, 40]
    empty = guest.fdtable({}, size=size)
    assert flat(opened(guest, empty)) == []


@pytest.mark.parametrize(
    "values",
    [{"max_fds": 0}, {"fd": 0}, {"max_fds": 256, "open_fds": WILD}, {"max_fds": 256, "close_on_exec": WILD}],
)
def test_a_table_that_cannot_be_read_is_named(values: dict[str, int]) -> None:
    guest = Guest("new")
    good, bad = guest.fdtable({1: FILE}), guest.fdtable({2: FILE}, size=256)
    guest.set(table_of(guest, bad), "fdtable", values)
    found = opened(guest, bad, good)
    assert flat(found) == [(1, 1, FILE, False)]
    assert found.unreadable == {0}


def test_a_files_struct_that_is_nowhere() -> None:
    guest = Guest("new")
    found = opened(guest, WILD, guest.fdtable({1: FILE}))
    assert flat(found) == [(1, 1, FILE, False)]
    assert found.unreadable == {0}


@pytest.mark.parametrize("claim", [MAX_FDS + 1, 0xFFFF_FFFF])
def test_a_claim_of_billions_is_cut_and_said(claim: int) -> None:
    guest = Guest("new")
    files = guest.fdtable({0: FILE})
    guest.set(table_of(guest, files), "fdtable", {"max_fds": claim})
    found = opened(guest, files, bytes_limit=64 << 20)
    assert found.truncated == {0}


def test_all_tables_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fdtable, "MAX_FDS_IN_ALL", 5)
    guest = Guest("new")
    made = [guest.fdtable(dict.fromkeys(range(70, 73), FILE), size=128) for _ in range(3)]
    found = opened(guest, *made)
    assert [owner for owner, *_ in flat(found)] == [0, 0, 0]
    assert found.unreadable == {1, 2}


def test_modes() -> None:
    assert [open_mode(flags) for flags in (0, 1, 2, 0o2001, 0o2002, 0o2000)] == [
        "r",
        "w",
        "r+",
        "a",
        "a+",
        "r",
    ]


@steady(120)
@given(
    st.dictionaries(st.sampled_from(["max_fds", "fd", "open_fds", "close_on_exec"]), WORD_VALUES, max_size=4),
    st.sampled_from([0, 64, 128, 4096, 1 << 16, 1 << 20]),
    st.booleans(),
)
def test_tables_that_lie(values: dict[str, int], claim: int, point_inside: bool) -> None:
    guest = Guest("new")
    honest, liar = guest.fdtable({3: FILE}), guest.fdtable({2: FILE, 100: FILE}, size=256)
    if point_inside:
        values = {name: guest.gva(0x0200_0000) + value % 0x4_0000 for name, value in values.items()}
    guest.set(table_of(guest, liar), "fdtable", {**values, "max_fds": claim or values.get("max_fds", 0)})
    found = opened(guest, liar, honest, bytes_limit=64 << 20)
    assert (1, 3, FILE, False) in flat(found)
    assert all(0 <= fd < MAX_FDS and file for _, fd, file, _ in flat(found))
    assert found.fd.size == found.file.size == found.owner.size == found.cloexec.size
