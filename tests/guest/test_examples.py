"""The programs in examples/ do on a live guest what they say: each runs as a user runs it, and is ended by Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import vmon
from tests.guest.conftest import say
from tests.guest.test_check import intruder, sleepers, task_of
from vmon.core.errors import NoSuchProcess
from vmon.lab.guest import LabGuest

EXAMPLES = Path(__file__).parents[2] / "examples"
TOOLS = ("hidden_processes", "ransomware_guard", "exec_allowlist", "miner_watch", "secrets_guard", "top")
WAIT_S = 60
pytestmark = pytest.mark.parametrize("guest", ["6.1", "7.2"], indirect=True)


class Tool:
    """An example that runs, with the lines that it has said so far."""

    def __init__(self, name: str, *words: str) -> None:
        command = [sys.executable, "-u", str(EXAMPLES / f"{name}.py"), *words]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.said = ""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        while text := os.read(self.process.stdout.fileno(), 65536):
            self.said += text.decode()

    def wait_for(self, pattern: str) -> re.Match[str]:
        deadline = time.monotonic() + WAIT_S
        while not (found := re.search(pattern, self.said)):
            assert time.monotonic() < deadline, (pattern, self.said)
            assert self.process.poll() is None or re.search(pattern, self.said), (pattern, self.said)
            time.sleep(0.05)
        return found

    def answer(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def end(self, sig: int = signal.SIGINT) -> int:
        if self.process.poll() is None:
            self.process.send_signal(sig)
        status = self.process.wait(WAIT_S)
        self._reader.join(WAIT_S)
        return status


@contextmanager
def tool(name: str, *words: str) -> Iterator[Tool]:
    """An example until the block ends: with Ctrl-C, and without a complaint."""
    running = Tool(name, *words)
    try:
        yield running
        assert running.end() == 0, running.said
        assert "Traceback" not in running.said
    finally:
        if running.process.poll() is None:
            running.process.kill()
        running.end()


@pytest.fixture
def clean(guest: LabGuest) -> Iterator[LabGuest]:
    """A guest from which the probe is taken out afterwards."""
    yield guest
    with vmon.attach(guest.name) as vm:
        vm.remove_probe()


def eventually(done: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("name", TOOLS)
def test_each_is_short_and_ends_by_itself(guest: LabGuest, clean: LabGuest, name: str) -> None:
    assert (EXAMPLES / f"{name}.py").read_text().count("\n") < 60
    more = ["--learn"] if name == "exec_allowlist" else ["--seconds", "0.5"]
    running = Tool(name, guest.name, *more, *(["--every", "0.2"] if name in ("miner_watch", "top") else []))
    assert running.process.wait(WAIT_S) == running.end() == 0, running.said
    missing = Tool(name, "qmp:/nowhere/at/all")
    assert missing.process.wait(WAIT_S) == 1
    assert missing.end() == 1
    assert "Traceback" not in missing.said
    assert "/nowhere/at/all" in missing.said


def test_a_hidden_process_is_found(guest: LabGuest) -> None:
    with vmon.attach(guest.name) as vm, sleepers(guest) as pids, intruder(vm) as made:
        made.unlink(made.field("task_struct", "tasks", task_of(vm, pids[1])))
        assert pids[1] not in {process.pid for process in vm.processes()}
        running = Tool("hidden_processes", guest.name)
        assert running.process.wait(WAIT_S) == running.end() == 1
    assert re.search(rf"CRITICAL: .*\b{pids[1]}\b.* runs but is not on the kernel's list", running.said)
    assert running.said.endswith("1 hidden\n")


# It writes over files of its own and renames them, as ransomware does; there is no harm in it.
RANSOM = """
mkdir -p /tmp/papers; cd /tmp/papers; n=0
while [ $n -lt 800 ]; do n=$((n+1)); echo text >paper$n; done; touch /tmp/written
while [ ! -e /tmp/go ]; do sleep 0.1; done
for f in paper*; do echo cipher >$f; mv $f $f.locked; done; touch /tmp/all-is-lost; sleep 1000
"""


def test_ransomware_is_suspended_before_it_is_done(guest: LabGuest, clean: LabGuest) -> None:
    say(guest, "rm -rf /tmp/papers /tmp/go /tmp/written /tmp/all-is-lost")
    pid = int(say(guest, f"sh -c '{RANSOM}' >/dev/null 2>&1 & echo $!"))
    say(guest, "while [ ! -e /tmp/written ]; do sleep 0.1; done")
    with vmon.attach(guest.name) as vm:
        try:
            with tool("ransomware_guard", guest.name, "--files", "20", "--within", "30") as running:
                running.wait_for("watching")
                say(guest, "touch /tmp/go")
                found = running.wait_for(r"SUSPENDED (\d+) .*: sent\n.* files in 30 s, the last file\.")
                assert int(found[1]) == pid, running.said
                eventually(lambda: vm.process(pid).status() == "stopped")
            assert say(guest, "ls /tmp/all-is-lost 2>/dev/null || echo saved") == "saved\n"
            assert 0 < int(say(guest, "ls /tmp/papers | grep -c locked")) < 800
        finally:
            with suppress(NoSuchProcess):
                vm.process(pid).kill()
            say(guest, "rm -rf /tmp/papers /tmp/go /tmp/written")


def test_only_programs_of_the_list_run(guest: LabGuest, clean: LabGuest, tmp_path: Path) -> None:
    learnt = Tool("exec_allowlist", guest.name, "--learn")
    assert learnt.process.wait(WAIT_S) == learnt.end() == 0
    assert "/bin/busybox" in learnt.said
    allowed = tmp_path / "allowed.txt"
    allowed.write_text(learnt.said)
    # The same program under another name may run, another program under a known name may not.
    say(
        guest,
        "cp /bin/busybox /tmp/busybox-copy; mkdir -p /tmp/b; cp /lab/oracle /tmp/b/busybox; /lab/oracle >/dev/null",
    )
    script = "/tmp/busybox-copy echo copied; /tmp/b/busybox 2>&1 >/dev/null; echo $?"
    with tool("exec_allowlist", guest.name, str(allowed)) as running:
        running.wait_for("may run in")
        said = say(guest, script)
        assert said.startswith("copied\n")
        assert "ermission denied" in said
        running.wait_for(r"REFUSED /tmp/b/busybox by \d+ .*: not on the list \([0-9a-f]{64}\)")
        assert "/tmp/busybox-copy" not in running.said
    with tool("exec_allowlist", guest.name, str(allowed), "--observe") as running:
        running.wait_for("may run in")
        assert say(guest, script) == "copied\n0\n"
        running.wait_for(r"WOULD REFUSE /tmp/b/busybox")
    say(guest, "rm -rf /tmp/busybox-copy /tmp/b")


def test_a_miner_is_told(guest: LabGuest) -> None:
    # It mines nothing: a loop with the command line of one, and next to it a loop that is only busy.
    say(guest, "ln -sf /bin/busybox /tmp/sh")
    line = "sh -c 'while :; do :; done' xmrig -o stratum+tcp://pool.example:3333"
    miner, busy = (
        int(say(guest, f"{what} >/dev/null 2>&1 & echo $!")) for what in (line, "sh -c 'while :; do :; done'")
    )
    try:
        with tool("miner_watch", guest.name, "--every", "1", "--cpu", "10") as running:
            running.wait_for(rf"MINER\? {miner} .*% of a CPU; says '")
            assert f"MINER? {busy} " not in running.said
    finally:
        say(guest, f"kill {miner} {busy}; rm /tmp/sh")


def test_secrets_stay_shut(guest: LabGuest, clean: LabGuest) -> None:
    files = "/tmp/agent/.ssh/id_rsa /tmp/agent/.env /tmp/agent/.aws/credentials"
    say(guest, f"mkdir -p /tmp/agent/.ssh /tmp/agent/.aws; for f in {files}; do echo secret >$f; done")
    say(guest, "cp /bin/busybox /tmp/agent/busybox-ssh; echo open >/tmp/agent/notes")
    script = f"cat {files} /tmp/agent/notes; /tmp/agent/busybox-ssh cat /tmp/agent/.ssh/id_rsa; true"
    with tool("secrets_guard", guest.name, "--allow", "/tmp/agent/busybox-ssh") as running:
        running.wait_for("rules guard the secrets")
        assert say(guest, script) == "open\nsecret\n"
        for name in files.split():
            running.wait_for(rf"DENIED {re.escape(name)} to \d+ /bin/busybox")
    assert say(guest, script) == "secret\n" * 3 + "open\nsecret\n", "the rules went with it"


def test_secrets_are_kept_from_one_tree_and_a_person_is_asked(guest: LabGuest, clean: LabGuest) -> None:
    say(guest, "mkdir -p /tmp/agent; echo secret >/tmp/agent/.env; rm -f /tmp/agent/go /tmp/agent/out")
    loop = (
        "while [ ! -e /tmp/agent/go ]; do sleep 0.1; done; cat /tmp/agent/.env; cat /tmp/agent/.env; echo end"
    )
    pid = int(say(guest, f"sh -c '{loop}' >/tmp/agent/out 2>&1 & echo $!"))
    with tool("secrets_guard", guest.name, "--tree", str(pid), "--ask") as running:
        running.wait_for("rules guard the secrets")
        assert say(guest, "cat /tmp/agent/.env") == "secret\n", "others are not asked about"
        say(guest, "touch /tmp/agent/go")
        running.wait_for(r"may \d+ /bin/busybox open /tmp/agent/\.env\?")
        running.answer("y")
        running.wait_for(r"(?s)may .*\nmay ")
        running.answer("n")
        running.wait_for(r"DENIED /tmp/agent/\.env")
    said = say(guest, "while ! grep -q end /tmp/agent/out; do sleep 0.1; done; cat /tmp/agent/out")
    assert said.startswith("secret\n")
    assert "ermission denied" in said
    say(guest, "rm -rf /tmp/agent")


def test_top_shows_who_is_busy(guest: LabGuest) -> None:
    busy = int(say(guest, "sh -c 'while :; do :; done' >/dev/null 2>&1 & echo $!"))
    try:
        with tool("top", guest.name, "--every", "0.5") as running:
            running.wait_for(rf"COMMAND\n +{busy} +0 R +\d+\.\d .* sh -c while :; do :; done")
            assert "processes" in running.said
    finally:
        say(guest, f"kill {busy}")
