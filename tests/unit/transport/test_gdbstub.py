"""Packets, and a stub that announces a stop, stutters, refuses, hangs."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmon.core.address import Gpa
from vmon.core.errors import TargetError, TargetGone
from vmon.transport.qemu import gdbstub
from vmon.transport.qemu.gdbstub import StubClient, encode_packet, take_packet

FEATURES = b"PacketSize=1000;qXfer:features:read+;vContSupported+;multiprocess+"


def test_encoding() -> None:
    assert encode_packet(b"") == b"$#00"
    assert encode_packet(b"OK") == b"$OK#9a"
    assert encode_packet(b"m1000000,10") == b"$m1000000,10#%02x" % (sum(b"m1000000,10") & 255)
    for payload in (b"a$", b"#", b"}", b"*"):
        with pytest.raises(ValueError, match="escapes"):
            encode_packet(payload)


@given(st.binary().filter(lambda data: not set(data) & set(b"$#}*")), st.binary(max_size=3))
def test_what_is_encoded_is_decoded_however_it_is_cut(payload: bytes, after: bytes) -> None:
    whole = b"+" + encode_packet(payload)
    for cut in range(len(whole)):
        stream = bytearray(whole[:cut])
        assert take_packet(stream) is None
        stream += whole[cut:] + after
        assert take_packet(stream) == payload
        assert stream == after


@pytest.mark.parametrize("stream", [b"$OK#9b", b"$OK#zz", b"-$OK#9a", b"-"])
def test_damage(stream: bytes) -> None:
    with pytest.raises(TargetError):
        take_packet(bytearray(stream))


@given(st.binary(max_size=40))
def test_noise_is_no_crash(noise: bytes) -> None:
    with suppress(TargetError):
        take_packet(bytearray(noise))


class FakeStub:
    """Serves one client from a folder; `answer` gives what is sent for each packet."""

    def __init__(
        self, folder: Path, hello: bytes = b"", answer: Callable[[bytes], bytes | None] | None = None
    ):
        self.path = str(folder / "stub")
        self.memory = bytearray(8192)
        self.packets: list[bytes] = []
        self.hello = hello
        self.answer = answer or self.work
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(1)
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self) -> None:
        with suppress(OSError), self.listener, self.listener.accept()[0] as client:
            client.sendall(self.hello)
            stream = bytearray()
            while data := client.recv(4096):
                stream += data
                while (packet := take_packet(stream)) is not None:
                    self.packets.append(packet)
                    reply = self.answer(packet)
                    if reply is None:
                        return
                    client.sendall(reply)

    def work(self, packet: bytes) -> bytes | None:
        if packet.startswith(b"qSupported"):
            return b"+" + encode_packet(FEATURES)
        if packet.startswith(b"M"):
            where, _, data = packet[1:].partition(b":")
            at, size = (int(number, 16) for number in where.split(b","))
            self.memory[at : at + size] = bytes.fromhex(data.decode())
        if packet.startswith(b"m"):
            at, size = (int(number, 16) for number in packet[1:].split(b","))
            return b"+" + encode_packet(self.memory[at : at + size].hex().encode())
        return b"+" + encode_packet(b"OK")

    def client(self, seconds: float = 5) -> StubClient:
        return StubClient(self.path, time.monotonic() + seconds)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path


def test_a_stop_that_nobody_asked_for_is_drained(folder: Path) -> None:
    stub = FakeStub(folder, hello=encode_packet(b"T02thread:p01.01;"))
    with stub.client() as client:
        client.write(Gpa(0x10), b"abc")
        assert client.read(Gpa(0x10), 3) == b"abc"
    stub.thread.join(5)
    assert stub.packets[0] == b"qSupported:multiprocess+"
    assert stub.packets[1] == b"Qqemu.PhyMemMode:1" and stub.packets[-1] == b"Qqemu.PhyMemMode:0"


def test_long_writes_and_reads_go_in_chunks(folder: Path) -> None:
    stub = FakeStub(folder)
    data = bytes(index * 7 % 256 for index in range(2500))
    with stub.client() as client:
        client.write(Gpa(100), data)
        assert client.read(Gpa(100), 2500) == data
        client.write(Gpa(0), b"")
        assert client.read(Gpa(0), 0) == b""
    assert bytes(stub.memory[100:2600]) == data
    writes = [packet for packet in stub.packets if packet.startswith(b"M")]
    assert [int(packet[1:].split(b",")[0], 16) for packet in writes] == [100, 1124, 2148]
    assert max(map(len, writes)) < 4096


@pytest.mark.parametrize("reply", [b"E22", b"", b"zz", b"00"])
def test_refusals(folder: Path, reply: bytes) -> None:
    def answer(packet: bytes) -> bytes | None:
        return encode_packet(reply) if packet[:1] in b"mM" else stub.work(packet)

    stub = FakeStub(folder, answer=answer)
    with stub.client() as client:
        with pytest.raises(TargetError):
            client.write(Gpa(0), b"a")
        with pytest.raises(TargetError):
            client.read(Gpa(0), 4)


def test_a_stub_without_physical_mode(folder: Path) -> None:
    stub = FakeStub(folder, answer=lambda packet: encode_packet(FEATURES if packet[:2] == b"qS" else b""))
    with pytest.raises(TargetError, match="PhyMemMode") as caught:
        stub.client()
    assert "too old" in caught.value.hint


def test_hung_up(folder: Path) -> None:
    stub = FakeStub(folder, answer=lambda packet: None if packet[:1] == b"M" else stub.work(packet))
    client = stub.client()
    for _ in range(2):
        with pytest.raises(TargetGone):
            client.write(Gpa(0), b"a")
    client.close()


def test_a_stub_that_hangs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub = FakeStub(folder, answer=lambda packet: b"")
    monkeypatch.setattr(gdbstub, "ANSWER_SECONDS", 0.05)
    with pytest.raises(TargetError, match="does not answer"):
        stub.client()


def test_no_call_waits_beyond_the_deadline(folder: Path) -> None:
    stub = FakeStub(folder)
    with pytest.raises(TargetError, match="in time"):
        stub.client(seconds=-1)


def test_no_stub(folder: Path) -> None:
    with pytest.raises(TargetError, match="is not at"):
        StubClient(str(folder / "none"), time.monotonic() + 1)
