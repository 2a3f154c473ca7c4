"""The ways into a function, and what of them is looked at when."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

import vmon
from tests.guest.conftest import ONE_CPU, sleeping
from tests.guest.test_probe_safety import complaints
from tests.guest.untouched import assert_untouched
from vmon.core.errors import NotSupported
from vmon.core.rules import Rule
from vmon.lab.guest import LabGuest
from vmon.probe import install, sites


@pytest.fixture(autouse=True)
def no_complaint(guest: LabGuest) -> Iterator[None]:
    before = complaints(guest)
    yield
    assert complaints(guest) <= before


@pytest.fixture
def vm(vm: vmon.VirtualMachine) -> Iterator[vmon.VirtualMachine]:
    yield vm
    vm.remove_probe()


@pytest.mark.smoke
def test_every_function_by_its_entry(guest: LabGuest, vm: vmon.VirtualMachine) -> None:
    """It tells, refuses, signals, is adopted, and gives back every nop, also by a vmon that did not put it in."""
    text = sites.read_text(vm.kernel)
    found = sites.survey(vm.kernel, prefer="entry nop")
    parts = [part for event in (*found.events, *found.ticks) for part in event.parts]
    assert {part.how for part in parts} == {"entry nop"}
    guest.run("echo s >/tmp/secret; cp /bin/busybox /tmp/nc")
    pid = sleeping(guest)
    installed = vm.install_probe(prefer="entry nop")
    assert installed.sites == len(parts)
    assert not installed.not_seen
    stream = vm.event_stream()
    stream.start()
    guest.run("echo x >/tmp/made; mv /tmp/made /tmp/moved; rm /tmp/moved; nc -l -p 4322 -w 1 127.0.0.1")
    seen = {(event.event, event.path) for event in stream.take()}
    assert {
        "process.fork",
        "process.exec",
        "process.exit",
        "file.open",
        "net.bind",
        "net.listen",
    } <= {name for name, _ in seen}
    deeds = {("file.create", "/tmp/made"), ("file.rename", "/tmp/made"), ("file.unlink", "/tmp/moved")}
    assert deeds <= seen
    stream.stop()
    assert vm.signal(pid, signal.SIGCONT).done
    vm.add_rules(
        [Rule(events=("file.open",), path="/tmp/secret"), Rule(events=("process.exec",), path="/tmp/nc")]
    )
    for _ in range(20):
        said = guest.run("cat /tmp/secret; /tmp/nc -h; cat /etc/passwd >/dev/null && echo on")
        assert said.text == "on\n"
        assert said.err.decode().count("not permitted") == 2
    with vmon.attach(guest.name) as other:
        assert not other.install_probe().installed
        assert [record.hits for record in other.rules()] == [20, 20]
        assert other.signal(pid, signal.SIGKILL).done
        assert other.remove_probe().patches == installed.sites
    assert_untouched(sites.read_text(vm.kernel), text)
    assert guest.run("cat /tmp/secret; rm /tmp/secret /tmp/nc").text == "s\n"


@pytest.mark.parametrize("guest", ONE_CPU, indirect=True)
def test_an_entry_that_the_guest_traces_is_left_to_it(guest: LabGuest, vm: vmon.VirtualMachine) -> None:
    """By its function tracer; the calls are taken instead, and both see the event."""
    tracing = "/sys/kernel/tracing"
    guest.run(
        f"mount -t tracefs none {tracing}; cd {tracing} && echo security_file_open >set_ftrace_filter &&"
        " echo function >current_tracer && echo 1 >tracing_on",
        check=True,
    )
    try:
        ways = {event.event.name: event.how for event in sites.survey(vm.kernel, prefer="entry nop").events}
        assert {event for event, how in ways.items() if how != "entry nop"} == {"file.open"}
        assert ways["file.open"] == "call sites"
        vm.install_probe(prefer="entry nop")
        stream = vm.event_stream("file.open")
        stream.start()
        guest.run("cat /etc/hosts")
        assert "/etc/hosts" in [event.path for event in stream.take()]
        stream.stop()
        assert "security_file_open <-" in guest.run(f"cat {tracing}/trace | tail -5").text
    finally:
        guest.run(f"cd {tracing} && echo nop >current_tracer; echo >set_ftrace_filter", check=True)


def test_a_known_probe_is_looked_at_without_the_text(
    guest: LabGuest, vm: vmon.VirtualMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each act after the first; and one that was taken out by somebody else is not taken for whole."""
    read: list[str] = []

    def read_text(kernel: sites.Kernel) -> sites.Text:
        read.append("text")
        return sites.read_text(kernel)

    monkeypatch.setattr(install, "read_text", read_text)
    pid = sleeping(guest)
    vm.install_probe()
    read.clear()
    vm.add_rules([Rule(events=("file.open",), path="/tmp/nobody")])
    for _ in range(3):
        vm.rules()
        assert vm.signal(pid, signal.SIGCONT).done
        assert vm.enforcing
        vm.event_stream("file.open")
    assert read == []
    with vmon.attach(guest.name) as other:
        for _ in range(3):
            assert len(other.rules()) == 1
        assert read == ["text"], "it had to be found once"
        other.remove_probe()
    with pytest.raises(NotSupported):
        vm.rules()
    assert vm.signal(pid, signal.SIGKILL).done, "it is put in again"
