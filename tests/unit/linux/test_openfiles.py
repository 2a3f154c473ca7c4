from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kernel.fuzz import WORD_VALUES, steady
from tests.unit.linux.build import Guest
from tests.unit.linux.scene import Scene, scene
from vmon.core.errors import GuestDataError
from vmon.linux.dentry import Paths
from vmon.linux.openfiles import OpenFiles

WILD = 0xFFFF_F000_0000_0000


def opened(guest: Guest, *files: int) -> OpenFiles:
    kernel = guest.kernel()
    return OpenFiles(kernel, Paths(kernel), np.array(files, dtype=np.uint64))


@pytest.mark.parametrize("model", ["new", "old"])
def test_a_file_that_two_processes_share_is_described_for_both(model: str) -> None:
    made = scene(model)
    init, worker = (made.guest.get(p.task, "task_struct", "files") for p in (made.init, made.worker_process))
    found = opened(made.guest, init, 0, worker).records([1, 2, 42])
    assert [len(records) for records in found] == [8, 0, 3]
    assert {found[0][1].path, found[2][0].path} == {"pipe:[4242]"}
    assert (found[0][1].pid, found[2][0].pid) == (1, 42)
    assert [file.fd for file in found[2]] == [0, 70, 200]


def test_a_file_with_nothing_behind_it_is_there_and_unknown() -> None:
    guest = Guest("new")
    lost = guest.new("file", {"f_path.mnt": WILD, "f_path.dentry": WILD, "f_inode": 0, "f_flags": 2})
    (record,) = opened(guest, guest.fdtable({5: lost})).records([7])[0]
    assert (record.fd, record.path, record.type, record.mode, record.inode) == (5, None, "unknown", "r+", 0)


def test_closing_on_exec_belongs_to_the_descriptor_and_not_to_the_file() -> None:
    guest = Guest("new")
    file = guest.file(guest.path(b"a"), f_flags=0o1)
    one, two = opened(guest, guest.fdtable({3: file, 4: file}, cloexec=[4])).records([7])[0]
    assert (one.flags, two.flags) == (0o1, 0o2000001)


def test_sockets_are_those_of_files_that_are_sockets() -> None:
    made = Scene("new")
    guest = made.guest
    # A regular file whose private data points to a socket is no socket.
    liar = guest.file(guest.path(b"f"), private_data=guest.get(made.tcp, "file", "private_data"))
    found = opened(guest, guest.fdtable({1: liar, 2: made.tcp}))
    (record,) = found.sockets([9], [b"n\xff"], [77])[0]
    assert (record.fd, record.pid, record.process, record.net_namespace) == (2, 9, "n\udcff", 77)
    assert (record.protocol, record.local_port, record.inode) == ("tcp", 8080, 5002)


def test_a_socket_that_is_torn_down_is_left_out() -> None:
    guest = Guest("new")
    file = guest.special_file("sockfs", b"", 0o140777, 1, private_data=guest.new("socket"))
    found = opened(guest, guest.fdtable({1: file}))
    assert found.sockets([9], [b"n"], [None]) == [[]]
    assert found.records([9])[0][0].path == "socket:[1]"


def test_no_process() -> None:
    found = opened(Guest("new"))
    assert found.records([]) == found.sockets([], [], []) == []


@steady(80)
@given(
    st.dictionaries(st.sampled_from(["f_path.mnt", "f_path.dentry", "f_inode", "private_data"]), WORD_VALUES)
)
def test_files_that_lie(values: dict[str, int]) -> None:
    guest = Guest("new")
    liar = guest.special_file("sockfs", b"", 0o140777, 1, **values)
    honest = guest.file(guest.path(b"a"))
    try:
        found = opened(guest, guest.fdtable({1: liar, 2: honest}))
        found.sockets([9], [b"n"], [None])
    except GuestDataError as error:
        raise AssertionError("one file spoils the others") from error
    assert [record.path for record in found.records([9])[0]][1] == "/a"
