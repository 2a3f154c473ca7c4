"""The short calls of the interface on live guests: rules by keywords, loops, questions, threads, asyncio."""

from __future__ import annotations

import asyncio
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import vmon
from tests.guest.conftest import say
from vmon.core.errors import NoSuchProcess, UsageError
from vmon.lab.guest import LabGuest

pytestmark = pytest.mark.parametrize("guest", ["6.1", "7.2"], indirect=True)
WAIT_S = 60


@pytest.fixture
def probed(vm: vmon.VirtualMachine) -> Iterator[vmon.VirtualMachine]:
    """Whatever a test does, nothing of it is left: no rule, no thread, no probe."""
    yield vm
    vm.remove_probe()
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("vmon")] == []


def eventually(done: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def refused(guest: LabGuest, script: str) -> bool:
    return guest.run(script, timeout_s=60).status != 0


def test_rules_by_keywords(guest: LabGuest, probed: vmon.VirtualMachine) -> None:
    say(guest, "mkdir -p /tmp/api; for f in a.key b.key c; do echo $f >/tmp/api/$f; done")
    rules = probed.deny(
        "file.open", path=["/tmp/api/*.key", "/tmp/api/c"], unless_name="head", errno="EACCES"
    )
    assert len(rules) == len(rules.numbers) == 2
    assert refused(guest, "cat /tmp/api/a.key")
    assert refused(guest, "cat /tmp/api/c")
    assert say(guest, "head -1 /tmp/api/a.key") == "a.key\n"
    rules.drop()
    rules.drop()
    assert say(guest, "cat /tmp/api/c") == "c\n"
    with probed.allow("file.open", path="/tmp/api/a.key"), probed.deny("file.open", path_prefix="/tmp/api/"):
        assert say(guest, "cat /tmp/api/a.key") == "a.key\n"
        assert refused(guest, "cat /tmp/api/b.key")
    with (
        probed.deny("file.open", path="/tmp/api/c", write=True),
        probed.log("file.unlink", path="/tmp/api/c"),
    ):
        assert say(guest, "cat /tmp/api/c") == "c\n"
        assert refused(guest, "echo more >>/tmp/api/c")
    assert probed.rules() == []
    with pytest.raises(UsageError, match="init too"):
        probed.deny("file.open")
    with pytest.raises(UsageError, match=r"no event 'file\.opened'"):
        probed.deny("file.opened", path="/x")
    say(guest, "rm -r /tmp/api")


def test_what_is_done_to_a_process(guest: LabGuest, probed: vmon.VirtualMachine) -> None:
    shell = int(say(guest, "sh -c 'sleep 4001 & sleep 4002 & wait' >/dev/null 2>&1 & echo $!"))
    parent = probed.process(shell)
    eventually(
        lambda: {child.name for child in parent.children()} == {"sleep"} and len(parent.children()) == 2
    )
    first, second = parent.children()
    assert first.parent() == parent
    assert parent in first.parents()
    assert first in probed.process(1).children(recursive=True)
    assert parent.suspend().outcome == "sent"
    eventually(lambda: probed.process(shell).status() == "stopped")
    parent.resume()
    eventually(lambda: probed.process(shell).status() == "sleeping")
    first.kill()
    first.wait(WAIT_S)
    second.send_signal(signal.SIGTERM)
    second.wait(WAIT_S)
    eventually(lambda: not parent.is_running())
    with pytest.raises(NoSuchProcess):
        parent.kill()
    with pytest.raises(UsageError):
        probed.process(1).kill()


def test_what_a_target_lacks_is_named(guest: LabGuest, vm: vmon.VirtualMachine, tmp_path: Path) -> None:
    with vmon.attach(guest.name, needs=("live", "probe", "file.open", "net.connect")) as other:
        assert other.can("process.exec")
        assert len(other.abilities) == 5 + 25
    file = tmp_path / "g.elf"
    vmon.dump(guest.name, file)
    with pytest.raises(vmon.NotSupported, match=r"lacks live, probe: .*dump"):
        vmon.attach(f"dump:{file}", needs=("read", "live", "probe"))
    with vmon.attach(f"dump:{file}") as dump:
        assert not dump.can("net.connect")
        process = dump.process(1)
        for call in (
            process.kill,
            lambda: dump.deny("file.open", path="/x"),
            lambda: dump.events("file.open"),
            lambda: dump.on("net.connect")(lambda _: vmon.ALLOW),
        ):
            with pytest.raises(vmon.NotSupported, match="dump") as caught:
                call()
            assert "doctor" in caught.value.hint
        assert "Linux" in dump._repr_html_()
        assert "<td>init" in dump.processes()._repr_html_() or "<td>" in dump.processes()._repr_html_()


def test_several_loops_and_handlers_share_one_reader(
    guest: LabGuest, probed: vmon.VirtualMachine, caplog: pytest.LogCaptureFixture
) -> None:
    say(guest, "for f in a b c d; do echo $f >/tmp/api-$f; done")
    asked: list[str | None] = []
    opens, execs = probed.events("file.open"), probed.events("process.exec")

    @probed.on("file.open", path="/tmp/api-a", timeout_ms=20_000, errno="EACCES")
    def deny(event: vmon.Event) -> vmon.Decision:
        asked.append(event.path)
        return vmon.DENY

    @probed.on("file.open", path="/tmp/api-b", timeout_ms=20_000)
    async def kill(event: vmon.Event) -> vmon.Decision:
        await asyncio.sleep(0)
        asked.append(event.path)
        return vmon.KILL

    @probed.on("file.open", path="/tmp/api-c", timeout_ms=20_000, fallback="allow")
    def broken(event: vmon.Event) -> vmon.Decision:
        raise KeyError(event.path)

    with pytest.raises(UsageError, match="one reader"):
        probed.event_stream("file.open")
    with caplog.at_level(logging.ERROR, "vmon"):
        done = guest.run(
            "cat /tmp/api-a; cat /tmp/api-b; echo $?; cat /tmp/api-c; cat /tmp/api-d", timeout_s=60
        )
    assert done.text == "137\nc\nd\n"
    assert b"ermission denied" in done.err
    assert asked == ["/tmp/api-a", "/tmp/api-b"]
    assert "broken: file.open raised" in caplog.text
    told: dict[str, str] = {}

    def all_told() -> bool:
        for event in opens.take():
            if event.path is not None and event.path.startswith("/tmp/api-"):
                told[event.path[-1]] = event.verdict
        return len(told) == 4

    eventually(all_told)
    assert told == {"a": "denied", "b": "killed", "c": "allowed", "d": "allowed"}
    assert any(event.cmdline == ["cat", "/tmp/api-d"] for event in execs.take())
    count = {count.event: count for count in probed.hub.counts()}["file.open"]
    assert (count.asked, count.unanswered) == (3, 0)
    assert (opens.lost, execs.lost) == (0, 0)
    probed.off(deny)
    assert say(guest, "cat /tmp/api-a") == "a\n"
    with pytest.raises(UsageError):
        probed.off(deny)
    assert [record.rule.path for record in probed.rules()] == ["/tmp/api-b", "/tmp/api-c"]
    probed.off(kill)
    probed.off(broken)
    opens.close()
    execs.close()
    assert not probed.hub.running
    say(guest, "rm /tmp/api-?")


def test_closing_drops_the_handlers_rules_alone(guest: LabGuest, probed: vmon.VirtualMachine) -> None:
    with vmon.attach(guest.name) as other:
        kept = other.deny("file.open", path="/etc/nothing")

        @other.on("file.open", path="/etc/hosts")
        def ask(event: vmon.Event) -> vmon.Decision:
            return vmon.DENY

        assert refused(guest, "cat /etc/hosts")
        started = time.monotonic()
        other.run(timeout_s=0.2)
        assert time.monotonic() - started >= 0.2
    assert not refused(guest, "cat /etc/hosts")
    assert [record.rule for record in probed.rules()] == [record.rule for record in kept]


KILLED = """
import sys, vmon
vm = vmon.attach(sys.argv[1])
@vm.on("file.open", path="/etc/hosts", fallback="allow")
def deny_hosts(event): return vmon.DENY
@vm.on("file.open", path="/etc/group", fallback="deny")
def allow_group(event): return vmon.ALLOW
print("ready", flush=True)
vm.run()
"""


def test_of_a_program_that_is_killed_the_fallbacks_decide(
    guest: LabGuest, probed: vmon.VirtualMachine
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, guest.name], stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        assert refused(guest, "cat /etc/hosts")
        assert not refused(guest, "cat /etc/group")
        running.kill()
    assert not refused(guest, "cat /etc/hosts")
    assert refused(guest, "cat /etc/group")
    assert len(probed.rules()) == 2


def test_async(guest: LabGuest, probed: vmon.VirtualMachine) -> None:
    async def main() -> tuple[list[str | None], bool]:
        loop = asyncio.get_running_loop()
        loops: list[object] = []

        @probed.on("file.open", path="/etc/hosts", timeout_ms=20_000)
        async def ask(event: vmon.Event) -> vmon.Decision:
            loops.append(asyncio.get_running_loop())
            return vmon.DENY

        async def act() -> bool:
            return await asyncio.to_thread(refused, guest, "cat /etc/passwd >/dev/null; cat /etc/hosts")

        acting = None
        seen: list[str | None] = []
        async for event in probed.aevents("file.open", timeout_s=WAIT_S):
            # A call in the loop itself works too, as in a notebook.
            assert probed.process(1).pid == 1
            if event.path in ("/etc/passwd", "/etc/hosts"):
                seen.append(event.path)
            if event.path == "/etc/hosts":
                break
            acting = acting or asyncio.create_task(act())
        assert acting is not None
        was_refused = await acting
        assert loops == [loop]
        await asyncio.to_thread(probed.off, ask)
        return seen, was_refused

    stop = threading.Event()

    def busy() -> None:
        while not stop.wait(0.2):
            guest.run("cat /etc/issue", timeout_s=60)

    # Something has to happen for the loop to begin: there is no event for "subscribed".
    thread = threading.Thread(target=busy)
    thread.start()
    try:
        seen, was_refused = asyncio.run(main())
    finally:
        stop.set()
        thread.join()
    assert was_refused
    assert seen[-2:] == ["/etc/passwd", "/etc/hosts"]


def test_threads_that_read_and_act_and_watch_at_once(  # noqa: PLR0915 - seven threads, each a few lines
    guest: LabGuest, probed: vmon.VirtualMachine
) -> None:
    pids = [int(word) for word in say(guest, "for n in 1 2 3; do sleep 5000 & echo $!; done").split()]
    faults: list[BaseException] = []
    ended = threading.Event()
    did = dict.fromkeys(("read", "share", "wide", "act", "rule", "watch", "ask"), 0)
    shared = probed.processes()

    def read() -> None:
        found = {process.pid: process for process in probed.processes()}
        assert set(pids) <= set(found)
        assert found[pids[0]].exe == "/bin/busybox"
        assert found[pids[0]].cmdline == ["sleep", "5000"]

    def share() -> None:
        # All threads read what lies behind the same snapshot, each in another order.
        for process in (shared, shared[::-1])[did["share"] % 2]:
            if process.pid == 1:
                assert (process.exe, process.cwd) == ("/bin/busybox", "/")
                assert len(process.files()) >= 0

    def wide() -> None:
        assert any(item.mount_point == "/proc" for item in probed.mounts())
        assert probed.guest.hostname

    def act() -> None:
        assert probed.process(pids[1]).suspend().done
        assert probed.process(pids[1]).resume().done

    def rule() -> None:
        with probed.deny("file.open", path=f"/nowhere/{did['rule']}") as rules:
            assert len(rules) == 1

    def watch() -> None:
        for event in probed.events("file.open", timeout_s=WAIT_S):
            assert event.event == "file.open"
            break

    def ask() -> None:
        assert refused(guest, "cat /etc/hosts")

    def again(name: str, work: Callable[[], None]) -> None:
        try:
            while not ended.is_set():
                work()
                did[name] += 1
        except BaseException as error:
            faults.append(error)
            ended.set()

    @probed.on("file.open", path="/etc/hosts", timeout_ms=30_000)
    def answer(event: vmon.Event) -> vmon.Decision:
        return vmon.DENY if probed.process(event.pid).name == "cat" else vmon.ALLOW

    works = {"read": read, "share": share, "wide": wide, "act": act, "rule": rule, "watch": watch, "ask": ask}
    threads = [threading.Thread(target=again, args=item) for item in works.items()]
    threads += [threading.Thread(target=again, args=("share", share)) for _ in range(2)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + WAIT_S
    while not ended.is_set() and time.monotonic() < deadline and min(did.values()) < 5:
        time.sleep(0.1)
    ended.set()
    for thread in threads:
        thread.join(WAIT_S)
        assert not thread.is_alive()
    assert faults == []
    assert min(did.values()) >= 1, did
    probed.off(answer)
    assert probed.rules() == []
    assert probed.check_probe().intact
    say(guest, f"kill {' '.join(map(str, pids))}")
