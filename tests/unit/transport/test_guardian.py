"""The guardian as a process, before a QMP server that is none: when it speaks, and what it says."""

from __future__ import annotations

import ast
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from vmon.core.errors import TargetBusy, TargetError
from vmon.transport.qemu import guard as guard_module
from vmon.transport.qemu.guard import PROGRAM, Guard

GREETING = (
    b'{"event": "STOP", "timestamp": {}}\r\n'  # as QEMU now and then has it
    b'{"QMP": {"version": {}, "capabilities": []}}\r\n'
)
NEVER_NS = 1 << 62


class FakeQemu:
    """Serves one QMP client at a time and notes what it is told."""

    def __init__(self, folder: Path, status: str = "paused", name: str = "qmp") -> None:
        self.path = str(folder / name)
        self.status = status
        self.told: list[str] = []
        self.continued = threading.Event()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(4)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            with client, suppress(OSError):
                client.sendall(GREETING)
                for line in client.makefile("rb"):
                    self.answer(client, json.loads(line))

    def answer(self, client: socket.socket, message: dict[str, object]) -> None:
        command = str(message["execute"])
        self.told.append(command)
        value: object = {}
        if command == "query-status":
            value = {"status": self.status}
        if command == "human-monitor-command":
            self.told[-1] = message["arguments"]["command-line"]  # type: ignore[index]
            value = ""
        if command == "cont":
            self.status = "running"
            client.sendall(b'{"event": "RESUME", "timestamp": {}}\r\n')
        client.sendall(json.dumps({"return": value, "id": message.get("id")}).encode() + b"\r\n")
        if command == "cont":
            self.continued.set()


@pytest.fixture
def qemu(tmp_path: Path) -> Iterator[FakeQemu]:
    found = FakeQemu(tmp_path)
    yield found
    found.listener.close()


@pytest.fixture
def start(qemu: FakeQemu) -> Iterator[Callable[..., Guard]]:
    guards: list[Guard] = []
    ends = socket.socketpair()

    def begin(*paths: str, owner_fd: int | None = None) -> Guard:
        fd = ends[0].fileno() if owner_fd is None else owner_fd
        guards.append(Guard(os.getpid(), paths or [qemu.path], fd))
        return guards[-1]

    yield begin
    for guard in guards:
        guard.close()
        assert not guard.is_running() and not guard.folder.exists()
    for end in ends:
        end.close()


def test_it_needs_the_standard_library_alone() -> None:
    names = set()
    for node in ast.walk(ast.parse(PROGRAM.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
    assert names <= sys.stdlib_module_names


def test_a_pause_that_ended_well_is_nobodys_business(qemu: FakeQemu, start: Callable[..., Guard]) -> None:
    guard = start()
    for _ in range(3):
        guard.arm(NEVER_NS, cont=True, stub=True)
        guard.disarm()
    guard.close()
    assert qemu.told == []


def test_the_end_of_an_armed_owner_ends_the_pause(qemu: FakeQemu, start: Callable[..., Guard]) -> None:
    guard = start()
    guard.arm(NEVER_NS, cont=True, stub=False)
    guard.close()
    assert qemu.told == [
        "qmp_capabilities",
        "query-status",
        "cont",
        "query-status",
        "query-status",
        "query-status",
    ]


def test_the_stub_is_closed_first(qemu: FakeQemu, start: Callable[..., Guard]) -> None:
    guard = start()
    guard.stub_path.touch()
    guard.arm(NEVER_NS, cont=True, stub=True)
    guard.close()
    assert qemu.told[:4] == ["qmp_capabilities", "gdbserver none", "query-status", "cont"]


def test_the_deadline_ends_the_pause_of_an_owner_that_lives(
    qemu: FakeQemu, start: Callable[..., Guard]
) -> None:
    guard = start()
    guard.arm(time.monotonic_ns() + 50_000_000, cont=True, stub=False)
    assert qemu.continued.wait(10)
    guard.close()
    assert qemu.told.count("cont") == 1


def test_somebody_elses_pause_stays(qemu: FakeQemu, start: Callable[..., Guard]) -> None:
    guard = start()
    guard.arm(NEVER_NS, cont=False, stub=True)
    guard.close()
    assert qemu.told == ["qmp_capabilities", "gdbserver none"]


@pytest.mark.parametrize("status", ["running", "io-error", "inmigrate", "shutdown"])
def test_only_a_paused_guest_is_continued(qemu: FakeQemu, start: Callable[..., Guard], status: str) -> None:
    qemu.status = status
    guard = start()
    guard.arm(NEVER_NS, cont=True, stub=False)
    guard.close()
    assert "query-status" in qemu.told and "cont" not in qemu.told


def test_a_stop_that_comes_late_is_seen(
    qemu: FakeQemu, start: Callable[..., Guard], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner's last word, handled after the guardian's first look."""
    statuses = iter(["running", "paused"])
    answer = qemu.answer

    def late(client: socket.socket, message: dict[str, object]) -> None:
        qemu.status = next(statuses, qemu.status) if message["execute"] == "query-status" else qemu.status
        answer(client, message)

    monkeypatch.setattr(qemu, "answer", late)
    guard = start()
    guard.arm(NEVER_NS, cont=True, stub=False)
    guard.close()
    assert qemu.told.count("cont") == 1


def test_another_socket_where_the_first_is_taken(
    qemu: FakeQemu, start: Callable[..., Guard], tmp_path: Path
) -> None:
    second = FakeQemu(tmp_path, name="second")
    with socket.socket(socket.AF_UNIX) as other:
        other.connect(qemu.path)
        assert other.recv(1000) == GREETING
        guard = start(str(tmp_path / "gone"), qemu.path, second.path)
        guard.arm(time.monotonic_ns(), cont=True, stub=False)
        assert second.continued.wait(10)
    second.listener.close()
    assert "cont" not in qemu.told


def test_the_owners_own_connection_where_there_is_no_other(
    qemu: FakeQemu, start: Callable[..., Guard]
) -> None:
    with socket.socket(socket.AF_UNIX) as own:
        own.connect(qemu.path)
        assert own.recv(1000) == GREETING
        guard = start(owner_fd=own.fileno())
        guard.arm(time.monotonic_ns(), cont=True, stub=True)
        assert qemu.continued.wait(10)
        assert qemu.told == ["gdbserver none", "cont"]
        guard.disarm()
        guard.close()


def test_a_qemu_that_is_gone_is_not_waited_for(start: Callable[..., Guard], tmp_path: Path) -> None:
    guard = start(str(tmp_path / "gone"))
    guard.arm(NEVER_NS, cont=True, stub=True)
    guard.close()


def test_what_stops_the_owner_does_not_stop_it(qemu: FakeQemu, start: Callable[..., Guard]) -> None:
    guard = start()
    assert os.getsid(guard.pid) == guard.pid != os.getsid(0)
    guard.arm(NEVER_NS, cont=True, stub=False)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(guard.pid, number)
    guard.close()
    assert "cont" in qemu.told


def test_without_a_guardian_nothing_is_armed(start: Callable[..., Guard]) -> None:
    guard = start()
    os.kill(guard.pid, signal.SIGKILL)
    with pytest.raises(TargetError, match="no pause without it"):
        while True:
            guard.arm(NEVER_NS, cont=True, stub=False)
    guard._process.wait(10)
    assert not guard.is_running()


def test_one_pause_at_a_time(start: Callable[..., Guard], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard_module, "TURN_SECONDS", 0.05)
    one, other = start(), start()
    for _ in range(2):
        with one.turn(), pytest.raises(TargetBusy, match="another vmon"), other.turn():
            pass
        with other.turn():
            pass


def test_the_turn_of_a_pause_that_did_not_end_lasts_until_it_is_over(
    start: Callable[..., Guard], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard_module, "TURN_SECONDS", 0.05)
    one, other = start(), start()
    with one.turn():
        one.arm(NEVER_NS, cont=True, stub=False)
    with pytest.raises(TargetBusy), other.turn():
        pass
    one.close()
    with other.turn():
        pass


OWNER = """
    import os, socket, sys, time
    from vmon.transport.qemu.guard import Guard
    mine, _ = socket.socketpair()
    guard = Guard(os.getpid(), [sys.argv[1]], mine.fileno())
    guard.arm(1 << 62, cont=True, stub=True)
    guard.stub_path.touch()
    if os.fork() == 0:  # a child that holds the pipe open
        time.sleep(60)
    print(guard.pid, guard.folder, flush=True)
    time.sleep(60)
"""


def is_guardian(pid: str) -> bool:
    try:
        return b"guardian" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_kill_minus_nine_of_the_owner_whose_child_lives_on(qemu: FakeQemu) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(OWNER), qemu.path],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert owner.stdout is not None
        pid, folder = owner.stdout.readline().decode().split()
        os.kill(owner.pid, signal.SIGKILL)
        assert qemu.continued.wait(10)
        deadline = time.monotonic() + 10
        while is_guardian(pid):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert not Path(folder).exists()
    finally:
        os.killpg(owner.pid, signal.SIGKILL)
        owner.wait()
        owner.stdout.close()  # type: ignore[union-attr]


def test_an_owner_that_dies_before_its_guardian_is_up_leaves_no_folder(tmp_path: Path) -> None:
    folder = tmp_path / "stub"
    settings = {"owner": os.getpid(), "owner_fd": -1, "sockets": [], "folder": str(folder), "user": -1}
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-I", "-S", str(PROGRAM), json.dumps(settings)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=writer, timeout=30, check=False)
    os.close(writer)
    assert (done.returncode, folder.exists()) == (0, False)
