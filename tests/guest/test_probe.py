"""The probe in real kernels: it tells what happens, refuses what rules forbid, and leaves a guest as it found it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import vmon
from tests.guest.conftest import PATIENCE_S, sleeping
from vmon.core.errors import NoSuchProcess, NotSupported, UsageError
from vmon.core.events import Answer, Event
from vmon.core.rules import Rule
from vmon.lab.guest import LabGuest
from vmon.monitor.only import Only
from vmon.probe.sites import survey

DEED = """
mkdir /tmp/deed; echo x >/tmp/deed/a; chmod 640 /tmp/deed/a; chown 33:34 /tmp/deed/a
ln -s a /tmp/deed/s; rm /tmp/deed/s; ln /tmp/deed/a /tmp/deed/b; mv /tmp/deed/b /tmp/deed/c; truncate -s 1 /tmp/deed/c
mkdir /tmp/deed/m; mount -t tmpfs none /tmp/deed/m; echo y >/tmp/deed/m/inside; umount /tmp/deed/m
rm /tmp/deed/a /tmp/deed/c; rmdir /tmp/deed/m /tmp/deed
nc -l -p 4321 >/dev/null & listener=$!
until grep -q ':10E1 .* 0A ' /proc/net/tcp /proc/net/tcp6; do usleep 100000; done
echo z | nc -w 20 127.0.0.1 4321; wait $listener
sleep 50 & kill -TERM $!; wait $!; su alice -c true; cat /proc/1/environ >/dev/null
sh -c 'exit 7'; cat '/tmp/no such
file'
echo $$
"""


@pytest.fixture
def probed(vm: vmon.VirtualMachine) -> Iterator[vmon.VirtualMachine]:
    """A guest with the probe in it; afterwards every instruction is as it was, and the kernel has not complained."""
    before = survey(vm.kernel)
    assert not before.strangers
    installed = vm.install_probe()
    assert installed.installed
    assert installed.paused_ms > 0
    assert not installed.not_seen
    yield vm
    assert vm.remove_probe().patches == installed.sites
    assert survey(vm.kernel) == before
    with pytest.raises(NotSupported):
        vm.rules()


@pytest.fixture(autouse=True)
def no_complaint(guest: LabGuest) -> Iterator[None]:
    def complaints() -> set[str]:
        said = guest.run("dmesg").text.splitlines()
        return {line for line in said if "Oops" in line or "WARNING:" in line or "BUG:" in line}

    # Of the machine that it runs on a kernel may complain as it boots.
    before = complaints()
    yield
    assert complaints() <= before


def done_in(guest: LabGuest, vm: vmon.VirtualMachine, script: str, *names: str) -> tuple[list[Event], str]:
    """What the probe tells of a script, and what the script says itself."""
    stream = vm.event_stream(*names)
    stream.start()
    try:
        out = guest.run(script, timeout_s=PATIENCE_S).text
        return stream.take(), out
    finally:
        stream.stop()


def paths(events: list[Event], name: str) -> list[str | None]:
    return [event.path for event in events if event.event == name]


def test_every_deed_is_told(guest: LabGuest, probed: vmon.VirtualMachine) -> None:
    events, out = done_in(guest, probed, DEED)
    shell = int(out.split()[-1])
    own = [event for event in events if shell in (event.pid, event.ppid)]
    for kind, expected in (
        ("file.mkdir", ["/tmp/deed", "/tmp/deed/m"]),
        ("file.create", ["/tmp/deed/a", "/tmp/deed/m/inside"]),
        ("file.symlink", ["/tmp/deed/s"]),
        ("file.chmod", ["/tmp/deed/a"]),
        ("file.chown", ["/tmp/deed/a"]),
        ("file.truncate", ["/tmp/deed/c"]),
        ("file.mount", ["/tmp/deed/m"]),
        ("file.unlink", ["/tmp/deed/s", "/tmp/deed/a", "/tmp/deed/c"]),
        ("file.rmdir", ["/tmp/deed/m", "/tmp/deed"]),
    ):
        assert [path for path in paths(own, kind) if path.startswith("/tmp/deed")] == expected, kind
    assert {"/tmp/deed/a", "/tmp/deed/m/inside", "/tmp/no such\nfile", "/etc/passwd"} - set(
        paths(events, "file.open")
    ) == {"/tmp/no such\nfile"}, "what does not exist is not opened"
    assert [(e.path, e.new_path) for e in own if e.event == "file.link"] == [("/tmp/deed/a", "/tmp/deed/b")]
    assert [(e.path, e.new_path) for e in own if e.event == "file.rename"] == [("/tmp/deed/b", "/tmp/deed/c")]
    (chmod,) = (event for event in own if event.event == "file.chmod")
    assert chmod.mode == 0o640
    (chown,) = (event for event in own if event.event == "file.chown")
    assert (chown.new_uid, chown.new_gid) == (33, 34)
    written = next(e for e in own if e.event == "file.open" and e.path == "/tmp/deed/a")
    assert (written.flags or 0) & (os.O_ACCMODE | os.O_CREAT) == os.O_WRONLY | os.O_CREAT
    connects = [(e.address, e.port, e.protocol) for e in own if e.event == "net.connect"]
    assert ("127.0.0.1", 4321, "tcp") in connects
    assert any(e.port == 4321 for e in own if e.event == "net.bind")
    assert any(e.port == 4321 for e in own if e.event == "net.listen")
    assert any(e.port == 4321 for e in own if e.event == "net.accept")
    (kill,) = (e for e in events if e.event == "process.signal" and e.pid == shell)
    sleeper = next(e.pid for e in events if e.event == "process.exit" and e.pid == kill.target_pid)
    assert (kill.signal, kill.target_pid) == (signal.SIGTERM, sleeper)
    assert any((e.new_uid, e.new_euid) == (1000, 1000) for e in events if e.event == "process.setuid")
    assert any(e.target_pid == 1 for e in events if e.event == "process.ptrace")
    assert "/bin/busybox" in paths(events, "file.mmap_exec")


def test_the_life_of_a_process(guest: LabGuest, probed: vmon.VirtualMachine) -> None:
    events, out = done_in(
        guest, probed, "/bin/sh -c 'echo $$; exec /bin/env A=b /bin/sh -c \"exit 7\"'; echo $$"
    )
    pid, parent = map(int, out.split())
    fork = next(e for e in events if e.event == "process.fork" and e.target_pid == pid)
    assert (fork.pid, fork.exe) == (parent, "/bin/busybox")
    own = [event for event in events if event.key == fork.target_key]
    execs = [event.cmdline for event in own if event.event == "process.exec"]
    assert execs == [
        ["/bin/sh", "-c", 'echo $$; exec /bin/env A=b /bin/sh -c "exit 7"'],
        ["/bin/env", "A=b", "/bin/sh", "-c", "exit 7"],
        ["/bin/sh", "-c", "exit 7"],
    ]
    assert [event.exit_code for event in own if event.event == "process.exit"] == [7 << 8]
    times = [event.time_ns for event in own]
    assert times == sorted(times)
    assert {event.ppid for event in own} == {parent}
    assert {event.exe for event in own} == {"/bin/busybox"}


def test_long_paths_and_arguments_are_whole_or_cut_and_said(
    guest: LabGuest, probed: vmon.VirtualMachine
) -> None:
    name = "n" * 200
    deep = "/tmp/" + "/".join([name] * 6)
    argument = "a" * 5000
    script = f"mkdir -p {deep}; echo >{deep}/f; sh -c : {argument}; rm -r /tmp/{name}"
    events, _ = done_in(guest, probed, script, "file.open", "process.exec")
    assert f"{deep}/f" in paths(events, "file.open")
    told = next(e for e in events if e.cmdline and e.cmdline[:3] == ["sh", "-c", ":"])
    assert told.cut
    assert argument.startswith((told.cmdline or [""])[3])


def test_what_the_ring_does_not_hold_is_counted(guest: LabGuest, vm: vmon.VirtualMachine) -> None:
    stream = vm.event_stream("file.open")
    try:
        stream.start()
        before = {count.event: count for count in stream.counts()}["file.open"]
        guest.run("i=0; while [ $i -lt 6000 ]; do i=$((i+1)); : </etc/passwd; done", timeout_s=PATIENCE_S)
        told = [event for event in stream.take() if event.path == "/etc/passwd"]
        after = {count.event: count for count in stream.counts()}["file.open"]
        assert after.lost > before.lost
        assert after.seen - before.seen >= 6000
        assert 500 < len(told) < 6000
        guest.run(": </etc/hosts")
        assert "/etc/hosts" in paths(stream.take(), "file.open"), "it goes on"
    finally:
        stream.stop()
        vm.remove_probe()


@pytest.mark.smoke
def test_rules_refuse_before_it_happens(guest: LabGuest, probed: vmon.VirtualMachine) -> None:
    stream = probed.event_stream("file.open", "process.exec", "net.connect", "file.unlink")
    stream.start()
    guest.run("cp /bin/busybox /tmp/tool; cp /bin/busybox /tmp/cat; echo s >/tmp/secret; echo k >/tmp/kept")
    probed.add_rules(
        [
            Rule(events=("file.open",), path="/tmp/secret", unless_exe="/tmp/cat"),
            Rule(events=("process.exec",), path_suffix="/tool", errno=13),
            Rule(events=("net.connect",), address="127.0.0.0/8", port=80, action="kill"),
            Rule(events=("file.unlink", "file.rename"), path_prefix="/tmp/k", uid=0),
            Rule(events=("file.open",), path="/etc/hosts", name="nobody-has-this"),
        ]
    )
    said = guest.run(
        "cat /tmp/secret; /tmp/cat /tmp/secret; /tmp/tool true; rm /tmp/kept; mv /tmp/kept /tmp/x; cat /tmp/kept;"
        "head -1 /etc/hosts; busybox nc -w 1 127.0.0.1 80 </dev/null; echo $?"
    )
    assert said.text == "s\nk\n127.0.0.1 localhost\n137\n"
    errors = said.err.decode()
    assert errors.count("Operation not permitted") == 3
    assert errors.count("Permission denied") == 1
    verdicts = [(e.event, e.verdict, e.errno, e.rule) for e in stream.take() if e.verdict != "allowed"]
    assert verdicts == [
        ("file.open", "denied", 1, 1),
        ("process.exec", "denied", 13, 2),
        ("file.unlink", "denied", 1, 4),
        ("net.connect", "killed", 1, 3),
    ]
    assert [record.hits for record in probed.rules()] == [1, 1, 1, 2, 0]
    stream.stop()
    guest.run("rm -f /tmp/tool /tmp/cat; true")


def test_observing_refuses_nothing_and_tells_what_it_would(
    guest: LabGuest, probed: vmon.VirtualMachine
) -> None:
    stream = probed.event_stream("file.open")
    stream.start()
    rule = Rule(events=("file.open",), path="/etc/group")
    (added,) = probed.add_rules([rule])
    assert added.rule == rule
    probed.enforce(on=False)
    assert guest.run("head -1 /etc/group").text == "root:x:0:\n"
    assert [e.verdict for e in stream.take() if e.path == "/etc/group"] == ["would deny"]
    assert [record.rule for record in probed.rules()] == [rule]
    probed.enforce(on=True)
    assert guest.run("head -1 /etc/group").status == 1
    probed.drop_rules(added.number)
    probed.add_rules([msgspec.structs.replace(rule, observe=True)])
    assert guest.run("head -1 /etc/group").text == "root:x:0:\n"
    assert [e.verdict for e in stream.take() if e.path == "/etc/group"] == ["denied", "would deny"]
    stream.stop()


@pytest.mark.smoke
def test_somebody_is_asked_before_it_happens(guest: LabGuest, probed: vmon.VirtualMachine) -> None:
    asked: list[Event] = []

    def decide(event: Event) -> Answer:
        asked.append(event)
        if event.path == "/tmp/late":
            time.sleep(0.5)
        answers: dict[str | None, Answer] = {"/tmp/bad": "deny", "/tmp/worse": "kill"}
        return answers.get(event.path, "allow")

    guest.run("for f in good bad worse late unheard; do echo $f >/tmp/$f; done")
    stream = probed.event_stream("file.open", decide=decide)
    ask = {"action": "ask", "errno": 13, "timeout_ms": 30_000}
    probed.add_rules(
        [Rule(events=("file.open",), path=f"/tmp/{name}", **ask) for name in ("good", "bad", "worse", "late")]
    )  # type: ignore[arg-type]
    told: list[Event] = []
    done = threading.Event()

    def answer() -> None:
        while not done.is_set():
            told.extend(stream.follow(timeout_s=0.1))

    stream.start()
    thread = threading.Thread(target=answer)
    thread.start()
    try:
        said = guest.run("cat /tmp/good; cat /tmp/bad; cat /tmp/late; cat /tmp/worse; echo $?")
    finally:
        done.set()
        thread.join()
    told.extend(stream.take())
    assert said.text == "good\nlate\n137\n"
    assert said.err.decode().count("Permission denied") == 1
    assert [event.path for event in asked] == ["/tmp/good", "/tmp/bad", "/tmp/late", "/tmp/worse"]
    verdicts = [event.verdict for event in told if event.ask]
    assert verdicts == ["allowed", "denied", "allowed", "killed"]
    count = {count.event: count for count in stream.counts()}["file.open"]
    assert (count.asked, count.unanswered) == (4, 0)
    stream.stop()
    # Nobody answers any more: the fallback decides, and nobody waits.
    probed.add_rules([Rule(events=("file.open",), path="/tmp/unheard", fallback="allow", **ask)])  # type: ignore[arg-type]
    said = guest.run("cat /tmp/unheard; cat /tmp/good")
    assert (said.text, said.err.decode().count("Permission denied")) == ("unheard\n", 1)


def test_a_tree_a_cgroup_and_a_pattern(guest: LabGuest, probed: vmon.VirtualMachine) -> None:
    started = (
        "rm -f /tmp/tree-go; sh -c 'while [ ! -e /tmp/tree-go ]; do sleep 0.1; done; "
        'cat /etc/group; sh -c "cat /etc/group; cat /etc/passwd"\' >/tmp/out 2>&1 & echo $!'
    )
    pid = int(guest.run(started).text)
    key = probed.process(pid).key
    probed.add_rules(
        [
            Rule(events=("file.open",), path="/etc/group", tree=key),
            Rule(events=("file.open",), path_glob="/tmp/*.key", unless_name="head"),
        ]
    )
    said = guest.run(
        "touch /tmp/tree-go; mkdir -p /tmp/d; echo k >/tmp/a.kex; echo k >/tmp/d/a.key; echo k >/tmp/b.key;"
        "mv /tmp/a.kex /tmp/a.key;"
        "cat /tmp/a.key; head -1 /tmp/a.key; cat /tmp/d/a.key; cat /etc/group | head -1; wait"
    )
    assert said.text == "k\nk\nroot:x:0:\n"
    assert said.err.decode().count("Operation not permitted") == 2
    out = guest.run(
        "while ! grep -q root:x:0:0 /tmp/out; do sleep 0.1; done; cat /tmp/out", timeout_s=PATIENCE_S
    ).text
    assert out.count("Operation not permitted") == 2
    assert "root:x:0:0" in out
    assert [record.hits for record in probed.rules()] == [2, 2]
    probed.drop_rules()
    assert guest.run("cat /etc/group >/dev/null").status == 0
    assert probed.rules() == []


CONTAINER = "c0ffee" + "0" * 58
CONTAINED = f"""
mkdir -p /tmp/cg && mount -t cgroup2 none /tmp/cg 2>/dev/null; mkdir -p /tmp/cg/docker/{CONTAINER}/inner
sh -c 'echo $$ >/tmp/cg/docker/{CONTAINER}/inner/cgroup.procs; cat /etc/group; exec sleep 3000' >/tmp/out 2>&1 & echo $!
"""


def test_events_and_rules_of_one_container(guest: LabGuest, probed: vmon.VirtualMachine) -> None:
    stream = probed.event_stream("file.open", only=Only(containers=(CONTAINER[:9],)))
    stream.start()
    pid = int(guest.run(CONTAINED).text)
    guest.run("while ! grep -q root /tmp/out; do sleep 0.1; done", timeout_s=PATIENCE_S)
    time.sleep(1.1)
    key = probed.process(pid).key
    probed.add_rules(
        [Rule(events=("file.open",), path="/etc/group", cgroup_id=probed.cgroup_of(CONTAINER[:8]))]
    )
    guest.run(
        f"sh -c 'echo $$ >/tmp/cg/docker/{CONTAINER}/cgroup.procs; cat /etc/group /etc/hosts'; cat /etc/group"
    )
    told = stream.take()
    assert {event.container_id for event in told} == {CONTAINER}
    assert "/etc/hosts" in paths(told, "file.open")
    assert [event.verdict for event in told if event.path == "/etc/group"][-1] == "denied"
    assert [record.hits for record in probed.rules()] == [1], "the other shell is in no container"
    stream.stop()
    assert probed.signal(pid, signal.SIGKILL, key=key).done
    with pytest.raises(UsageError):
        probed.cgroup_of("abc")


def test_quarantine(guest: LabGuest, probed: vmon.VirtualMachine) -> None:
    script = (
        "while [ ! -e /tmp/go ]; do sleep 0.1; done 2>/dev/null; read line </etc/group; echo $line;"
        "echo x >/tmp/written; (echo y >/tmp/by-a-child); /bin/true; echo $((2+3)); while :; do read x </tmp/go; done"
    )
    # Its output is open before it is in quarantine, or it never would be.
    pid = int(
        guest.run(f"rm -f /tmp/go /tmp/quarantined; sh -c '{script}' >/tmp/quarantined 2>&1 & echo $!").text
    )
    guest.run("while [ ! -e /tmp/quarantined ]; do sleep 0.1; done", timeout_s=PATIENCE_S)
    added = probed.quarantine(pid)
    assert [record.rule.tree for record in added] == [probed.process(pid).key] * 2
    guest.run("echo 1 >/tmp/go; while ! grep -q 5 /tmp/quarantined; do sleep 0.1; done", timeout_s=PATIENCE_S)
    out = guest.run(
        "cat /tmp/quarantined; ls /tmp/written /tmp/by-a-child; echo free >/tmp/free; cat /tmp/free"
    )
    assert "root:x:0:" in out.text
    assert out.text.count("not permitted") >= 3
    assert out.text.endswith("free\n"), "others are not in it"
    assert out.err.decode().count("No such file") == 2
    assert probed.release(pid) == 2
    with pytest.raises(NoSuchProcess):
        probed.release(pid)
    with pytest.raises(UsageError):
        probed.quarantine(1)
    assert probed.signal(pid, signal.SIGKILL).done


def test_a_policy_from_the_command_line(guest: LabGuest, probed: vmon.VirtualMachine, tmp_path: Path) -> None:
    policy = tmp_path / "p.yaml"
    policy.write_text(
        "mode: enforce\nrules:\n  - {event: file.open, file.path: /etc/shadow, do: deny, errno: EACCES}\n"
        "  - {event: process.exec, file.name: nc, do: ask, fallback: deny}\n"
    )
    program = "from vmon.cli import main; main()"

    @contextlib.contextmanager
    def run(*words: str) -> Iterator[subprocess.Popen[str]]:
        command = [sys.executable, "-c", program, *words]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as started:
            try:
                yield started
            except BaseException:
                # Else a check that fails waits for its end, for ever.
                started.kill()
                raise

    with run("guard", guest.name, str(policy), "--answer", "deny", "-o", "jsonl") as guard:
        deadline = time.monotonic() + PATIENCE_S
        while len(probed.rules()) != 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        said = guest.run("cp /bin/busybox /tmp/nc; cat /etc/shadow; /tmp/nc -h; rm /tmp/nc")
        assert said.err.decode().count("ermission denied") == 1
        assert said.err.decode().count("not permitted") == 1
        assert guard.stdout is not None
        told = [json.loads(guard.stdout.readline()) for _ in range(2)]
        guard.send_signal(signal.SIGINT)
        guard.communicate(timeout=PATIENCE_S)
    assert [(found["event"]["path"], found["event"]["verdict"]) for found in told] == [
        ("/etc/shadow", "denied"),
        ("/tmp/nc", "denied"),
    ]
    assert probed.rules() == []
    with run("deny", guest.name, "file.open", "/etc/hosts", "--dry-run") as dry:
        deadline = time.monotonic() + PATIENCE_S
        while not probed.rules() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert dry.stdout is not None
        while not select.select([dry.stdout], [], [], 0.5)[0]:
            assert time.monotonic() < deadline
            assert guest.run("cat /etc/hosts >/dev/null").status == 0
        first = dry.stdout.readline()
        dry.send_signal(signal.SIGINT)
        _, err = dry.communicate(timeout=PATIENCE_S)
    assert "/etc/hosts  WOULD DENY by rule 1" in first, err
    assert probed.rules() == []


@pytest.mark.smoke
def test_a_process_is_stopped_goes_on_and_ends(guest: LabGuest, probed: vmon.VirtualMachine) -> None:
    pid = sleeping(guest)

    def state() -> bytes:
        said = guest.run(f"cat /proc/{pid}/stat").out
        return said.rsplit(b") ", 1)[1][:1] if said else b"-"

    def wait_for(states: bytes) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while state() not in states:
            assert time.monotonic() < deadline, state()

    key = probed.process(pid).key
    assert probed.signal(pid, signal.SIGSTOP).outcome == "sent"
    wait_for(b"T")
    assert probed.signal(pid, signal.SIGCONT, key=key).done
    wait_for(b"S")
    with pytest.raises(NoSuchProcess):
        probed.signal(pid, signal.SIGKILL, key=f"{pid}@1")
    assert state() == b"S"
    assert probed.signal(pid, signal.SIGKILL).done
    wait_for(b"Z-")
    for protected in (1, 2):
        with pytest.raises(UsageError):
            probed.signal(protected, signal.SIGKILL)


def test_a_watcher_that_is_killed_leaves_a_guest_that_goes_on(
    guest: LabGuest, vm: vmon.VirtualMachine
) -> None:
    program = "import sys; from vmon.cli import main; sys.argv = ['vmon', 'watch', sys.argv[1], '-o', 'jsonl']; main()"
    vm.add_rules([Rule(events=("file.open",), path="/etc/shadow")])
    try:
        for _ in range(2):
            with subprocess.Popen(
                [sys.executable, "-c", program, guest.name], stdout=subprocess.PIPE
            ) as watcher:
                assert watcher.stdout is not None
                while not select.select([watcher.stdout], [], [], 0.1)[0]:
                    assert watcher.poll() is None
                    guest.run("true")
                assert json.loads(watcher.stdout.readline())["event"]
                watcher.kill()
            said = guest.run("cat /etc/shadow; echo on")
            assert said.text == "on\n"
            assert b"not permitted" in said.err
        adopted = vm.install_probe()
        assert not adopted.installed
        events, _ = done_in(guest, vm, "cat /etc/hosts >/dev/null", "file.open")
        assert "/etc/hosts" in paths(events, "file.open")
        assert [record.hits for record in vm.rules()] == [2]
    finally:
        assert vm.remove_probe().patches > 0
    assert guest.run("cat /etc/shadow").status == 0
