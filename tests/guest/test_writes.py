"""Code of a running kernel is changed and changed back; whoever dies meanwhile, the guest runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import vmon
from vmon.core.address import Gpa, Gva
from vmon.core.errors import CodeDiffers
from vmon.core.ports import Patch
from vmon.lab.guest import LabGuest
from vmon.transport.qemu import QemuGuest, attach_qemu

ENTRY_NOPS = (bytes.fromhex("0f1f440000"), bytes.fromhex("6666666690"))
RETURN_42 = bytes.fromhex("6a2a58c390")  # push 42; pop rax; ret; nop
RESCUE_S = 15.0
"""Until a guest runs again whose owner was killed: a tenth of a second, and room for a busy machine."""
ALLOWED_S = 60
"""A pause that ends before has not ended by its deadline."""
DEADLINE_S = 2.0
PATIENCE_S = 120.0

# A process that pauses the guest and stays so, as if it hung.
OWNER = """
import sys, time
from vmon.core.address import Gpa
from vmon.core.ports import Patch
from vmon.transport.qemu import attach_qemu, code
path, gpa, old, accel, longest_s = sys.argv[1:]
code.LONGEST_PAUSE_NS = int(float(longest_s) * 1e9)
apply_patches = code.apply_patches

def hang(*arguments):
    print("paused", guest._code._guard.pid, guest._code._guard.folder, flush=True)
    sys.stdin.readline()
    apply_patches(*arguments)

code.apply_patches = hang
guest = attach_qemu(path)
guest.accel = accel
old = bytes.fromhex(old)
try:
    guest.patch([Patch(Gpa(int(gpa)), old, bytes.fromhex("6a2a58c390"))])
    print("patched", flush=True)
except Exception as error:
    print(type(error).__name__, flush=True)
"""


@pytest.fixture(scope="module", params=["memfd", "anon"])
def guest(request: pytest.FixtureRequest) -> Iterator[LabGuest]:
    name = f"writes-{request.param}-{os.getpid()}"
    with LabGuest.up(name, kernel="6.1", cpus=2, ram_backend=request.param) as found:
        yield found
        assert found.run("echo well").out == b"well\n"
        assert not any(word in found.console for word in ("Oops", "BUG:", "WARNING:")), found.console[-2000:]


@pytest.fixture(scope="module")
def entry(guest: LabGuest) -> Gpa:
    """Where the kernel's getppid(2) begins: with a nop for tracers."""
    (line,) = guest.run("grep -w __x64_sys_getppid /proc/kallsyms").text.splitlines()
    with vmon.attach(guest.name) as vm:
        gpa = vm.kernel.memory.gpa(Gva(int(line.split()[0], 16)))
        assert vm.ram.read(gpa, 5) in ENTRY_NOPS
    return gpa


@pytest.fixture
def watcher(guest: LabGuest) -> Iterator[QemuGuest]:
    """A connection of our own, by a socket that the patching process does not use."""
    with attach_qemu(str(guest.qmp_sockets[-1])) as found:
        yield found
        assert found.state().status == "running"
        assert "gdb" not in [chardev["label"] for chardev in found.qmp.execute("query-chardev")]


def parent(guest: LabGuest) -> int:
    """What getppid says to a new shell, asked often enough that its code was surely translated."""
    answers = guest.run("for i in 1 2 3 4 5 6 7 8; do sh -c 'echo $PPID'; done").out.split()
    assert len(answers) == 8
    return int(answers[-1])


@pytest.mark.smoke
def test_code_that_ran_is_changed_and_changed_back(guest: LabGuest, entry: Gpa) -> None:
    with attach_qemu(str(guest.qmp_sockets[0])) as qemu:
        assert parent(guest) != 42
        old = qemu.ram.read(entry, 5)
        for _ in range(5):
            report = qemu.patch([Patch(entry, old, RETURN_42)])
            assert report.paused_ns > 0 and report.patches == 1
            assert parent(guest) == 42
            qemu.patch([Patch(entry, RETURN_42, old)])
            assert parent(guest) != 42
        assert qemu.ram.read(entry, 5) == old


def test_wrong_old_bytes_change_nothing(guest: LabGuest, entry: Gpa, watcher: QemuGuest) -> None:
    with attach_qemu(str(guest.qmp_sockets[0])) as qemu:
        old = qemu.ram.read(entry, 5)
        after = qemu.ram.read(Gpa(entry + 5), 5)
        patches = [Patch(entry, old, RETURN_42), Patch(Gpa(entry + 5), bytes(5), RETURN_42)]
        with pytest.raises(CodeDiffers) as caught:
            qemu.patch(patches)
        assert caught.value.address == entry + 5 and caught.value.found == after
        assert qemu.ram.read(entry, 5) == old and watcher.state().status == "running"


@contextmanager
def owner_in_a_pause(
    guest: LabGuest, entry: Gpa, accel: str, longest_s: float
) -> Iterator[tuple[subprocess.Popen[str], int, Path]]:
    """A process in the middle of patching; with it its guardian's pid and folder."""
    with vmon.attach(guest.name) as vm:
        old = vm.ram.read(entry, 5).hex()
    command = [sys.executable, "-c", OWNER, str(guest.qmp_sockets[0]), str(entry), old, accel]
    command.append(str(longest_s))
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        word, pid, folder = process.stdout.readline().split()
        assert word == "paused"
        yield process, int(pid), Path(folder)
    finally:
        process.kill()
        process.communicate()


def seconds_until_running(watcher: QemuGuest) -> float:
    begin = time.monotonic()
    while watcher.state().status != "running" and time.monotonic() < begin + PATIENCE_S:
        time.sleep(0.01)
    return time.monotonic() - begin


def is_guardian(pid: int) -> bool:
    try:
        return b"guardian" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


def assert_gone(pid: int, folder: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while is_guardian(pid):
        assert time.monotonic() < deadline, "the guardian is still there"
        time.sleep(0.01)
    assert not folder.exists()


@pytest.mark.parametrize("accel", ["tcg", "kvm"])
def test_kill_minus_nine_in_the_pause(guest: LabGuest, entry: Gpa, watcher: QemuGuest, accel: str) -> None:
    """The owner and all of its process group."""
    old = watcher.ram.read(entry, 5)
    with owner_in_a_pause(guest, entry, accel, ALLOWED_S) as (owner, guardian, folder):
        assert watcher.state().status == "paused"
        os.killpg(owner.pid, signal.SIGKILL)
        assert seconds_until_running(watcher) < RESCUE_S
        assert_gone(guardian, folder)
    assert watcher.ram.read(entry, 5) == old
    assert guest.run("echo again").out == b"again\n"


@pytest.mark.parametrize("accel", ["tcg", "kvm"])
def test_an_owner_that_hangs_loses_its_pause(
    guest: LabGuest, entry: Gpa, watcher: QemuGuest, accel: str
) -> None:
    old = watcher.ram.read(entry, 5)
    with owner_in_a_pause(guest, entry, accel, DEADLINE_S) as (owner, guardian, folder):
        os.kill(owner.pid, signal.SIGSTOP)
        assert seconds_until_running(watcher) < DEADLINE_S + RESCUE_S
        os.kill(owner.pid, signal.SIGCONT)
        out, _ = owner.communicate("go on\n", timeout=PATIENCE_S)
        assert out == "PauseLost\n"
        assert_gone(guardian, folder)
    assert watcher.ram.read(entry, 5) == old
    assert guest.run("echo again").out == b"again\n"


def test_a_machine_without_a_keyboard_is_woken() -> None:
    """Each time the interrupt of a function call, which nobody has made."""

    def calls(guest: LabGuest) -> int:
        return int(guest.run("grep CAL /proc/interrupts").text.split()[1])

    with LabGuest.up(f"wake-{os.getpid()}", kernel="6.1", machine="microvm") as guest:
        with attach_qemu(str(guest.qmp_sockets[0])) as qemu:
            for _ in range(10):
                # One that comes while another waits is the same one.
                before = calls(guest)
                qemu.wake(1)
                deadline = time.monotonic() + PATIENCE_S
                while calls(guest) == before:
                    assert time.monotonic() < deadline
        assert b"spurious" not in guest.run("dmesg").out
