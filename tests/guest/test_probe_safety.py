"""Whoever dies, and whenever, the guest goes on, what is enforced stays enforced, and the next vmon takes over."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import vmon
from tests.guest.conftest import LONG_VARIABLE, sleeping
from tests.guest.pauses import PauseLog
from tests.guest.untouched import assert_untouched
from tests.guest.victim import ASKED, PAUSES, Victim
from vmon.core.rules import Rule
from vmon.lab.guest import LabGuest
from vmon.linux.system import read_jiffies
from vmon.probe.place import find_slot
from vmon.probe.sites import read_text, survey

LONG = bool(os.environ.get(LONG_VARIABLE))
MOMENTS = 40 if LONG else 10
CYCLES = 500 if LONG else 15
SEED = 2013
KERNELS_UNDER_KVM = ("6.1", "7.2")
PROMISE_S = 0.1
RESCUE_S = 4.0
"""A pause outlives its owner by some milliseconds; here there is room for a busy machine."""
PATIENCE_S = 120.0


def complaints(guest: LabGuest) -> set[str]:
    said = guest.run("dmesg").text.splitlines()
    return {line for line in said if any(word in line for word in ("Oops", "WARNING:", "BUG:", "ftrace bug"))}


@pytest.fixture(autouse=True)
def no_complaint(guest: LabGuest) -> Iterator[None]:
    # Of the machine that it runs on a kernel may complain as it boots.
    before = complaints(guest)
    yield
    assert complaints(guest) <= before


class Bystander:
    """A guest as it was before anybody came: text, and the sites that a probe changes."""

    def __init__(self, guest: LabGuest) -> None:
        self.guest = guest
        self.pid = sleeping(guest)
        opens = f"while :; do cat {ASKED}; usleep 10000; done"
        guest.run(f"echo s >/tmp/secret; echo a >{ASKED}")
        self.opener = int(guest.run(f"sh -c '{opens}' >/dev/null 2>&1 & echo $!").text)
        with vmon.attach(guest.name) as vm:
            self.text = read_text(vm.kernel)
            assert not survey(vm.kernel).strangers
            self.sites = vm.install_probe().sites
            vm.remove_probe()

    def require_goes_on(self, vm: vmon.VirtualMachine) -> None:
        """It answers, and its clock moves."""
        before = read_jiffies(vm.kernel)
        assert self.guest.run("echo on").out == b"on\n"
        deadline = time.monotonic() + PATIENCE_S
        while read_jiffies(vm.kernel) == before:
            assert time.monotonic() < deadline, "its clock stands still"

    def refuses(self) -> bool:
        said = self.guest.run("cat /tmp/secret")
        return said.out == b"" and b"not permitted" in said.err

    def require_whole(self, vm: vmon.VirtualMachine) -> None:
        """Events are seen by every site, and come."""
        vm.install_probe()
        assert len(survey(vm.kernel).strangers) == self.sites
        stream = vm.event_stream("file.open")
        stream.start()
        self.guest.run("cat /etc/hosts")
        assert "/etc/hosts" in [event.path for event in stream.take()]
        stream.stop()

    def require_clean(self, vm: vmon.VirtualMachine) -> None:
        """Nothing of the probe is left in the kernel's text."""
        vm.remove_probe()
        assert_untouched(read_text(vm.kernel), self.text)

    def end(self) -> None:
        self.guest.run(f"kill {self.pid} {self.opener}; rm -f /tmp/secret {ASKED}")


@pytest.fixture
def bystander(guest: LabGuest) -> Iterator[Bystander]:
    found = Bystander(guest)
    yield found
    with vmon.attach(guest.name) as vm:
        vm.remove_probe()
    found.end()


@pytest.mark.parametrize("adopts", [False, True], ids=["alone", "adopting"])
def test_kill_minus_nine_at_any_moment(guest: LabGuest, bystander: Bystander, adopts: bool) -> None:
    """At a random moment of a random stage; each time another vmon adopts the probe or takes it out."""
    dice = random.Random(f"{SEED} {guest.record.series} {adopts}")
    if adopts:
        with vmon.attach(guest.name) as vm:
            vm.add_rules([Rule(events=("file.open",), path="/tmp/secret")])
    lengths = Victim(guest.name, bystander.pid, adopts=adopts).rehearse()
    hit: Counter[str] = Counter()
    pauses = []
    with PauseLog(guest.qmp_sockets[-1]) as log:
        for number in range(MOMENTS // 2):
            stage, part = dice.choice([*lengths, *PAUSES] if not adopts else list(lengths)), dice.random()
            where = f"moment {number}: {part:.2f} of {stage}"
            victim = Victim(guest.name, bystander.pid, adopts=adopts)
            victim.wait_for(stage)
            time.sleep(part * lengths[stage])
            killed = time.time()
            victim.kill()
            log.wait_until_running()
            hit[stage] += 1
            if (lasted := log.seconds_after(killed)) is not None:
                pauses.append(lasted)
                assert lasted < RESCUE_S, where
            with vmon.attach(guest.name) as vm:
                bystander.require_goes_on(vm)
                assert bystander.refuses() == adopts, where
                if adopts or number % 2:
                    bystander.require_whole(vm)
                if adopts:
                    others = [record.number for record in vm.rules() if record.rule.path != "/tmp/secret"]
                    if others:
                        vm.drop_rules(*others)
                    assert bystander.refuses(), where
                else:
                    bystander.require_clean(vm)
    late = sum(pause > PROMISE_S for pause in pauses)
    print(
        f"{guest.record.series}{' adopting' * adopts}: {sum(hit.values())} moments, {dict(hit)}; {len(pauses)} in a"
        f" pause, which lasted {[round(1000 * pause, 1) for pause in pauses]} ms more, {late} over 100 ms"
    )


@pytest.mark.smoke
def test_kill_minus_nine_in_the_pause(guest: LabGuest, bystander: Bystander) -> None:
    """Half of the instructions are changed, or changed back, when it dies: the next vmon does the rest."""
    if guest.record.accel == "kvm" and guest.record.series not in KERNELS_UNDER_KVM:
        pytest.skip("twenty seconds a kernel in an emulated host; two kernels tell what KVM does")
    with PauseLog(guest.qmp_sockets[-1]) as log:
        for stage in PAUSES:
            victim = Victim(guest.name, bystander.pid, adopts=False)
            victim.wait_for(stage)
            victim.kill()
            log.wait_until_running()
            with vmon.attach(guest.name) as vm:
                bystander.require_goes_on(vm)
                if stage == PAUSES[0]:
                    bystander.require_whole(vm)
                bystander.require_clean(vm)


LOAD = """
for i in 1 2; do
    sh -c 'while :; do cat /etc/passwd >/dev/null; done' >/dev/null 2>&1 & echo $!
    sh -c 'while :; do /lab/workload storm 5; done' >/dev/null 2>&1 & echo $!
done
"""


@contextmanager
def load(guest: LabGuest) -> Iterator[None]:
    """Both vCPUs open, fork and exec as fast as they can."""
    pids = guest.run(LOAD).text.split()
    try:
        yield
    finally:
        guest.run(f"kill -9 {' '.join(pids)}; killall -9 workload; true")


def test_in_and_out_under_load(guest: LabGuest, vm: vmon.VirtualMachine) -> None:
    before = survey(vm.kernel)
    text = read_text(vm.kernel)
    sites = vm.install_probe().sites
    vm.remove_probe()
    slot = find_slot(vm.kernel)
    begin = time.monotonic()
    with load(guest):
        for number in range(CYCLES):
            assert vm.install_probe().sites == sites
            if number % 10 == 0:
                stream = vm.event_stream("file.open", "process.exec", "process.fork")
                stream.start()
                missing = {"file.open", "process.exec", "process.fork"}
                for event in stream.follow(timeout_s=PATIENCE_S):
                    missing.discard(event.event)
                    if not missing:
                        break
                assert not missing
                stream.stop()
            assert vm.remove_probe().patches == sites
    assert survey(vm.kernel) == before
    assert_untouched(read_text(vm.kernel), text)
    assert find_slot(vm.kernel) == slot
    print(f"{guest.record.series}: {CYCLES} times in and out in {time.monotonic() - begin:.0f} s")
