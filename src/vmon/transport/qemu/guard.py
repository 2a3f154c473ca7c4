"""The owner's side of the guardian: started before the first pause, armed before each, ended with the connection.

Starts a process of this host, which makes a folder, private to QEMU's user and root, for the gdbstub's socket. Nothing
comes from the guest. Where the guardian can't be started or does not answer, no pause begins. One pause at a time:
whoever makes one holds a lock on /proc/PID/maps of QEMU, which only those can take who may read its memory; the
guardian holds it too, until a pause whose owner died is over.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from vmon.core.errors import TargetBusy, TargetError
from vmon.transport.qemu.guardian import STUB_NAME

PROGRAM = Path(__file__).with_name("guardian.py")
FOLDER_PREFIX = "vmon-gdb-"
START_SECONDS = 10.0
ANSWER_SECONDS = 5.0
"""Room for an overloaded host: no guest stands still while it is waited."""
TURN_SECONDS = 3.0
"""Longer than the longest pause."""
TURN_RETRY_SECONDS = 0.002


class Guard:
    """A guardian process and how to talk to it."""

    def __init__(self, qemu_pid: int, sockets: Sequence[str], owner_fd: int) -> None:
        """`sockets` are QMP sockets of that QEMU, the one that we hold first; `owner_fd` is our connection."""
        self._armed = False
        self._lock_fd = -1
        self.folder = Path(tempfile.gettempdir(), FOLDER_PREFIX + secrets.token_hex(8)).absolute()
        try:
            self._lock_fd = os.open(f"/proc/{qemu_pid}/maps", os.O_RDONLY | os.O_CLOEXEC)
            settings = {
                "owner": os.getpid(),
                "owner_fd": owner_fd,
                # The guardian lives in the root folder.
                "sockets": [
                    path if path.startswith("\0") else str(Path(path).absolute()) for path in sockets
                ],
                # The guardian makes it, and takes it away: an owner that is killed can't.
                "folder": str(self.folder),
                "user": _user_of(qemu_pid),
            }
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(PROGRAM), json.dumps(settings)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                cwd="/",
                start_new_session=True,
                pass_fds=[owner_fd, self._lock_fd],
            )
        except OSError as error:
            self._close_lock()
            raise TargetError(f"the guardian of pauses can't be started: {error.strerror}") from error
        try:
            self._await_ok(START_SECONDS)
        except BaseException:
            self._process.kill()
            self.close()
            raise

    @property
    def stub_path(self) -> Path:
        """Where a gdbstub may listen."""
        return self.folder / STUB_NAME

    @property
    def pid(self) -> int:
        """Process id of the guardian."""
        return self._process.pid

    def is_running(self) -> bool:
        """Whether the guardian is there."""
        return self._process.poll() is None

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Wait until nobody else makes a pause, and keep others from it; TargetBusy after 3 seconds."""
        deadline = time.monotonic() + TURN_SECONDS
        while True:
            try:
                fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise TargetBusy(
                        "another vmon changes code of this guest", hint="try again when it is done"
                    ) from None
            time.sleep(TURN_RETRY_SECONDS)
        try:
            yield
        finally:
            if not self._armed:  # else the guardian has still to end the pause
                fcntl.flock(self._lock_fd, fcntl.LOCK_UN)

    def arm(self, deadline_ns: int, *, cont: bool, stub: bool) -> None:
        """From now on a pause is ended when we are gone or at `deadline_ns` of the monotonic clock.

        `cont`: by continuing the guest, `stub`: by closing the gdbstub. TargetError where the guardian is gone.
        """
        self._armed = True
        self._tell(f"armed {deadline_ns}" + " cont" * cont + " stub" * stub)

    def disarm(self) -> None:
        """The pause is over."""
        self._tell("disarmed")
        self._armed = False

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line.encode() + b"\n")
        except OSError as error:
            raise TargetError("the guardian of pauses ended: no pause without it") from error
        self._await_ok(ANSWER_SECONDS)

    def _await_ok(self, seconds: float) -> None:
        assert self._process.stdout is not None
        poller = select.poll()
        poller.register(self._process.stdout, select.POLLIN)
        deadline = time.monotonic() + seconds
        answer = b""
        while not answer.endswith(b"ok\n"):
            if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise TargetError("the guardian of pauses does not answer: no pause without it")
            data = self._process.stdout.read(64)
            if not data:
                raise TargetError("the guardian of pauses ended: no pause without it")
            answer += data

    def close(self) -> None:
        """End the guardian; one that is armed ends the pause first, and is left alone with it if that takes long."""
        self._close_lock()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()
        try:
            self._process.wait(ANSWER_SECONDS)
        except subprocess.TimeoutExpired:
            if self._armed:
                return
            self._process.kill()
            self._process.wait()
        # The guardian removes it; one that was killed did not. Nothing but the socket can be ours in it.
        with contextlib.suppress(OSError):
            self.stub_path.unlink()
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    def _close_lock(self) -> None:
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1


def _user_of(qemu_pid: int) -> int:
    """Who QEMU runs as, who is to make its socket in the folder; -1 where it is us, or can't be told."""
    with contextlib.suppress(OSError):
        status = Path(f"/proc/{qemu_pid}/status").read_text()
        uid = int(status.split("\nUid:")[1].split()[1])
        if uid != os.geteuid():
            return uid
    return -1
