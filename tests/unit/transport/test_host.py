"""/proc of the host: mappings, processes, sockets."""

from __future__ import annotations

import mmap
import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmon.core.errors import TargetGone, TargetNotFound
from vmon.transport.qemu import host_processes
from vmon.transport.qemu.backing import mappings_behind, open_backing, parse_maps, read_maps
from vmon.transport.qemu.guest import attach_pid

MAPS = """\
560000000000-560000001000 r-xp 00000000 fe:01 1234                       /usr/bin/qemu-system-x86_64
7f0000000000-7f0040000000 rw-s 00000000 00:01 4321                       /memfd:memory-backend-memfd (deleted)
7f0040000000-7f0080000000 rw-s 40000000 00:01 4321                       /memfd:memory-backend-memfd (deleted)
7f0080000000-7f0090000000 rw-s 00000000 00:01 4322                       /memfd:memory-backend-memfd (deleted)
7f00a0000000-7f00b0000000 rw-p 00000000 00:00 0
7f00b0000000-7f00c0000000 rw-p 00000000 00:00 0                          [anon: guest RAM]
7f00c0000000-7f00c0001000 ---p 00000000 00:00 0
not a line
"""


def test_mappings_of_one_file_that_go_on() -> None:
    maps = parse_maps(MAPS)
    assert len(maps) == 6
    behind = mappings_behind(maps, 0x7F0010000000, 0x60000000)
    assert [m.start_hva for m in behind] == [0x7F0000000000, 0x7F0040000000]
    assert behind[0].shared and behind[0].inode == 4321 and behind[0].device == os.makedev(0, 1)
    assert mappings_behind(maps, 0x7F0070000000, 0x20000000) == []  # into another file
    assert len(mappings_behind(maps, 0x7F00A0000000, 0x20000000)) == 2  # private and nameless, in two pieces
    assert mappings_behind(maps, 0x7F0090000000, 4096) == []
    assert mappings_behind(maps, 0x7F00BFFFF000, 0x2000) == []  # the guard page is not readable
    assert mappings_behind([], 0, 1) == []


@given(st.text(max_size=200))
def test_any_maps_are_survived(text: str) -> None:
    mappings_behind(parse_maps(text), 0, 4096)


def test_a_named_backing_is_opened_read_only(tmp_path: Path) -> None:
    path = tmp_path / "ram"
    path.write_bytes(bytes(8192))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 8192) as mapping:
        mapping[0] = 1
        ours = next(m for m in read_maps(os.getpid()) if m.path == str(path))
        fd = open_backing(os.getpid(), ours)
        assert fd is not None
        assert os.pread(fd, 1, 0) == b"\1"
        with pytest.raises(OSError):
            os.pwrite(fd, b"x", 0)
        os.close(fd)


def test_maps_of_nobody() -> None:
    with pytest.raises(TargetGone):
        read_maps(4194304 + 7)


def test_processes_that_are_no_qemu() -> None:
    assert not host_processes.is_qemu(os.getpid())
    with pytest.raises(TargetNotFound, match="is not a QEMU"):
        attach_pid(os.getpid())
    with pytest.raises(TargetNotFound, match="no process"):
        attach_pid(4194304 + 7)


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("qemu-system-x86_64", True),
        ("qemu-kvm", True),
        ("kvm", True),
        ("qemu-system-i386", True),
        ("qemu-system-aarch64", False),
        ("qemu-img", False),
        ("vim", False),
    ],
)
def test_names_of_qemu(name: str, is_one: bool) -> None:
    assert (host_processes.QEMU_NAME.fullmatch(name) is not None) == is_one


def test_listening_and_served_sockets(tmp_path: Path) -> None:
    path = str(tmp_path / "with a space")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        assert path not in host_processes.own_listening_sockets(os.getpid()).values()
        listener.listen(2)
        assert host_processes.own_listening_sockets(os.getpid())[listener.fileno()] == path
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            assert path not in host_processes.served_paths(os.getpid()), "a client in the queue is not served"
            with listener.accept()[0]:
                assert path in host_processes.served_paths(os.getpid())


def test_abstract_sockets() -> None:
    name = f"\0vmon-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(name)
        listener.listen(1)
        assert name in host_processes.own_listening_sockets(os.getpid()).values()
        assert host_processes.host_path(os.getpid(), name) == name


def test_a_socket_of_no_qemu(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen(1)
        with pytest.raises(TargetNotFound, match="no QEMU process"):
            host_processes.owner_of_socket(str(tmp_path / "s"), os.getpid())


def test_paths_as_another_process_sees_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "s").touch()
    monkeypatch.chdir(tmp_path)
    path = host_processes.host_path(os.getpid(), "s")
    assert Path(path).samefile(tmp_path / "s")
    assert host_processes.host_path(os.getpid(), str(tmp_path / "s")) == str(tmp_path / "s")
