from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kernel.fuzz import WORD_VALUES, steady
from tests.unit.linux.build import Guest
from vmon.core.errors import GuestDataError
from vmon.linux.namespace import (
    MAX_PID_LEVEL,
    PROXIED,
    read_namespaces,
    read_pid_namespaces,
    read_pid_numbers,
    read_user_namespaces,
)

WILD = 0xFFFF_F000_0000_0000


def u64s(*values: int) -> np.ndarray:  # type: ignore[type-arg]
    return np.array(values, dtype=np.uint64)


def test_numbers_of_each_namespace() -> None:
    guest = Guest("new")
    found = read_namespaces(guest.kernel(), u64s(guest.nsproxy, 0, guest.nsproxy))
    assert found == {
        "uts_ns": [0xEFFF_FFFE, None, 0xEFFF_FFFE],
        "ipc_ns": [4026531839, None, 4026531839],
        "mnt_ns": [4026531840, None, 4026531840],
        "net_ns": [4026531992, None, 4026531992],
        "cgroup_ns": [4026531835, None, 4026531835],
    }
    assert set(found) == set(PROXIED)
    assert read_user_namespaces(guest.kernel(), u64s(0, guest.user_ns)) == [None, 4026531837]


def test_namespaces_that_are_null_one_by_one() -> None:
    guest = Guest("new")
    proxy = guest.new("nsproxy", {"net_ns": guest.new("net", {"ns.inum": 5})})
    found = read_namespaces(guest.kernel(), u64s(proxy))
    assert found["net_ns"] == [5]
    assert found["mnt_ns"] == [None]


@pytest.mark.parametrize("model", ["new", "old"])
def test_a_pid_has_a_number_in_every_namespace_down_to_its_own(model: str) -> None:
    guest = Guest(model)
    inner = guest.new("pid_namespace", {"ns.inum": 11})
    innermost = guest.new("pid_namespace", {"ns.inum": 12})
    pids = [
        guest.struct_pid((1, guest.pid_ns)),
        guest.struct_pid((70, guest.pid_ns), (7, inner), (1, innermost)),
        guest.struct_pid((71, guest.pid_ns), (8, inner)),
    ]
    kernel = guest.kernel()
    spaces, numbers = read_pid_namespaces(kernel, u64s(pids[0], 0, *pids[1:]))
    assert spaces == [4026531836, None, 12, 11]
    assert numbers == [[1], [], [70, 7, 1], [71, 8]]
    assert read_pid_numbers(kernel, u64s(pids[1], 0, pids[0])) == [70, 0, 1]
    assert read_pid_namespaces(kernel, u64s()) == ([], [])


@pytest.mark.parametrize("level", [MAX_PID_LEVEL + 1, 0xFFFF_FFFF])
def test_an_impossible_level_is_that_processs_own_problem(level: int) -> None:
    guest = Guest("new")
    good, bad = guest.struct_pid((5, guest.pid_ns)), guest.struct_pid((6, guest.pid_ns))
    guest.set(bad, "pid", {"level": level})
    assert read_pid_namespaces(guest.kernel(calls_limit=100), u64s(bad, good)) == (
        [None, 4026531836],
        [[], [5]],
    )


def test_pointers_into_nowhere_read_as_zeros() -> None:
    guest = Guest("new")
    kernel = guest.kernel()
    assert read_user_namespaces(kernel, u64s(WILD)) == [0]
    assert read_pid_namespaces(kernel, u64s(WILD)) == ([None], [[0]])
    assert all(values == [None] for values in read_namespaces(kernel, u64s(WILD)).values())


@steady(80)
@given(st.lists(WORD_VALUES, min_size=12, max_size=12), st.integers(0, 40))
def test_pids_of_any_bytes(words: list[int], level: int) -> None:
    guest = Guest("new")
    gva = guest.data(struct.pack("<12Q", *words))
    other = guest.struct_pid((5, guest.pid_ns))
    guest.set(gva, "pid", {"level": level})
    kernel = guest.kernel(calls_limit=600)
    try:
        spaces, numbers = read_pid_namespaces(kernel, u64s(gva, other))
        read_namespaces(kernel, u64s(gva, guest.nsproxy))
        read_user_namespaces(kernel, u64s(gva))
    except GuestDataError:
        return
    assert numbers[1] == [5]
    assert spaces[1] == 4026531836
    assert len(numbers[0]) == (level + 1 if level <= MAX_PID_LEVEL else 0)
