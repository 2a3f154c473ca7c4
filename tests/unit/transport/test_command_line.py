"""QEMU command lines as people, libvirt and Proxmox write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmon.transport.qemu.command_line import QmpSocket, options, parse_command_line

GIB = 1 << 30


def parse(text: str) -> object:
    return parse_command_line(["qemu-system-x86_64", *text.split()])


@pytest.mark.parametrize(
    ("text", "sockets"),
    [
        ("-qmp unix:/run/a.sock,server=on,wait=off", [QmpSocket("/run/a.sock")]),
        ("--qmp unix:/run/a.sock,server,nowait", [QmpSocket("/run/a.sock")]),
        ("-qmp-pretty unix:a.sock,server=on,wait=off", [QmpSocket("a.sock")]),
        ("-qmp unix:a.sock,server=on", [QmpSocket("a.sock", waits=True)]),
        ("-qmp unix:/a,,b/c,server,nowait", [QmpSocket("/a,b/c")]),
        ("-qmp unix:x,abstract=on,server=on,wait=off", [QmpSocket("\0x")]),
        (
            "-chardev socket,id=mon0,path=/run/b.sock,server=on,wait=off -mon chardev=mon0,mode=control",
            [QmpSocket("/run/b.sock")],
        ),
        ("-mon mon0,mode=control -chardev socket,id=mon0,path=/b,server,nowait", [QmpSocket("/b")]),
        (
            "-chardev socket,id=charmonitor,fd=31,server=on,wait=off -mon chardev=charmonitor,id=monitor,mode=control",
            [QmpSocket(fd=31)],
        ),
        ("-chardev socket,id=c,path=/b,server,nowait -qmp chardev:c", [QmpSocket("/b")]),
        (
            '-chardev {"id":"c","backend":{"type":"socket","data":{"addr":{"type":"unix","data":{"path":"/j"}},'
            '"wait":"off"}}} -mon chardev=c,mode=control',
            [QmpSocket("/j")],
        ),
        ("-qmp unix:/a,server,nowait -qmp unix:/a,server,nowait", [QmpSocket("/a")]),
        ("-chardev socket,id=hmp,path=/h,server,nowait -mon chardev=hmp,mode=readline", []),
        (
            "-chardev socket,id=serial,path=/s,server,nowait -serial chardev:serial -monitor unix:/m,server",
            [],
        ),
        ("-qmp none", []),
        ("-qmp", []),
        ("-append -qmp -m 1G", []),
    ],
)
def test_qmp_sockets(text: str, sockets: list[QmpSocket]) -> None:
    assert list(parse_command_line(["qemu", *text.split()]).qmp) == sockets


@pytest.mark.parametrize(
    "text", ["-qmp stdio", "-qmp tcp:localhost:4444,server,nowait", "-mon nothing,mode=control"]
)
def test_qmp_elsewhere(text: str) -> None:
    found = parse_command_line(["qemu", *text.split()])
    assert found.qmp == () and found.qmp_elsewhere


@pytest.mark.parametrize(
    ("text", "accel"),
    [
        ("", "tcg"),
        ("-enable-kvm", "kvm"),
        ("-accel kvm", "kvm"),
        ("-accel tcg,thread=multi", "tcg"),
        ("-machine q35,accel=kvm", "kvm"),
        ("-machine q35,accel=kvm:tcg", ""),
        ("-accel kvm -accel tcg", ""),
    ],
)
def test_accelerator(text: str, accel: str) -> None:
    assert parse_command_line(["qemu", *text.split()]).accel == accel


@pytest.mark.parametrize(
    ("text", "ram_bytes"),
    [
        ("", 128 << 20),
        ("-m 512", 512 << 20),
        ("-m 6G", 6 * GIB),
        ("-m size=4g,slots=4,maxmem=16G", 4 * GIB),
        ("-m 1.5G", 3 * GIB // 2),
        ("-m size=524288k", 512 << 20),
        ("-m nonsense", 128 << 20),
    ],
)
def test_ram(text: str, ram_bytes: int) -> None:
    assert parse_command_line(["qemu", *text.split()]).ram_bytes == ram_bytes


@pytest.mark.parametrize(
    ("text", "gdbstub"),
    [
        ("-m 1G", False),
        ("-m 1G -s -S", True),
        ("-gdb tcp::1234", True),
        ("-gdb chardev:c -m 1G", True),
        ("-gdb none", False),
        ("-name gdb -append -s", False),
    ],
)
def test_gdbstub(text: str, gdbstub: bool) -> None:
    assert parse(text).gdbstub == gdbstub  # type: ignore[attr-defined]


def test_name_and_machine() -> None:
    found = parse_command_line(
        ["qemu", "-name", "guest=web,,1,debug-threads=on", "-machine", "pc-q35-7.2,usb=off"]
    )
    assert (found.name, found.machine) == ("web,1", "pc-q35-7.2")
    found = parse_command_line(["qemu", "-name", "plain", "-M", "type=pc"])
    assert (found.name, found.machine) == ("plain", "pc")


def test_options_with_commas() -> None:
    assert options("file,a=b,,c,flag,d=") == {"": "file", "a": "b,c", "flag": "on", "d": ""}
    assert options("path=a,,,id=b") == {"path": "a,", "id": "b"}


@given(
    st.lists(
        st.text(max_size=40) | st.sampled_from(["-qmp", "-mon", "-chardev", "-m", "-name", "{"]), max_size=12
    )
)
def test_any_command_line_is_survived(argv: list[str]) -> None:
    parse_command_line(argv)


@given(st.integers(1, 3000))
def test_json_nested_without_end(depth: int) -> None:
    parse_command_line(["qemu", "-chardev", '{"a":' * depth])
    parse_command_line(["qemu", "-chardev", '{"a":' * depth + "1" + "}" * depth])
