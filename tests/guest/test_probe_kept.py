"""What a guest changes about its probe is noticed and put right; a guest that reboots gets its probe again."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest

import vmon
from tests.guest.conftest import LONG_VARIABLE
from tests.guest.untouched import assert_untouched
from vmon.core.address import Gpa
from vmon.core.errors import GuestRebooted, IdentifyError, NotSupported, ProbeTampered
from vmon.core.ports import Patch, WritePhys
from vmon.core.rules import Rule
from vmon.lab.guest import LabGuest
from vmon.monitor import machine
from vmon.probe.install import find, install
from vmon.probe.place import find_low_pages, find_slot
from vmon.probe.plan import undo
from vmon.probe.sites import read_text, survey
from vmon.transport.qemu import attach_qemu

PATIENCE_S = 180.0
ONE_PROBE_PAGES = 10
"""More low pages than one probe takes, fewer than two."""
PROGRAM = "import sys; from vmon.cli import main; sys.argv = ['vmon', *sys.argv[1:]]; main()"


class Intruder:
    """Changes the probe as the guest's own kernel could."""

    def __init__(self, vm: vmon.VirtualMachine) -> None:
        probe = find(vm.kernel, vm._ports())
        assert probe is not None
        self.probe = probe
        self.phys = vm.kernel.memory.phys
        self.write = vm._ports().write.write
        self.code = vm._ports().code
        assert self.probe.plan is None

        self.sites = survey(vm.kernel).strangers
        self.gpa_of = vm.kernel.memory.gpa
        self.slot = find_slot(vm.kernel).entry_gpa

    def change(self, gpa: Gpa, new: bytes) -> None:
        self.code.patch([Patch(gpa, self.phys.read(gpa, len(new)), new)])

    def flip(self, gpa: Gpa, bit: int) -> None:
        self.write(Gpa(gpa + bit // 8), bytes([self.phys.read(Gpa(gpa + bit // 8), 1)[0] ^ 1 << bit % 8]))

    def restore_a_site(self) -> None:
        text = read_text(self.probe.kernel)
        code = self.probe.window.read(0, len(self.probe.abi.code))
        (patch,) = undo(text.gva, text.gpa, code, [self.sites[0]], self.probe.abi)
        self.code.patch([patch])

    def change_code(self) -> None:
        """In the last entry, which no site leads to."""
        sizes = self.probe.abi.sizes
        (page,) = self.probe.window.pages((sizes["HOOKS"] - 1) * sizes["HOOK"], 1)
        self.change(Gpa(page + (sizes["HOOKS"] - 1) * sizes["HOOK"] % 4096 + 3), b"\x42")

    def change_config(self) -> None:
        self.probe.put("spin_ns", 1)

    def make_code_writable(self) -> None:
        self.flip(self.probe.window.table_gpa, 1)

    def mark_the_slot(self) -> None:
        """A bit that processors ignore."""
        self.flip(self.slot, 10)

    def stop_recording(self) -> None:
        self.probe.put("log_kinds", 0)

    def close_gates(self) -> None:
        at = self.probe.abi.sizes["CONFIG_AT"] + self.probe.abi.offset("config", "gates")
        self.probe.window.write(at, bytes(8))


DEEDS: list[tuple[Callable[[Intruder], None], str]] = [
    (Intruder.restore_a_site, "leads past the probe again"),
    (Intruder.change_code, "code at 0xffffffff80000"),
    (Intruder.change_config, "configuration at 0xffffffff800100"),
    (Intruder.make_code_writable, "page-table entry at 0xffffffff80000000"),
    (Intruder.mark_the_slot, "slot at 0xffffffff80000000"),
    (Intruder.stop_recording, "log_kinds is 0x0"),
    (Intruder.close_gates, "other events pass unseen"),
]


@pytest.mark.parametrize("adopted", [False, True], ids=["installed", "adopted"])
def test_each_change_of_the_probe_is_noticed_and_put_right(
    guest: LabGuest, vm: vmon.VirtualMachine, adopted: bool
) -> None:
    with pytest.raises(NotSupported):
        vm.check_probe()
    before = read_text(vm.kernel)
    with vmon.attach(guest.name) as other:
        installed = (other if adopted else vm).install_probe()
    try:
        stream = vm.event_stream("file.open")
        stream.start()
        intruder = Intruder(vm)
        assert vm.check_probe().intact
        for deed, said in DEEDS:
            deed(intruder)
            record = vm.check_probe()
            assert not record.intact
            (difference,) = record.differences
            assert said in difference.said
            vm.repair_probe()
            assert vm.check_probe().intact, said
        assert len(survey(vm.kernel).strangers) == installed.sites
        guest.run("cat /etc/hosts")
        assert "/etc/hosts" in [event.path for event in stream.take()]
        with vmon.attach(guest.name) as other:
            other.remove_probe()
        (difference,) = vm.check_probe().differences
        assert "taken out" in difference.said
        stream.stop()
        with pytest.raises(NotSupported), vmon.attach(guest.name) as other:
            other.check_probe()
    finally:
        vm.remove_probe()
    assert_untouched(read_text(vm.kernel), before)


class Watch:
    """`vmon watch` in a process of its own."""

    def __init__(self, target: str, *options: str) -> None:
        command = [sys.executable, "-c", PROGRAM, "watch", target, "-o", "jsonl", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert self.process.stdout is not None
        self._lines = self.process.stdout
        self._data = b""

    def wait_for(
        self, wanted: Callable[[dict[str, Any]], bool], meanwhile: Callable[[], object]
    ) -> dict[str, Any]:
        """The first object that is wanted; `meanwhile` is done again and again until it comes."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            *lines, self._data = self._data.split(b"\n")
            for number, line in enumerate(lines):
                found: dict[str, Any] = json.loads(line)
                if wanted(found):
                    self._data = b"\n".join([*lines[number + 1 :], self._data])
                    return found
            assert time.monotonic() < deadline, self.end()
            if select.select([self._lines], [], [], 0.1)[0]:
                more = os.read(self._lines.fileno(), 1 << 16)
                assert more, self.end()
                self._data += more
            else:
                meanwhile()

    def wait_for_notice(self, name: str) -> str:
        found = self.wait_for(lambda item: item["event"] == f"vmon.{name}", lambda: None)
        return str(found["said"])

    def wait_for_open(self, guest: LabGuest, path: str) -> None:
        self.wait_for(lambda item: item.get("path") == path, lambda: guest.run(f"cat {path}; true"))

    def end(self, number: int = signal.SIGINT) -> tuple[int, str]:
        """Exit status and what was said to a person."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        _, said = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, said.decode()


@contextmanager
def watching(target: str, *options: str) -> Iterator[Watch]:
    watch = Watch(target, *options)
    try:
        yield watch
    finally:
        watch.process.kill()
        watch.process.communicate()


@pytest.mark.parametrize("repair", [False, True], ids=["told", "repaired"])
def test_watch_tells_of_a_change(guest: LabGuest, vm: vmon.VirtualMachine, repair: bool) -> None:
    before = read_text(vm.kernel)
    with watching(guest.name, *["--repair"] * repair) as watch:
        watch.wait_for_open(guest, "/etc/hosts")
        intruder = Intruder(vm)
        intruder.restore_a_site()
        assert "leads past the probe again" in watch.wait_for_notice("tampered")
        if repair:
            assert watch.wait_for_notice("repaired")
            intruder.change_config()
            assert watch.wait_for_notice("tampered")
            assert watch.wait_for_notice("repaired")
        watch.wait_for_open(guest, "/etc/passwd")
        assert bool(vm.check_probe().differences) != repair
        vm.add_rules([Rule(events=("file.open",), path="/tmp/nobody")])
        assert watch.wait_for_notice("rules").endswith(": 1"), vm.rules()
        vm.drop_rules()
        status, said = watch.end()
    assert status == ProbeTampered.exit_code, said
    assert "tampered: instruction at 0xffffffff" in said
    vm.remove_probe()
    assert_untouched(read_text(vm.kernel), before)


def reset(guest: LabGuest) -> None:
    with attach_qemu(str(guest.qmp_sockets[-1])) as qemu:
        qemu.qmp.execute("system_reset")


def reboot(guest: LabGuest) -> None:
    guest.run("(sleep 0.2; reboot -f) >/dev/null 2>&1 &")


BOOTS = (reset, reboot) * (5 if os.environ.get(LONG_VARIABLE) else 1)


@pytest.mark.parametrize("kernel", ["5.10", "7.2"])
def test_a_guest_that_reboots_gets_its_probe_and_its_rules_again(kernel: str) -> None:
    name = f"again-{kernel}-{os.getpid()}"
    with LabGuest.up(name, kernel=kernel, cpus=2, allow_reboot=True) as guest:
        with vmon.attach(name) as vm:
            vm.add_rules(
                [
                    Rule(events=("file.open",), path="/etc/shadow"),
                    Rule(events=("file.open",), path="/etc/group", key=vm.process(1).key),
                ]
            )
            low_pages = find_low_pages(vm.kernel).pages
        with watching(name, "--persist") as watch:
            watch.wait_for_open(guest, "/etc/hosts")
            for number, boot in enumerate(BOOTS):
                boot(guest)
                watch.wait_for_notice("rebooted")
                said = watch.wait_for_notice("installed")
                assert "1 rules in force again" in said
                assert ("1 not: they speak of a process" in said) == (number == 0)
                guest.wait_ready()
                watch.wait_for_open(guest, "/etc/hosts")
                refused = guest.run("cat /etc/shadow")
                assert (refused.out, b"not permitted" in refused.err) == (b"", True)
            status, said = watch.end()
        assert status == 0, said
        assert said.count("rebooted: ") == len(BOOTS)
        with vmon.attach(name) as vm:
            assert [record.rule.path for record in vm.rules()] == ["/etc/shadow"]
            assert vm.check_probe().intact
            assert find_low_pages(vm.kernel).pages == low_pages, "what the old probes used is used again"
            vm.remove_probe()
        assert guest.run("cat /etc/shadow").status == 0
        assert "WARNING:" not in guest.console and "Oops" not in guest.console


def test_what_a_reset_overwrites_is_no_tampering(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is seen before the reset is, where nobody asks the hypervisor; then it is asked."""
    name = f"wiped-{os.getpid()}"
    with LabGuest.up(name, kernel="7.2", allow_reboot=True) as guest, vmon.attach(name) as vm:
        vm.install_probe()
        assert vm.check_probe().intact
        (page,) = vm._active_probe().window.pages(vm._active_probe().abi.sizes["CONFIG_AT"], 1)
        there = vm.ram.read(page, 16)
        monkeypatch.setattr(machine, "HYPERVISOR_CHECK_S", 1e9)
        monkeypatch.setattr(machine, "CLOCK_ALARM_S", 1e9)
        reset(guest)
        deadline = time.monotonic() + PATIENCE_S
        while vm.ram.read(page, 16) == there:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        with pytest.raises((IdentifyError, NotSupported)):
            vm.check_probe()


def test_a_guest_that_reboots_ends_the_watching() -> None:
    name = f"ends-{os.getpid()}"
    with LabGuest.up(name, kernel="6.1", cpus=2, allow_reboot=True) as guest:
        with watching(name) as watch:
            watch.wait_for_open(guest, "/etc/hosts")
            reset(guest)
            watch.wait_for_notice("rebooted")
            watch.process.wait(PATIENCE_S)
            status, said = watch.end()
        assert status == GuestRebooted.exit_code
        assert "--persist" in said
        guest.wait_ready()
        with vmon.attach(name) as vm:
            with pytest.raises(NotSupported):
                vm.rules()
            assert vm.install_probe().installed
            assert vm.remove_probe().patches > 0


class Dying:
    """WritePhys of a vmon that dies before its n-th write."""

    def __init__(self, write: WritePhys, after: int) -> None:
        self._write = write
        self._left = after

    def write(self, gpa: Gpa, data: bytes) -> None:
        if not self._left:
            raise InterruptedError
        self._left -= 1
        self._write.write(gpa, data)


def test_a_probe_that_never_came_to_be_costs_no_page() -> None:
    """On the kernel with the fewest low pages, where two such deaths were once the end of it."""
    with LabGuest.up(f"place-{os.getpid()}", kernel="5.10") as guest, vmon.attach(guest.name) as vm:
        ports = vm._ports()
        pages = find_low_pages(vm.kernel).pages
        deaths = 0
        while find_slot(vm.kernel).free:
            with suppress(InterruptedError):
                install(vm.kernel, replace(ports, write=Dying(ports.write, deaths)))
            deaths += 1
        assert deaths > 10
        vm.install_probe()
        assert pages - find_low_pages(vm.kernel).pages <= ONE_PROBE_PAGES
        assert vm.check_probe().intact
        assert guest.run("cat /etc/hosts").status == 0
        assert vm.remove_probe().patches > 0


def test_handlers_and_loops_of_a_guest_that_reboots() -> None:
    with (
        LabGuest.up(f"handlers-{os.getpid()}", kernel="6.1", allow_reboot=True) as guest,
        vmon.attach(guest.name) as vm,
    ):
        notices: list[str] = []
        vm.hub.persist = True
        vm.hub.hear(lambda notice: notices.append(notice.event))
        vm.add_rules([Rule(events=("file.open",), path="/of/a/process", tree=vm.process(1).key)])

        @vm.on("file.open", path="/etc/hosts", fallback="allow", timeout_ms=20_000)
        def refuse(event: vmon.Event) -> vmon.Decision:
            return vmon.DENY

        assert guest.run("cat /etc/hosts").status == 1
        deadline = time.monotonic() + PATIENCE_S
        # Within a tenth of a second it has seen which rules there are to put in again.
        while vm.hub._keeper._written != vm.rules_written:  # type: ignore[union-attr]
            assert time.monotonic() < deadline
            time.sleep(0.02)
        reset(guest)
        while "vmon.installed" not in notices:
            assert time.monotonic() < deadline, notices
            time.sleep(0.1)
        guest.wait_ready()
        assert [record.rule.path for record in vm.rules()] == ["/etc/hosts"], "its number is another one now"
        # The handler's thread may be asked a moment after the rule is there.
        while guest.run("cat /etc/hosts").status != 1:
            assert time.monotonic() < deadline, notices
        vm.off(refuse)
        assert vm.rules() == []
        vm.hub.persist = False
        events = vm.events("process.exec")
        reset(guest)
        with pytest.raises(GuestRebooted):
            for _ in events:
                pass
        assert not vm.hub.running
        assert "vmon.rebooted" in notices[2:]
