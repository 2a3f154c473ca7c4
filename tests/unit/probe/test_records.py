from __future__ import annotations

import socket
import struct

from tests.unit.probe.native import NativeGuest
from vmon.core.events import Event
from vmon.probe.records import FIELDS, Decoder
from vmon.probe.ring import Ring


def told(native: NativeGuest) -> list[Event]:
    return list(Decoder(native.abi).iter_events(Ring(native.abi, native.window, 64).take()))


def connect(native: NativeGuest, address: bytes) -> Event:
    sk = native.new(sk_family=int(socket.AF_INET), sk_protocol=6)
    native.hook("SOCKADDR", native.new(socket_sk=sk, socket_type=1), native.text(address), len(address))
    (event,) = told(native)
    return event


def test_every_kind_of_the_abi_has_its_fields(native: NativeGuest) -> None:
    assert set(FIELDS) == set(native.abi.events)


def test_addresses_of_version_4(native: NativeGuest) -> None:
    event = connect(native, struct.pack("<H", 2) + struct.pack(">H", 8080) + bytes((10, 1, 2, 3)) + bytes(8))
    assert (event.family, event.address, event.port, event.protocol) == ("inet", "10.1.2.3", 8080, "tcp")


def test_addresses_of_version_6(native: NativeGuest) -> None:
    packed = socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    event = connect(native, struct.pack("<H", 10) + struct.pack(">H", 443) + bytes(4) + packed + bytes(4))
    assert (event.family, event.address, event.port) == ("inet6", "2001:db8::1", 443)


def test_names_of_unix_sockets(native: NativeGuest) -> None:
    event = connect(native, struct.pack("<H", 1) + b"/run/x\0\0\0")
    assert (event.family, event.path, event.address, event.port) == ("unix", "/run/x", None, None)


def test_abstract_names_of_unix_sockets(native: NativeGuest) -> None:
    assert connect(native, struct.pack("<H", 1) + b"\0bus").path == "@bus"


def test_an_address_that_is_cut_short_is_none(native: NativeGuest) -> None:
    event = connect(native, struct.pack("<H", 2) + b"\1")
    assert event.port == 0


def test_arguments_of_an_exec(native: NativeGuest) -> None:
    line = b"tool\0a b\0\0\xff\0"
    start = native.text(line)
    native.put(native.mm, mm_arg_start=start, mm_arg_end=start + len(line))
    native.hook("EXECED", native.task)
    (event,) = told(native)
    assert event.cmdline == ["tool", "a b", "", "\udcff"]
    assert (event.path, event.exe) == ("/bin/tool", "/bin/tool")


def test_an_unknown_kind_is_left_out(native: NativeGuest) -> None:
    native.hook("FILE", native.file(b"f"))
    at = native.abi.sizes["RING_AT"] + native.abi.offset("record", "kind")
    native.window.write(at, (999).to_bytes(2, "little"))
    assert told(native) == []
