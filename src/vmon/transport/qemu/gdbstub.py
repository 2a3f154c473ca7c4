"""QEMU's gdbstub writes guest-physical memory so that code already translated is translated anew.

Speaks the packets of the remote protocol over a unix socket that only vmon and QEMU can reach; needs five of them.
Connecting stops the guest, as does every byte sent while it runs: it is used inside a pause, and nothing is sent
after. The guest has no say here. What another version of QEMU does differently: 7.2 announces the stop by a packet
that nobody asked for, and has no mode without acknowledgements (it does not insist on ours). QEMU says OK to writes
outside of RAM, so the caller checks the address and reads back. Source: gdbstub/ of QEMU.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from types import TracebackType

from vmon.core.address import Gpa
from vmon.core.errors import TargetDenied, TargetError, TargetGone

ANSWER_SECONDS = 1.0
CHUNK_BYTES = 1024
"""Bytes in one packet: QEMU takes 4096 characters, two a byte."""


def encode_packet(payload: bytes) -> bytes:
    """A packet with its checksum; the few that we send hold nothing that needs an escape."""
    if any(byte in b"$#}*" for byte in payload):
        raise ValueError(f"a packet that needs escapes: {payload!r}")
    return b"$%s#%02x" % (payload, sum(payload) & 0xFF)


def take_packet(stream: bytearray) -> bytes | None:
    """Take the first whole packet, and what stands before it, from what came in; None while it is not whole."""
    start = stream.find(b"$")
    if b"-" in stream[: start if start >= 0 else len(stream)]:
        raise TargetError("QEMU's gdbstub took a packet for damaged")
    end = stream.find(b"#", start)
    if start < 0 or end < 0 or len(stream) < end + 3:
        return None
    payload, checksum = bytes(stream[start + 1 : end]), bytes(stream[end + 1 : end + 3])
    del stream[: end + 3]
    if checksum.lower() != b"%02x" % (sum(payload) & 0xFF):
        raise TargetError(f"a damaged packet of QEMU's gdbstub: {payload[:40]!r}")
    return payload


class StubClient:
    """A client of the stub in physical mode. The guest stands still from here until it is told to go on by QMP."""

    def __init__(self, path: str, deadline: float) -> None:
        """`deadline` is of time.monotonic(): no call waits beyond it."""
        self._deadline = deadline
        self._stream = bytearray()
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._connect(path)
            # Packets of the stop come before this answer, which alone begins so.
            self._send(b"qSupported:multiprocess+")
            while not self._receive().startswith(b"PacketSize="):
                pass
            self._expect_ok(b"Qqemu.PhyMemMode:1")
        except BaseException:
            self._sock.close()
            raise

    def _connect(self, path: str) -> None:
        self._wait_at_most()
        try:
            self._sock.connect(path)
        except PermissionError as error:
            raise TargetDenied(f"this user may not connect to {path}") from error
        except OSError as error:
            raise TargetError(f"QEMU's gdbstub is not at {path}: {os.strerror(error.errno or 0)}") from error

    def _wait_at_most(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TargetError("QEMU's gdbstub did not answer in time")
        self._sock.settimeout(min(left, ANSWER_SECONDS))

    def _send(self, payload: bytes) -> None:
        self._wait_at_most()
        try:
            self._sock.sendall(encode_packet(payload))
        except TimeoutError as error:
            raise TargetError("QEMU's gdbstub takes nothing") from error
        except OSError as error:
            raise TargetGone("QEMU's gdbstub hung up") from error

    def _receive(self) -> bytes:
        while (payload := take_packet(self._stream)) is None:
            self._wait_at_most()
            try:
                data = self._sock.recv(1 << 16)
            except TimeoutError as error:
                raise TargetError("QEMU's gdbstub does not answer") from error
            except OSError as error:
                raise TargetGone("QEMU's gdbstub hung up") from error
            if not data:
                raise TargetGone("QEMU's gdbstub hung up")
            self._stream += data
        with contextlib.suppress(OSError):  # the next thing to be sent tells
            self._sock.sendall(b"+")
        return payload

    def _expect_ok(self, payload: bytes) -> None:
        self._send(payload)
        answer = self._receive()
        if answer != b"OK":
            raise TargetError(
                f"QEMU's gdbstub answered {answer.decode(errors='replace')!r} to {payload[:40].decode()}",
                hint="this QEMU is too old for writing code under TCG",
            )

    def read(self, gpa: Gpa, size_bytes: int) -> bytes:
        """Memory as QEMU sees it."""
        data = b""
        while len(data) < size_bytes:
            count = min(CHUNK_BYTES, size_bytes - len(data))
            self._send(b"m%x,%x" % (gpa + len(data), count))
            answer = self._receive()
            try:
                chunk = bytes.fromhex(answer.decode())
            except ValueError:
                chunk = b""
            if len(chunk) != count:
                raise TargetError(
                    f"QEMU's gdbstub could not read {gpa:#x}: {answer[:40].decode(errors='replace')}"
                )
            data += chunk
        return data

    def write(self, gpa: Gpa, data: bytes) -> None:
        """Write memory, and drop what was translated from it."""
        for at in range(0, len(data), CHUNK_BYTES):
            chunk = data[at : at + CHUNK_BYTES]
            self._expect_ok(b"M%x,%x:%s" % (gpa + at, len(chunk), chunk.hex().encode()))

    def close(self) -> None:
        """Leave virtual addresses behind for the stub's next user, and hang up; the guest stays stopped."""
        with contextlib.suppress(TargetError):
            self._expect_ok(b"Qqemu.PhyMemMode:0")
        self._sock.close()

    def __enter__(self) -> StubClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
