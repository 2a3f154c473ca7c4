"""Guests that vmon can't see into: one clear sentence each, an exit code of their own, never an empty list."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import vmon
from tests.guest.conftest import PATIENCE_S
from vmon.cli.hints import hint_of
from vmon.core.errors import GuestEncrypted, IdentifyError, NoKernelYet, NotLinux
from vmon.transport.qemu.qmp import QmpConnection

VMON = Path(sys.executable).with_name("vmon")
MEMTEST = Path("/boot/memtest86+x64.bin")


@contextmanager
def bare_qemu(folder: Path, *arguments: str) -> Iterator[str]:
    """A QEMU of 64 MiB without the lab's kernel; the target that reaches it."""
    path = folder / "qmp"
    command = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-accel", "tcg"]
    command += ["-machine", "pc,memory-backend=m", "-object", "memory-backend-memfd,id=m,size=64M,share=on"]
    command += ["-m", "64", "-qmp", f"unix:{path},server=on,wait=off", *arguments]
    process = subprocess.Popen(command)
    try:
        wait_until_served(path)
        yield f"qmp:{path}"
    finally:
        process.kill()
        process.wait()


def wait_until_served(path: Path) -> None:
    """Until QEMU greets who comes."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE_S)
            client.connect(str(path))
            assert client.recv(100)
            return
        assert time.monotonic() < deadline
        time.sleep(0.02)


def tell(target: str, command: str) -> None:
    """One word to QEMU."""
    with QmpConnection(target.removeprefix("qmp:")) as qmp:
        qmp.execute(command)


def command_line(target: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([VMON, "ps", target], capture_output=True, text=True, check=False)


def assert_says(target: str, error: type[IdentifyError]) -> None:
    """API and command line say the same: nothing on stdout, one sentence and a hint on stderr."""
    with pytest.raises(error) as caught:
        vmon.attach(target)
    done = command_line(target)
    assert done.returncode == error.exit_code
    assert done.stdout == ""
    assert done.stderr.startswith("vmon: ")
    assert len(done.stderr.splitlines()) == 1 + bool(hint_of(caught.value))


def test_guest_in_its_firmware(tmp_path: Path) -> None:
    with bare_qemu(tmp_path) as target:
        time.sleep(1)
        assert_says(target, NoKernelYet)


def test_guest_that_never_started(tmp_path: Path) -> None:
    with bare_qemu(tmp_path, "-S") as target:
        assert_says(target, NoKernelYet)


def test_another_operating_system(tmp_path: Path) -> None:
    with bare_qemu(tmp_path, "-kernel", str(MEMTEST)) as target:
        deadline = time.monotonic() + PATIENCE_S
        error: type[IdentifyError] = NoKernelYet
        # It says firmware until the program has filled its RAM, then that this is no Linux. The program fills it with
        # zeros too, now and then: it is looked at where it stands.
        while error is NoKernelYet and time.monotonic() < deadline:
            tell(target, "cont")
            time.sleep(1)
            tell(target, "stop")
            with pytest.raises(IdentifyError) as caught:
                vmon.attach(target)
            error = caught.type
        assert error is NotLinux
        assert_says(target, NotLinux)


def test_encrypted_guest_reads_as_noise(tmp_path: Path) -> None:
    """A fault put in from outside: QEMU has no memory encryption here, so its RAM is overwritten with noise."""
    with bare_qemu(tmp_path, "-S") as target:
        pid = int(subprocess.check_output(["pgrep", "-f", target.removeprefix("qmp:")], text=True).split()[0])
        for link in Path(f"/proc/{pid}/fd").iterdir():
            if "memory-backend-memfd" in str(link.readlink()):
                with link.open("r+b") as ram:
                    ram.write(os.urandom(64 << 20))
        assert_says(target, GuestEncrypted)
