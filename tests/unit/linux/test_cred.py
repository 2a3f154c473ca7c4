from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kernel.fuzz import steady
from tests.unit.linux.build import Guest
from vmon.core.address import Gva
from vmon.core.errors import BadStructure, PhysReadError
from vmon.linux.cred import MAX_GROUPS, read_creds, read_groups, read_groups_or_none


def info_of(guest: Guest, cred: int) -> Gva:
    return Gva(guest.get(cred, "cred", "group_info"))


def test_ids_and_capabilities() -> None:
    guest = Guest("new")
    made = [guest.cred(1000, 100, euid=7, cap_ambient=1 << 41), guest.cred()]
    columns = read_creds(guest.kernel(), np.array(made, dtype=np.uint64))
    assert columns["uid"].tolist() == [1000, 0]
    assert columns["euid"].tolist() == [7, 0]
    assert columns["fsgid"].tolist() == [100, 0]
    assert columns["cap_ambient"].tolist() == [1 << 41, 0]


def test_groups() -> None:
    guest = Guest("new")
    made = guest.cred(groups=[1, 2, 0xFFFF_FFFE])
    assert read_groups(guest.kernel(), info_of(guest, made)) == [1, 2, 0xFFFF_FFFE]
    assert read_groups(guest.kernel(), Gva(0)) == []
    assert read_groups(guest.kernel(), info_of(guest, guest.cred())) == []


@pytest.mark.parametrize("count", [MAX_GROUPS + 1, -1, 0x7FFF_FFFF])
def test_an_impossible_number_of_groups_sizes_nothing(count: int) -> None:
    guest = Guest("new")
    info = info_of(guest, guest.cred(groups=[1]))
    guest.set(info, "group_info", {"ngroups": count})
    kernel = guest.kernel(bytes_limit=4096)
    with pytest.raises(BadStructure) as caught:
        read_groups(kernel, info)
    assert (caught.value.field, caught.value.address) == ("group_info.ngroups", info)
    assert read_groups_or_none(kernel, info) is None


def test_groups_that_reach_beyond_ram() -> None:
    guest = Guest("new")
    info = info_of(guest, guest.cred(groups=[1]))
    guest.set(info, "group_info", {"ngroups": MAX_GROUPS})
    assert read_groups_or_none(guest.kernel(), info) is None
    with pytest.raises(PhysReadError):
        read_groups(guest.kernel(), info)


def test_groups_that_lie_nowhere() -> None:
    """The count there reads as zero, but an empty list would be an invention."""
    assert read_groups_or_none(Guest("new").kernel(), Gva(0xFFFF_F000_0000_0000)) is None


@steady(60)
@given(st.integers(0, (1 << 32) - 1), st.integers(0, (1 << 64) - 1), st.booleans())
def test_any_group_info(count: int, pointer: int, use_pointer: bool) -> None:
    guest = Guest("new")
    info = info_of(guest, guest.cred(groups=[5] * 8))
    guest.set(info, "group_info", {"ngroups": count})
    groups = read_groups_or_none(guest.kernel(bytes_limit=1 << 20), Gva(pointer) if use_pointer else info)
    if groups is not None and not use_pointer:
        assert len(groups) == count <= MAX_GROUPS
        assert groups[:8] == [5] * min(8, count)
