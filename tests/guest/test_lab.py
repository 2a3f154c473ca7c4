"""The lab itself: boot, command, break, end.

What concerns the kernel runs on every series; what concerns QEMU, the host's files or the agent's protocol runs on the
default kernel alone, for the kernel has no part in it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.guest.compare import settles
from tests.guest.conftest import PATIENCE_S, boot
from vmon.cli.lab import lab
from vmon.core.errors import LabError, TargetGone, TargetNotFound
from vmon.lab import guest as lab_guest
from vmon.lab import matrix, state
from vmon.lab.guest import LabGuest
from vmon.lab.kernels import find_kernel

MEGABYTE = 1 << 20
LONG_ENOUGH_S = 8
"""For an agent to be asked and to begin, on a busy machine too."""


@pytest.fixture(scope="module")
def default(own_run_folder: Path) -> Iterator[LabGuest]:
    """One guest for all tests that do not harm it."""
    with LabGuest.up(f"lab-{os.getpid()}", disk=True, nic=True, allow_reboot=True) as guest:
        yield guest


def assert_nothing_left(name: str, pid: int) -> None:
    assert state.process_start(pid) is None
    assert not state.guest_folder(name).exists()
    assert not list(Path("/dev/shm").glob(f"vmon-{name}-*"))
    with pytest.raises(TargetNotFound):
        LabGuest.find(name)


@pytest.mark.parametrize("series", matrix.names(extra=True))
def test_every_kernel_boots_takes_commands_and_goes(series: str) -> None:
    name = f"k-{series}-{os.getpid()}"
    with boot(name, kernel=series, disk=True, nic=True) as guest:
        release = guest.run("uname -r").text.strip()
        assert release == guest.record.release
        assert release.startswith(series)
        assert guest.run("hostname").text.strip() == name
        assert guest.run("exit 42").status == 42
        assert guest.run("mount | grep -c 'on /mnt type ext4'").text == "1\n"
        assert guest.run("ip -o -4 addr show eth0").text.count("10.0.2.15/24") == 1
        assert guest.run("wget -qO- http://127.0.0.1/").text == "<h1>vmon lab</h1>\n"
        users = guest.run("stat -c %U /proc/[0-9]* | sort -u").text.split()
        assert users == ["alice", "root", "www-data"]
        assert (
            guest.run("modprobe overlay; modprobe veth; grep -c -E '^(overlay|veth) ' /proc/modules").text
            == "2\n"
        )
        # A kernel that is unwell says so.
        assert guest.run("dmesg | grep -E 'BUG|Oops|WARNING|Call Trace'").text == ""
    assert_nothing_left(name, guest.pid)


def test_output_and_status(default: LabGuest) -> None:
    done = default.run("echo out; echo err >&2; exit 3")
    assert (done.status, done.out, done.err) == (3, b"out\n", b"err\n")
    assert (
        default.run(["printf", "%s|", "a  b", "$HOME", "it's", "100%", "ä\n"]).text
        == "a  b|$HOME|it's|100%|ä\n|"
    )
    assert default.run("kill -9 $$").status == 128 + 9
    assert default.run("nonexistent-command").status == 127
    assert default.run("if then").status == 2
    assert default.run("-x").status == 127
    assert default.run("").status == 0
    with pytest.raises(LabError, match="exited with 1; oops"):
        default.run("echo oops >&2; exit 1", check=True)


def test_bytes_come_and_go_as_they_are(default: LabGuest) -> None:
    sent = bytes(range(256)) * 64
    assert default.run("cat", stdin=sent).out == sent
    assert default.run(b"printf '\xff\xfe\x01'".decode(errors="surrogateescape")).out == b"\xff\xfe\x01"


def test_big_output_is_whole(default: LabGuest) -> None:
    default.run("dd if=/dev/urandom of=/tmp/big bs=1M count=8", check=True)
    done = default.run("cat /tmp/big; head -c 100000 /tmp/big >&2", timeout_s=PATIENCE_S)
    assert (len(done.out), len(done.err)) == (8 * MEGABYTE, 100_000)
    assert done.err == done.out[:100_000]
    digest = subprocess.run(["sha256sum"], input=done.out, capture_output=True, check=True).stdout.split()[0]
    assert default.run("sha256sum </tmp/big").out.split()[0] == digest


def test_what_goes_on_in_the_background_does_not_disturb(default: LabGuest) -> None:
    default.run("(for i in $(seq 50); do echo noise; sleep 0.02; done) & (sleep 0.2; echo late) &")
    for number in range(20):
        assert default.run(f"echo {number}").text == f"{number}\n"


def test_a_killed_agent_comes_back(default: LabGuest) -> None:
    with pytest.raises(LabError, match="did not end within"):
        default.run("kill -9 -1", timeout_s=LONG_ENOUGH_S)
    default.wait_ready()
    assert default.run("echo again").text == "again\n"


def test_a_bare_boot_image_talks_over_the_serial_port(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(find_kernel(matrix.DEFAULT).vmlinuz.read_bytes())
    name = f"bare-{os.getpid()}"
    with LabGuest.up(name, kernel=str(tmp_path / "image")) as guest:
        assert guest.record.series == matrix.DEFAULT
        assert guest.run("lsmod | wc -l").text == "1\n"
        links = guest.run("for fd in /proc/[0-9]*/fd/3; do readlink $fd; done").text
        assert "/dev/ttyS1" in links.split()
        sent = bytes(range(256)) * 4
        assert guest.run("cat", stdin=sent).out == sent
        assert len(guest.run("head -c 200000 /dev/zero", timeout_s=PATIENCE_S).out) == 200_000
        assert guest.run("exit 5").status == 5
    assert_nothing_left(name, guest.pid)


def test_an_idle_agent_makes_no_noise(default: LabGuest) -> None:
    def newest() -> int:
        return int(default.run("sh -c 'echo $PPID'").text)

    def compare() -> None:
        first = newest()
        cost = newest() - first
        time.sleep(2)
        assert newest() - first <= 2 * cost + 4

    # The kernel may start some workers; a polling agent would be at a hundred, each time.
    settles(compare)


def test_a_command_that_hangs_is_killed_with_its_children(default: LabGuest) -> None:
    with pytest.raises(LabError, match="did not end within"):
        default.run("sleep 4321 & sleep 4321", timeout_s=LONG_ENOUGH_S)
    assert (
        default.run("while ps | grep [s]leep.4321; do sleep 0.1; done >/dev/null; echo gone").text == "gone\n"
    )
    with pytest.raises(LabError, match="did not end within"):
        default.run("yes | head -c 2000000; sleep 4321", timeout_s=LONG_ENOUGH_S)
    assert default.run("echo well").text == "well\n"


@pytest.mark.parametrize("after_s", [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5])
def test_a_client_killed_in_the_middle_does_not_matter(default: LabGuest, after_s: float) -> None:
    program = (
        f"from vmon.lab.guest import LabGuest\nguest = LabGuest.find({default.name!r})\nprint('go', flush=True)\n"
        "while True: guest.run('dd if=/dev/zero bs=1M count=4 2>/dev/null', stdin=b'x' * 5000)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"go\n"
        time.sleep(after_s)
        client.kill()
    for number in range(3):
        assert default.run(f"echo {number}; echo e >&2").text == f"{number}\n"


def test_many_clients_at_once(default: LabGuest) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = list(
            pool.map(lambda number: LabGuest.find(default.name).run(f"echo {number}").text, range(24))
        )
    assert answers == [f"{number}\n" for number in range(24)]


def test_a_reboot(default: LabGuest) -> None:
    """The same agent comes back in a new kernel."""
    before = default.run("cat /proc/sys/kernel/random/boot_id").out
    with pytest.raises(LabError, match="did not end within"):
        default.run("echo b >/proc/sysrq-trigger", timeout_s=LONG_ENOUGH_S)
    default.wait_ready()
    assert default.run("cat /proc/sys/kernel/random/boot_id").out not in {before, b""}
    assert default.is_running()


def test_the_command_line(default: LabGuest) -> None:
    runner = CliRunner()
    listed = json.loads(runner.invoke(lab, ["list", "-o", "json"]).stdout)
    assert [one["pid"] for one in listed if one["name"] == default.name] == [default.pid]
    assert default.name in runner.invoke(lab, ["list"]).stdout
    done = runner.invoke(lab, ["run", default.name, "--", "sh", "-c", "echo 'a  b'; echo e >&2; exit 9"])
    assert (done.exit_code, done.stdout, done.stderr) == (9, "a  b\n", "e\n")
    done = runner.invoke(lab, ["run", default.name, "echo $((6*7)) | cat -"])
    assert (done.exit_code, done.stdout) == (0, "42\n")
    assert isinstance(runner.invoke(lab, ["run", "nobody", "true"]).exception, TargetNotFound)
    assert isinstance(runner.invoke(lab, ["up", default.name]).exception, LabError)


def test_the_ways_to_hold_ram_and_the_machines() -> None:
    """Also several guests up at the same time."""

    def boot(case: tuple[str, str]) -> str:
        machine, backend = case
        name = f"{machine}-{backend}-{os.getpid()}"
        with LabGuest.up(name, machine=machine, ram_backend=backend, ram_bytes=256 << 20) as guest:  # type: ignore[arg-type]
            total = int(guest.run("cat /proc/meminfo").text.split()[1])
            assert 120_000 < total < 262_144
            maps = Path(f"/proc/{guest.pid}/maps").read_text()
            assert ("memfd:memory-backend-memfd" in maps) == (backend == "memfd")
            assert (f"/dev/shm/vmon-{name}-" in maps) == (backend == "file")
        assert_nothing_left(name, guest.pid)
        return guest.record.machine

    cases = [("q35", "anon"), ("microvm", "file"), ("pc", "file"), ("microvm", "memfd")]
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(boot, cases)) == [machine for machine, _ in cases]


def test_an_overlay(tmp_path: Path) -> None:
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab/tool").write_text("#!/bin/sh\necho from the overlay\n")
    (tmp_path / "lab/tool").chmod(0o755)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/hosts").write_text("127.0.0.1 elsewhere\n")
    with LabGuest.up(f"overlay-{os.getpid()}", overlay=tmp_path, append="nokaslr") as guest:
        assert guest.run("/lab/tool; cat /etc/hosts").text == "from the overlay\n127.0.0.1 elsewhere\n"
        assert "nokaslr" in guest.run("cat /proc/cmdline").text.split()


def test_a_clock_that_counts_instructions() -> None:
    """The same work takes the same, and twice as much twice as long, whatever else this host does."""

    def guest_s(guest: LabGuest, turns: int) -> float:
        loop = f"n=0; while [ $n -lt {turns} ]; do n=$((n + 1)); done"
        begin, end = guest.run(f"cat /proc/uptime; {loop}; cat /proc/uptime").text.splitlines()
        return float(end.split()[0]) - float(begin.split()[0])

    with LabGuest.up(f"icount-{os.getpid()}", icount=True) as guest:
        assert guest.record.accel == "tcg"
        once = [guest_s(guest, 30_000) for _ in range(3)]
        twice = guest_s(guest, 60_000)
    assert max(once) < 1.1 * min(once)
    assert 1.8 < twice / min(once) < 2.2


def test_a_guest_that_ends_by_itself() -> None:
    name = f"ends-{os.getpid()}"
    guest = LabGuest.up(name)
    with pytest.raises(TargetGone):
        guest.run("poweroff -f; sleep 100")
    # The agent's pipe breaks as QEMU ends, a moment before the process is gone.
    deadline = time.monotonic() + PATIENCE_S
    while guest.is_running() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not guest.is_running()
    # Its name is free at once, although nobody took it down.
    with LabGuest.up(name) as again:
        assert again.pid != guest.pid
    assert_nothing_left(name, again.pid)
    again.down()


def test_a_kernel_that_does_not_come_up_leaves_nothing_but_its_words() -> None:
    name = f"panics-{os.getpid()}"
    with pytest.raises(LabError, match=r"(?s)did not come up.*\| .*Kernel panic") as caught:
        LabGuest.up(name, append="rdinit=/nonexistent root=/dev/nowhere", boot_timeout_s=PATIENCE_S)
    assert caught.value.exit_code == 30
    assert not state.guest_folder(name).exists()
    with pytest.raises(LabError, match="did not come up"):
        LabGuest.up(name, qemu_args=["-no-such-option"])
    assert not state.guest_folder(name).exists()


def test_up_interrupted_leaves_nothing() -> None:
    name = f"interrupted-{os.getpid()}"
    # A shell that starts a test run in the background has it ignore SIGINT, and Python then leaves it so.
    program = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    program += f"from vmon.lab.guest import LabGuest\nLabGuest.up({name!r})"
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL) as client:
        deadline = time.monotonic() + PATIENCE_S
        while (record := state.load(state.guest_folder(name))) is None and time.monotonic() < deadline:
            time.sleep(0.02)
        client.send_signal(signal.SIGINT)
    assert record is not None
    assert_nothing_left(name, record.pid)


def test_a_killed_up_can_be_cleared_away() -> None:
    """kill -9 leaves a guest half made: `down` ends it all the same."""
    name = f"killed-{os.getpid()}"
    program = f"from vmon.lab.guest import LabGuest\nLabGuest.up({name!r}, ram_backend='file')"
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL) as client:
        deadline = time.monotonic() + PATIENCE_S
        while (record := state.load(state.guest_folder(name))) is None and time.monotonic() < deadline:
            time.sleep(0.02)
        client.kill()
    assert record is not None
    assert state.is_alive(record.pid, record.pid_start)
    assert lab_guest.down(name)
    assert_nothing_left(name, record.pid)


def test_a_guest_outlives_whoever_started_it() -> None:
    name = f"outlives-{os.getpid()}"
    program = f"from vmon.lab.guest import LabGuest\nLabGuest.up({name!r})"
    subprocess.run(
        [sys.executable, "-c", program], check=True, start_new_session=True, stderr=subprocess.DEVNULL
    )
    with LabGuest.find(name) as guest:
        assert guest.run("echo here").text == "here\n"
        assert os.getsid(guest.pid) == guest.pid
    assert_nothing_left(name, guest.pid)


@pytest.mark.skipif(os.geteuid() != 0, reason="debootstrap needs root")
def test_a_debian_root_stays_as_it_was_made() -> None:
    name = f"debian-{os.getpid()}"
    for _ in range(2):
        with LabGuest.up(name, rootfs="debian", boot_timeout_s=180) as guest:
            assert "Debian" in guest.run("cat /etc/os-release").text
            assert guest.run("ls /root/mark").status != 0
            guest.run("touch /root/mark; sync", check=True)
            assert guest.run("readlink -f $(command -v ps)").text == "/usr/bin/ps\n"
            assert guest.run("python3 -c 'print(6*7)'").text == "42\n"
            assert guest.run("ps -o user= -C httpd").text == "www-data\n"
            assert guest.run("stat -fc %T /").text == "ext2/ext3\n"
    assert_nothing_left(name, guest.pid)
