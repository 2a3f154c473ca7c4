"""A pause of a guest ends with its owner or at its deadline: this file, run as a process of its own, sees to that.

Started by `guard` as `python -I -S guardian.py SETTINGS`, so it has the standard library alone and imports nothing of
vmon. Reads lines from its standard input (`armed DEADLINE_NS [cont] [stub]`, `disarmed`), answers each with `ok`, and
touches QEMU only when an armed pause has lost its owner or passed its deadline: closes the gdbstub where one was
opened, and continues a guest that is paused. It has a session of its own and ignores what a terminal or a service
manager sends to stop the owner. It makes the folder for the gdbstub and takes it away: an owner may be killed at any
moment. The guest has no say here.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any

GREETING_SECONDS = 0.3
ANSWER_SECONDS = 2.0
RESCUE_SECONDS = 20.0
RETRY_SECONDS = 0.02
LONGEST_WAIT_MS = 60_000
LOOKS = 4
"""Times that the run state is asked for: a `stop` that the owner sent as its last word may come after the first."""
LOOK_SECONDS = 0.03
CLOSE_STUB = ("human-monitor-command", {"command-line": "gdbserver none"})
STUB_NAME = "stub"
LONGEST_PATH_BYTES = 107


class Monitor:
    """One conversation over a QMP socket; OSError or ValueError where it is none."""

    def __init__(self, path: str) -> None:
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._data = b""
        try:
            self._sock.settimeout(GREETING_SECONDS)
            self._connect(path)
            while "QMP" not in (first := self._line()):
                if "event" not in first:  # which may come before the greeting
                    raise ValueError("no QMP")
            self._sock.settimeout(ANSWER_SECONDS)
            self.ask("qmp_capabilities")
        except BaseException:
            self._sock.close()
            raise

    def _connect(self, path: str) -> None:
        if len(os.fsencode(path)) <= LONGEST_PATH_BYTES:
            self._sock.connect(path)
            return
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            self._sock.connect(f"/proc/self/fd/{handle}")
        finally:
            os.close(handle)

    def _line(self) -> dict[str, Any]:
        while b"\n" not in self._data:
            data = self._sock.recv(1 << 16)
            if not data:
                raise OSError("hung up")
            self._data += data
        line, _, self._data = self._data.partition(b"\n")
        message = json.loads(line)
        if not isinstance(message, dict):
            raise ValueError("no QMP")
        return message

    def ask(self, command: str, arguments: dict[str, str] | None = None) -> Any:
        """One command and its answer; events in between are dropped."""
        self._sock.sendall(encode(command, arguments))
        while True:
            message = self._line()
            if "return" in message:
                return message["return"]
            if "error" in message:
                raise ValueError(f"{command} was refused")

    def close(self) -> None:
        """Hang up."""
        self._sock.close()


def encode(command: str, arguments: dict[str, str] | None = None) -> bytes:
    """One QMP command, with an id that tells it from those of the owner."""
    message: dict[str, object] = {"execute": command, "id": "vmon-guardian"}
    if arguments:
        message["arguments"] = arguments
    return json.dumps(message).encode() + b"\n"


class Guardian:
    """Watches one owner and one QEMU."""

    def __init__(self, sockets: list[str], owner_fd: int, folder: str) -> None:
        """`owner_fd` is the owner's own connection, -1 for none; `folder` is where its gdbstub listens."""
        self._sockets = sockets
        self._owner_fd = owner_fd
        self._folder = folder
        self._armed: set[str] | None = None
        self._deadline_ns = 0

    def make_folder(self, user: int) -> None:
        """Make the folder of the gdbstub, private to this user where there is one; OSError where it can't be."""
        os.mkdir(self._folder, 0o700)  # noqa: PTH102 - pathlib takes longer to import
        with contextlib.suppress(OSError):
            if user >= 0:
                os.chown(self._folder, user, -1)

    def watch(self, lines: int, owner_pidfd: int) -> None:
        """Serve until the owner is gone, by the end of its pipe or its process."""
        poller = select.poll()
        poller.register(lines, select.POLLIN)
        if owner_pidfd >= 0:  # a child that the owner forked may hold its end of the pipe open
            poller.register(owner_pidfd, select.POLLIN)
        pending = b""
        while True:
            ready = {fd for fd, _ in poller.poll(self._wait_ms())}
            if not ready:
                if self._wait_ms() == 0:
                    self._end_pause(owner_lives=True)
                continue
            if owner_pidfd in ready:
                os.set_blocking(lines, False)
            more = self._read(lines)
            *complete, pending = (pending + more).split(b"\n")
            for line in complete:
                self._obey(line.decode(errors="replace").split())
            if not more or owner_pidfd in ready:
                self._end_pause(owner_lives=False)
                return

    def _wait_ms(self) -> int | None:
        if self._armed is None:
            return None
        left_ns = self._deadline_ns - time.monotonic_ns()
        return max(0, min(LONGEST_WAIT_MS, -(-left_ns // 1_000_000)))

    @staticmethod
    def _read(lines: int) -> bytes:
        try:
            return os.read(lines, 1 << 16)
        except BlockingIOError:
            return b""

    def _obey(self, words: list[str]) -> None:
        if words[:1] == ["armed"]:
            self._deadline_ns = int(words[1])
            self._armed = set(words[2:])
        elif words == ["disarmed"]:
            self._armed = None
        with contextlib.suppress(OSError):
            os.write(1, b"ok\n")

    def _end_pause(self, *, owner_lives: bool) -> None:
        armed, self._armed = self._armed, None
        if armed is None:
            return
        if not owner_lives and self._owner_fd >= 0:
            os.close(self._owner_fd)  # QEMU serves the next client only when the last copy is closed
            self._owner_fd = -1
        give_up = time.monotonic() + RESCUE_SECONDS
        while time.monotonic() < give_up:
            if any(self._ended_by(path, armed) for path in self._sockets):
                return
            if self._owner_fd >= 0 and self._ended_in_its_name(armed):
                return
            if not any(map(self._is_there, self._sockets)):
                return
            time.sleep(RETRY_SECONDS)

    @staticmethod
    def _is_there(path: str) -> bool:
        return path.startswith("\0") or os.path.exists(path)  # noqa: PTH110 - pathlib takes longer to import

    @staticmethod
    def _ended_by(path: str, armed: set[str]) -> bool:
        """Over a connection of our own."""
        try:
            monitor = Monitor(path)
        except (OSError, ValueError):
            return False
        try:
            if "stub" in armed:
                monitor.ask(*CLOSE_STUB)
            for look in range(LOOKS if "cont" in armed else 0):
                time.sleep(LOOK_SECONDS if look else 0)
                if monitor.ask("query-status").get("status") == "paused":
                    monitor.ask("cont")
        except (OSError, ValueError):
            return False
        finally:
            monitor.close()
        return True

    def _ended_in_its_name(self, armed: set[str]) -> bool:
        """Over the connection of an owner that lives and hangs, where it holds the only socket.

        The answers are the owner's to read: an id that it does not know it drops.
        """
        commands = [encode(*CLOSE_STUB)] * ("stub" in armed) + [encode("cont")] * ("cont" in armed)
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(self._owner_fd)) as sock:
            # Without blocking: the flag is the connection's, so it is not changed here.
            sock.send(b"".join(commands), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            return True
        return False

    def clear_away(self) -> None:
        """Remove the folder of the gdbstub. QEMU's user owns it, so no link in it is followed."""
        if not self._folder:
            return
        with contextlib.suppress(OSError):
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            with contextlib.suppress(OSError):
                os.unlink(STUB_NAME, dir_fd=folder)
            os.close(folder)
            os.rmdir(self._folder)  # noqa: PTH106


@contextlib.contextmanager
def _watched(pid: int) -> Iterator[int]:
    """A pidfd of the owner, -1 on a kernel without."""
    fd = -1
    with contextlib.suppress(OSError, AttributeError):
        fd = os.pidfd_open(pid)
    yield fd


def main() -> None:
    """Guard until the owner is gone."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    settings = json.loads(sys.argv[1])
    guardian = Guardian(settings["sockets"], settings["owner_fd"], settings["folder"])
    with _watched(settings["owner"]) as owner_pidfd:
        guardian.make_folder(settings["user"])
        with contextlib.suppress(OSError):  # an owner that is gone already: the end of its pipe tells
            os.write(1, b"ok\n")
        # Only a parent that is still there is the owner.
        guardian.watch(0, owner_pidfd if os.getppid() == settings["owner"] else -1)
    guardian.clear_away()


if __name__ == "__main__":
    main()
