from __future__ import annotations

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from vmon.core.errors import BadStructure, GuestRebooted, NoKernelYet
from vmon.core.records.probe import CheckRecord, DifferenceRecord, NoticeRecord
from vmon.core.rules import Rule, RuleRecord
from vmon.monitor import keeping
from vmon.monitor.keeping import Keeper, outlives

SITE = DifferenceRecord(what="instruction", address=1, expected="", found="", said="a site leads elsewhere")
BREAKPOINT = DifferenceRecord(what="instruction", address=2, expected="", found="", said="a breakpoint")
OUT = DifferenceRecord(what="probe", address=0, expected="", found="", said="the probe was taken out")
LASTING = Rule(events=("file.open",), path="/x")
OF_A_PROCESS = Rule(events=("file.open",), tree="7@7")


class FakeVm:
    """A guest to which something happens at each look."""

    def __init__(self) -> None:
        self.acting = threading.RLock()
        self.rules_written = 0
        self.reboots = 0
        self.booting = 0
        self.found: list[DifferenceRecord] = []
        self.in_force: list[Rule] = []
        self.enforcing = True
        self.streams = self.repairs = self.installs = 0
        self.script: Iterator[Any] = iter(())

    @property
    def kernel(self) -> object:
        if self.booting:
            self.booting -= 1
            if not self.booting:
                self.reboots += 1
                self.in_force = []
            raise NoKernelYet("boots")
        return self

    def process(self, _: int) -> object:
        assert self.kernel
        return SimpleNamespace(exe="/init")

    def install_probe(self, _: int) -> object:
        self.installs += 1
        return SimpleNamespace(sites=44, paused_ms=4.2)

    def check_probe(self) -> CheckRecord:
        return CheckRecord(intact=not self.found, differences=self.found, took_ms=0.1)

    def repair_probe(self) -> None:
        self.repairs += 1
        self.found = [found for found in self.found if found is BREAKPOINT]

    def rules(self) -> list[RuleRecord]:
        return [RuleRecord(number=row, hits=0, rule=rule) for row, rule in enumerate(self.in_force, start=1)]

    def rules_digest(self) -> bytes:
        return repr((self.in_force, self.enforcing)).encode()

    def add_rules(self, rules: list[Rule]) -> None:
        self.in_force = [*self.in_force, *rules]

    def enforce(self, *, on: bool) -> None:
        self.enforcing = on

    def stream(self) -> object:
        """Whatever the script does next happens while its events are waited for."""
        self.streams += 1
        return SimpleNamespace(start=lambda: None, batches=self.batches)

    def batches(self, _: float) -> Iterator[list[str]]:
        step = next(self.script)
        if callable(step):
            step()
        else:
            yield [step]


class End(Exception):
    pass


def kept(vm: FakeVm, *script: Any, **options: bool) -> tuple[Keeper, list[str], list[object]]:
    """What is told and what is seen until the script ends."""

    def end() -> None:
        raise End

    told: list[str] = []

    def tell(notice: NoticeRecord) -> None:
        told.append(f"{notice.event}: {notice.said}")

    vm.script = iter([*script, end])
    keeper = Keeper(vm, vm.stream, tell, **options)  # type: ignore[arg-type]
    seen: list[object] = []
    with pytest.raises(End):
        seen.extend(iter(keeper.follow()))
    return keeper, told, seen


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "CHECK_S", 0.0)
    monkeypatch.setattr(keeping, "BOOT_POLL_S", 0.0)


@pytest.fixture
def vm() -> FakeVm:
    return FakeVm()


def test_a_change_is_told_once_and_when_it_is_gone(vm: FakeVm) -> None:
    keeper, told, _ = kept(vm, lambda: vm.found.append(SITE), "a", "b", vm.found.clear)
    assert told == ["vmon.tampered: a site leads elsewhere"]
    assert keeper.tampered
    vm.found = []
    _, told, _ = kept(vm, lambda: setattr(vm, "found", [SITE]), lambda: setattr(vm, "found", []), "a")
    assert told == [
        "vmon.tampered: a site leads elsewhere",
        "vmon.intact: the probe is as it was written again",
    ]
    assert vm.repairs == 0


def test_rules_of_another_are_told_and_our_own_are_not(vm: FakeVm) -> None:
    def ours() -> None:
        vm.in_force, vm.rules_written = [LASTING], 1

    _, told, _ = kept(vm, ours, "a", lambda: setattr(vm, "in_force", [LASTING, OF_A_PROCESS]), "b")
    assert told == ["vmon.rules: other rules are in force, by another vmon or by the guest: 2"]


def test_who_acts_is_not_looked_at(vm: FakeVm) -> None:
    held, done = threading.Event(), threading.Event()

    def act() -> None:
        with vm.acting:
            held.set()
            done.wait(20)

    thread = threading.Thread(target=act)
    thread.start()
    assert held.wait(20)
    _, told, _ = kept(vm, lambda: vm.found.append(SITE), "a")
    assert told == []
    done.set()
    thread.join()


def test_it_ends_when_another_thread_says_so(vm: FakeVm) -> None:
    keeper = Keeper(vm, vm.stream, lambda _: None)  # type: ignore[arg-type]
    vm.script = iter(["a", lambda: setattr(keeper, "ending", True)])
    assert list(keeper.batches()) == [[], ["a"], []]


def test_of_a_thousand_changes_some_are_told(vm: FakeVm) -> None:
    _, told, _ = kept(vm, lambda: vm.found.extend([SITE] * 1000), "a")
    assert told == ["vmon.tampered: " + "a site leads elsewhere; " * keeping.TOLD + "and 992 more"]


def test_a_stream_whose_pages_are_gone_ends_quietly(vm: FakeVm) -> None:
    keeper, _, _ = kept(vm, "a")
    totals: list[object] = ["totals"]
    keeper.stream = SimpleNamespace(stop=lambda: None, counts=lambda: totals)  # type: ignore[assignment]
    assert keeper.stop() == totals

    def stop() -> None:
        raise BadStructure("a page is not there", field="window")

    keeper.stream = SimpleNamespace(stop=stop)  # type: ignore[assignment]
    assert keeper.stop() == []
    keeper.stream = None
    assert keeper.stop() == []


def test_a_change_is_put_right_where_that_is_asked_for(vm: FakeVm) -> None:
    keeper, told, _ = kept(vm, *[lambda: setattr(vm, "found", [SITE]), "a"] * 2, repair=True)
    assert [line.split(":")[0] for line in told] == ["vmon.tampered", "vmon.repaired"] * 2
    assert (vm.repairs, keeper.tampered) == (2, True)


def test_what_is_left_to_the_guest_is_told_once(vm: FakeVm) -> None:
    _, told, _ = kept(vm, lambda: vm.found.extend([SITE, BREAKPOINT]), "a", "b", "c", repair=True)
    assert told == ["vmon.tampered: a site leads elsewhere; a breakpoint"]


def test_one_that_was_taken_out_gets_its_rules_again(vm: FakeVm) -> None:
    vm.in_force, vm.enforcing = [LASTING], False

    def take_out() -> None:
        vm.found, vm.in_force, vm.enforcing = [OUT], [], True

    kept(vm, take_out, "a", repair=True)
    assert (vm.in_force, vm.enforcing, vm.repairs) == ([LASTING], False, 1)


def test_other_rules_are_told_and_are_no_tampering(vm: FakeVm) -> None:
    keeper, told, _ = kept(vm, lambda: vm.in_force.append(LASTING), "a", lambda: vm.enforce(on=False), "a")
    assert told == ["vmon.rules: other rules are in force, by another vmon or by the guest: 1"] * 2
    assert not keeper.tampered


def test_a_reboot_ends_it(vm: FakeVm) -> None:
    vm.script = iter(["a", lambda: setattr(vm, "booting", 3)])
    keeper = Keeper(vm, vm.stream, lambda _: None)  # type: ignore[arg-type]
    with pytest.raises(GuestRebooted):
        list(keeper.follow())
    assert keeper.stream is None, "its words would go into somebody else's memory"


def test_a_reboot_ends_nothing_where_that_is_asked_for(vm: FakeVm) -> None:
    vm.in_force = [LASTING, OF_A_PROCESS]
    _, told, seen = kept(vm, "a", lambda: setattr(vm, "booting", 3), "b", persist=True)
    assert told == [
        "vmon.rebooted: the probe and its rules are gone with the old kernel",
        "vmon.installed: probe: 44 instructions changed in 4.2 ms, 1 rules in force again,"
        " 1 not: they speak of a process or a cgroup of the old kernel",
    ]
    assert seen == ["a", "b"]
    assert vm.in_force == [LASTING]
    assert (vm.streams, vm.installs) == (2, 1)


def test_what_was_wrong_with_the_old_probe_is_not_told_of_the_new_one(vm: FakeVm) -> None:
    def reboot() -> None:
        vm.found, vm.booting = [], 2

    _, told, _ = kept(vm, lambda: vm.found.append(SITE), reboot, "a", persist=True)
    assert [line.split(":")[0] for line in told] == ["vmon.tampered", "vmon.rebooted", "vmon.installed"]


def test_the_time_is_over_while_it_boots(vm: FakeVm) -> None:
    vm.booting = 1 << 30
    keeper = Keeper(vm, vm.stream, lambda _: None, persist=True)  # type: ignore[arg-type]
    assert list(keeper.follow(0.02)) == []


def test_rules_of_one_boot() -> None:
    assert outlives(LASTING)
    assert not outlives(OF_A_PROCESS)
    assert not outlives(Rule(events=("file.open",), cgroup_id=3))
