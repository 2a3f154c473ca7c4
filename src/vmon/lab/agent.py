"""A command for a lab guest is one line on its virtio-serial port; the answer is a header and raw bytes.

Talks through two FIFOs of QEMU's "pipe" character device: unlike a socket they are never hung up, so the
agent in the guest sleeps in read() while nobody asks. What a client leaves behind that died in the middle is
skipped: every answer carries the request's random id. The other end is the script `guest/agent`.
"""

from __future__ import annotations

import base64
import errno
import fcntl
import os
import re
import secrets
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from vmon.core.errors import LabError, TargetGone
from vmon.lab.lock import file_lock

F_SETPIPE_SZ = 1031
PIPE_SIZE_BYTES = 1 << 20
PING_AGAIN_S = 1.0
POLL_S = 0.2
MAX_ANSWER_BYTES = 1 << 30
HEADER = re.compile(rb"(\d{1,3}) (\d{1,19}) (\d{1,19})\n")
HEADER_LIMIT_BYTES = 64


@dataclass(frozen=True, slots=True)
class Completed:
    """How a command in the guest ended."""

    status: int
    """Exit status as a shell sees it: 128 and the signal's number where one ended it."""
    out: bytes
    err: bytes

    @property
    def text(self) -> str:
        """Standard output as text, bytes that are not UTF-8 kept as surrogates."""
        return self.out.decode(errors="surrogateescape")

    def check(self) -> Completed:
        """Itself; LabError with the command's last words where the status is not 0."""
        if self.status:
            words = self.err.decode(errors="replace").strip().splitlines()[-3:]
            raise LabError(
                f"the command in the guest exited with {self.status}" + "".join(f"; {w}" for w in words)
            )
        return self


def new_request_id() -> str:
    """An id that no other request has."""
    return secrets.token_hex(8)


def encode_ping(request_id: str) -> bytes:
    """A request that ends what runs and is answered at once.

    The newline before it ends a line that some client left half written.
    """
    return f"\nPING {request_id} %\n".encode()


def encode_run(request_id: str, command: bytes, stdin: bytes = b"") -> bytes:
    """A request to run a shell command; ValueError where it holds a NUL, which no argument can."""
    if b"\0" in command:
        raise ValueError("a command can't hold a NUL byte")
    quoted = b"".join(_QUOTED[byte] for byte in command)
    given = base64.b64encode(stdin) or b"-"
    return b"\nRUN " + request_id.encode() + b" " + given + b" $'" + quoted + b"' %\n"


# The per cent sign ends a line, so it never stands for itself.
_QUOTED = [
    bytes([byte]) if 0x20 <= byte < 0x7F and byte not in b"'\\%" else b"\\%03o" % byte for byte in range(256)
]


class AnswerParser:
    """Finds one answer in a stream that may begin with the remains of others."""

    def __init__(self, request_id: str) -> None:
        self._mark = b"\nVMON " + request_id.encode() + b" "
        self._data = bytearray()
        self._sizes: tuple[int, int, int] | None = None

    @property
    def missing(self) -> int:
        """Bytes to come of a known length; 0 while the header has not been seen."""
        return self._sizes[1] + self._sizes[2] - len(self._data) if self._sizes else 0

    def feed(self, data: bytes) -> Completed | None:
        """Take bytes as they come; the answer once it is whole. LabError on a header that makes no sense."""
        self._data += data
        if self._sizes is None and not self._find_header():
            return None
        assert self._sizes is not None
        status, out_size, err_size = self._sizes
        if len(self._data) < out_size + err_size:
            return None
        out = bytes(self._data[:out_size])
        return Completed(status, out, bytes(self._data[out_size : out_size + err_size]))

    def _find_header(self) -> bool:
        at = self._data.find(self._mark)
        if at < 0:
            del self._data[: max(0, len(self._data) - len(self._mark) + 1)]
            return False
        match = HEADER.match(self._data, at + len(self._mark))
        if match is None:
            if len(self._data) - at - len(self._mark) > HEADER_LIMIT_BYTES:
                raise LabError("the agent's answer has no sizes: something else writes to its port")
            return False
        sizes = int(match[1]), int(match[2]), int(match[3])
        if sizes[1] + sizes[2] > MAX_ANSWER_BYTES:
            raise LabError(f"the command put out {sizes[1] + sizes[2]} bytes, more than {MAX_ANSWER_BYTES}")
        self._sizes = sizes
        del self._data[: match.end()]
        return True


class AgentChannel:
    """The host's end of a guest's agent; one at a time, kept apart by a lock in the guest's folder."""

    def __init__(self, folder: Path, alive: Callable[[], bool] = lambda: True) -> None:
        self._folder = folder
        self._alive = alive

    def ping(self, timeout_s: float) -> None:
        """Wait until the agent answers, asking again every second: a rebooting guest loses what was asked."""
        deadline = time.monotonic() + timeout_s
        with self._open(deadline) as pipes:
            self._ping(pipes, deadline)

    def run(self, command: bytes, stdin: bytes, timeout_s: float) -> Completed:
        """Run a command; LabError after `timeout_s` seconds, TargetGone where QEMU ended."""
        deadline = time.monotonic() + timeout_s
        with self._open(deadline) as pipes:
            self._ping(pipes, deadline)
            request_id = new_request_id()
            pipes.write(encode_run(request_id, command, stdin), deadline)
            answer = pipes.answer(AnswerParser(request_id), deadline)
            if answer is None:
                # The next request ends the command; this one makes sure of it now.
                pipes.write(encode_ping(new_request_id()), time.monotonic() + POLL_S)
                raise LabError(f"the command did not end within {timeout_s:g} s; it was killed")
            return answer

    @contextmanager
    def _open(self, deadline: float) -> Iterator[_Pipes]:
        if not self._alive():
            raise TargetGone("the guest is not running")
        left = max(0.0, deadline - time.monotonic())
        with (
            file_lock(self._folder / "agent.lock", "waiting for the guest's agent", left),
            _Pipes(self._folder, self._alive, deadline) as pipes,
        ):
            yield pipes

    def _ping(self, pipes: _Pipes, deadline: float) -> None:
        while True:
            request_id = new_request_id()
            until = min(deadline, time.monotonic() + PING_AGAIN_S)
            pipes.write(encode_ping(request_id), until)
            if pipes.answer(AnswerParser(request_id), until) is not None:
                return
            if time.monotonic() >= deadline:
                raise LabError(
                    "the guest's agent does not answer", hint="`vmon lab down NAME` ends the guest"
                )


class _Pipes:
    """The two FIFOs, open."""

    def __init__(self, folder: Path, alive: Callable[[], bool], deadline: float) -> None:
        self._alive = alive
        self._to = self._open_to(folder / "agent.in", deadline)
        self._from = os.open(folder / "agent.out", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        # Only a matter of speed; an unprivileged user may be over its limit.
        with suppress(OSError):
            fcntl.fcntl(self._from, F_SETPIPE_SZ, PIPE_SIZE_BYTES)

    def __enter__(self) -> _Pipes:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._to)
        os.close(self._from)

    def _open_to(self, path: Path, deadline: float) -> int:
        while True:
            try:
                return os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except FileNotFoundError as error:
                raise TargetGone("the guest was taken down") from error
            except OSError as error:
                # Nobody reads: QEMU has ended, or has not come that far.
                if error.errno != errno.ENXIO:
                    raise
                self._check()
                if time.monotonic() > deadline:
                    raise LabError("QEMU does not open its end of the agent's FIFO") from error
                time.sleep(POLL_S / 20)

    def write(self, data: bytes, deadline: float) -> None:
        """Write all, or as much as fits until the deadline: the answer that then never comes tells."""
        view = memoryview(data)
        while view and time.monotonic() < deadline:
            if not select.select([], [self._to], [], POLL_S)[1]:
                self._check()
                continue
            try:
                view = view[os.write(self._to, view) :]
            except BlockingIOError:
                continue
            except BrokenPipeError as error:
                raise TargetGone("the guest ended") from error

    def answer(self, parser: AnswerParser, deadline: float) -> Completed | None:
        """The answer that the parser waits for, None if it is not whole at the deadline."""
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([self._from], [], [], min(left, POLL_S))[0]:
                self._check()
                continue
            try:
                data = os.read(self._from, PIPE_SIZE_BYTES)
            except BlockingIOError:
                continue
            if not data:
                raise TargetGone("the guest ended")
            if (found := parser.feed(data)) is not None:
                return found
        return None

    def _check(self) -> None:
        if not self._alive():
            raise TargetGone("the guest ended")
