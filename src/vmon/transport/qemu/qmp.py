"""QEMU's monitor speaks to one client a socket, and greets it at once or not at all.

Speaks QMP by the qemu.qmp library on an event loop of its own that runs only while we wait for an answer, in the thread
that asks; events that came in between are counted then. asyncio and qemu.qmp are imported at the first
connection (they cost more than the rest of an attach). The guest has no say here, save for events that it
causes (RESET). Several threads may ask, one after another; who asks from inside an event loop holds that up meanwhile.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import struct
import sys
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from vmon.core.errors import TargetBusy, TargetDenied, TargetError, TargetGone, TargetNotFound

if TYPE_CHECKING:
    import asyncio

    from qemu.qmp import QMPClient
    from qemu.qmp.message import Message

GREETING_SECONDS = 1.0
ANSWER_SECONDS = 10.0
STARTING_SECONDS = 0.2
QUEUE_RETRY_SECONDS = 0.01
LONGEST_PATH_BYTES = 107
T = TypeVar("T")


class QmpError(TargetError):
    """QEMU understood a command and refused it."""


def connect(path: str, seconds: float = GREETING_SECONDS) -> socket.socket:
    """Connect to a unix socket ("\\0name" for an abstract one); the kernel's errors become ours."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    begin = time.monotonic()
    deadline = begin + seconds
    try:
        while True:
            try:
                _connect_once(sock, path)
                break
            except BlockingIOError:
                # The queue is full, perhaps of clients that gave up: QEMU drains it when it is free.
                if time.monotonic() >= deadline:
                    raise
                time.sleep(QUEUE_RETRY_SECONDS)
            except ConnectionRefusedError:
                # A QEMU that starts makes the socket's file a moment before it listens.
                if time.monotonic() >= min(deadline, begin + STARTING_SECONDS):
                    raise
                time.sleep(QUEUE_RETRY_SECONDS)
    except FileNotFoundError as error:
        sock.close()
        raise TargetNotFound(
            f"there is no socket {path}", hint="`vmon guests` lists the guests of this host and their sockets"
        ) from error
    except PermissionError as error:
        sock.close()
        raise TargetDenied(
            f"this user may not connect to {path}", hint="run vmon as root or as QEMU's user"
        ) from error
    except BlockingIOError as error:
        sock.close()
        raise _busy(path) from error
    except OSError as error:
        sock.close()
        if error.errno == errno.ECONNREFUSED and Path(path).is_socket():
            raise TargetGone(
                f"nobody listens on {path} any more", hint="QEMU ended and left its socket's file behind"
            ) from error
        raise TargetNotFound(f"{path} can't be connected to: {error.strerror}") from error
    return sock


def _connect_once(sock: socket.socket, path: str) -> None:
    if len(os.fsencode(path)) <= LONGEST_PATH_BYTES:
        sock.connect(path)
        return
    handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        sock.connect(f"/proc/self/fd/{handle}")
    finally:
        os.close(handle)


def await_greeting(sock: socket.socket, path: str, seconds: float = GREETING_SECONDS) -> None:
    """Wait until QEMU has greeted, without taking the greeting from the stream."""
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    if not poller.poll(seconds * 1000):
        raise _busy(path)
    check_greeting(sock, path)


def check_greeting(sock: socket.socket, path: str) -> None:
    """Judge what lies ready to be read on a fresh connection."""
    try:
        start = sock.recv(16, socket.MSG_PEEK)
    except OSError as error:
        raise TargetGone(f"{path} was closed by the other side: {error.strerror}") from error
    if not start:
        raise TargetGone(f"{path} was closed by the other side")
    if not start.lstrip().startswith(b"{"):
        raise TargetError(f"{path} does not speak QMP", hint="it looks like a human monitor or a serial port")


def _busy(path: str) -> TargetBusy:
    return TargetBusy(
        f"another client holds {path}: QEMU serves one client a QMP socket",
        hint="close the other client (libvirt keeps its own socket for good), or give QEMU one more socket: "
        "-qmp unix:PATH,server=on,wait=off",
    )


def _hang_up(loop: asyncio.AbstractEventLoop, client: QMPClient) -> None:
    # Whatever ended the connection is raised here once more; it was told to who asked last.
    with contextlib.suppress(Exception):
        _outside_loops(lambda: loop.run_until_complete(client.disconnect()))
    loop.close()


def _outside_loops(work: Callable[[], T]) -> T:
    """Python runs one event loop a thread: where the caller's is one (a notebook's, say), another thread runs ours."""
    asyncio = sys.modules.get("asyncio")
    try:
        if asyncio is not None:
            asyncio.get_running_loop()
    except RuntimeError:
        asyncio = None
    if asyncio is None:
        return work()
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - few call from inside a loop

    with ThreadPoolExecutor(1, "vmon qmp") as pool:
        return pool.submit(work).result()


def peer_pid(sock: socket.socket) -> int:
    """Who called listen() on the other side; 0 where it lives in another pid namespace."""
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return cast("int", struct.unpack("3i", credentials)[0])


class QmpConnection:
    """One client of one QMP socket."""

    def __init__(self, path: str, greeting_seconds: float = GREETING_SECONDS) -> None:
        self.path = path
        self.resets = 0
        self.fd = -1
        """The socket's descriptor, for a guardian that must speak when this process can't."""
        self._client: QMPClient | None = None
        self._turn = threading.RLock()
        sock = connect(path, greeting_seconds)
        try:
            await_greeting(sock, path, greeting_seconds)
            self.peer_pid = peer_pid(sock)
            self._start(sock)
        except BaseException:
            sock.close()
            raise

    def _start(self, sock: socket.socket) -> None:
        import asyncio  # noqa: PLC0415

        from qemu.qmp import QMPError  # noqa: PLC0415

        from vmon.transport.qemu.client import Client  # noqa: PLC0415

        self._failures = (QMPError, EOFError, OSError)
        self._loop = asyncio.new_event_loop()
        client = Client()
        try:
            # It has greeted, so this is its only client: what it takes longer for is a main loop that has much to do.
            self._run(client.connect(sock), ANSWER_SECONDS)
        except BaseException:
            self._loop.close()
            raise
        self._client = client
        self.fd = sock.fileno()
        # Also where the caller forgets: tasks left over at exit would complain to standard error.
        self._hang_up = weakref.finalize(self, _hang_up, self._loop, client)
        greeting = client.greeting
        numbers = cast("dict[str, int]", greeting.QMP.version.get("qemu", {})) if greeting else {}
        self.qemu_version = ".".join(str(numbers.get(part, 0)) for part in ("major", "minor", "micro"))

    def _run(self, work: Awaitable[T], seconds: float) -> T:
        import asyncio  # noqa: PLC0415

        async def bounded() -> T:
            return await asyncio.wait_for(work, seconds)

        try:
            return _outside_loops(lambda: self._loop.run_until_complete(bounded()))
        except TimeoutError as error:
            raise TargetError(
                f"QEMU does not answer on {self.path}", hint="its main loop hangs, on slow storage perhaps"
            ) from error
        except self._failures as error:
            raise TargetGone(f"QEMU ended, or hung up on {self.path}") from error

    def execute(self, command: str, arguments: Mapping[str, object] | None = None) -> Any:
        """One command, its answer; QmpError where QEMU refuses."""
        return self.execute_all([(command, arguments)])[0]

    def execute_all(self, commands: Sequence[tuple[str, Mapping[str, object] | None]]) -> list[Any]:
        """Several commands at once: one round trip; answers in order."""
        from qemu.qmp import ExecuteError  # noqa: PLC0415

        client = self._client
        if client is None:
            raise TargetGone(f"the connection to {self.path} is closed")

        async def ask() -> list[Any]:
            import asyncio  # noqa: PLC0415

            async def one(command: str, arguments: Mapping[str, object] | None) -> object:
                message: Message = client.make_execute_msg(command, arguments)
                try:
                    return await client.execute_msg(message)
                except ExecuteError as error:
                    return QmpError(f"QEMU refused {command}: {error}")

            return await asyncio.gather(*(one(*command) for command in commands))

        # Threads take turns: a loop is run by one at a time.
        with self._turn:
            answers = self._run(ask(), ANSWER_SECONDS)
            self._count_events()
        for answer in answers:
            if isinstance(answer, QmpError):
                raise answer
        return answers

    def monitor(self, lines: Sequence[str], cpu: int | None = None) -> list[str]:
        """Lines for the human monitor, carried by QMP; its texts."""
        more = {} if cpu is None else {"cpu-index": cpu}
        return self.execute_all([("human-monitor-command", {"command-line": line, **more}) for line in lines])

    def _count_events(self) -> None:
        """Take the events that came in; the library would keep them all."""
        if self._client:
            self.resets += sum(event.get("event") == "RESET" for event in self._client.events.clear())

    def close(self) -> None:
        """Hang up; QEMU is free for the next client."""
        with self._turn:
            if self._client is not None:
                self._client = None
                self.fd = -1
                self._hang_up()

    def __enter__(self) -> QmpConnection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
