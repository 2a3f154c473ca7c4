"""QEMUs without a guest in them (-S: firmware never runs, RAM holds still), killed whatever happens."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from vmon.transport.qemu import code, guard
from vmon.transport.qemu.host_processes import host_path, own_listening_sockets, same_file

PR_SET_PDEATHSIG = 1
PATIENCE_S = 120.0
USUAL_PAUSE_NS = code.LONGEST_PAUSE_NS


@dataclass
class Machine:
    process: subprocess.Popen[bytes]
    qmp_path: str
    folder: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait_until_served(self) -> None:
        """Until QEMU greets a client: it listens while it makes its machine still."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE_S)
            client.connect(self.qmp_path)
            assert client.recv(100)

    def wait_for(self, path: Path) -> None:
        """Until QEMU listens; the file is there a moment earlier."""
        deadline = time.monotonic() + PATIENCE_S
        while not any(same_file(str(path), host_path(self.pid, own)) for own in self.listening()):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(
                    f"QEMU did not start: {self.process.stderr and self.process.stderr.read()!r}"
                )
            time.sleep(0.02)

    def listening(self) -> list[str]:
        return list(own_listening_sockets(self.pid).values())

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def _die_with_pytest() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@contextmanager
def qemu(*arguments: str, frozen: bool = True, qmp: bool = True) -> Iterator[Machine]:
    """A QEMU that answers on its QMP socket, in a folder of its own that is its working directory too."""
    with tempfile.TemporaryDirectory(prefix="vmon-port-") as name:
        folder = Path(name)
        path = folder / "qmp.sock"
        command = ["qemu-system-x86_64", "-display", "none", "-nodefaults", "-accel", "tcg"]
        command += ["-S"] * frozen + ["-qmp", f"unix:{path},server=on,wait=off"] * qmp + list(arguments)
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            preexec_fn=_die_with_pytest,  # noqa: PLW1509 - no threads here
        )
        machine = Machine(process, str(path), folder)
        try:
            if qmp:
                machine.wait_for(path)
                machine.wait_until_served()
            yield machine
        finally:
            machine.kill()
            assert not Path(f"/proc/{process.pid}/exe").exists()
            if process.stderr:
                process.stderr.close()


@pytest.fixture
def long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy host holds a process up for longer than a pause may usually last, or than a turn is waited for."""
    monkeypatch.setattr(code, "LONGEST_PAUSE_NS", int(PATIENCE_S * 1e9))
    monkeypatch.setattr(guard, "TURN_SECONDS", PATIENCE_S)


def memfd(size: str, name: str = "mem0") -> list[str]:
    return [
        "-object",
        f"memory-backend-memfd,id={name},size={size},share=on",
        "-machine",
        f"memory-backend={name}",
    ]


def write_guest(pid: int, hva: int, data: bytes) -> None:
    """Put bytes into guest RAM from the host, past vmon: the truth that its reading is compared with."""
    fd = os.open(f"/proc/{pid}/mem", os.O_RDWR)
    try:
        assert os.pwrite(fd, data, hva) == len(data)
    finally:
        os.close(fd)


@pytest.fixture(scope="module")
def pc_6g_memfd() -> Iterator[Machine]:
    with qemu("-M", "pc", "-m", "6G", *memfd("6G"), "-name", "guest=six,debug-threads=on") as machine:
        yield machine


@pytest.fixture(scope="module")
def q35_6g_anonymous() -> Iterator[Machine]:
    with qemu("-M", "q35", "-m", "6G", "-vga", "std") as machine:
        yield machine


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[Machine]:
    """RAM in two files, adjacent in the guest."""
    nodes = ["-object", "memory-backend-memfd,id=n0,size=32M,share=on", "-numa", "node,nodeid=0,memdev=n0"]
    nodes += ["-object", "memory-backend-memfd,id=n1,size=32M,share=on", "-numa", "node,nodeid=1,memdev=n1"]
    with qemu("-M", "pc", "-m", "64M", "-smp", "2", *nodes) as machine:
        yield machine
