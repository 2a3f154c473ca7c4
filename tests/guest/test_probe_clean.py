"""What a probe leaves behind in a kernel: nothing, as soon as nobody is in it."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

import vmon
from tests.guest.test_probe_safety import LONG, complaints, load
from tests.guest.untouched import assert_untouched
from vmon.core.address import PAGE_SIZE_BYTES
from vmon.core.errors import NotSupported
from vmon.lab.guest import LabGuest
from vmon.probe import install
from vmon.probe.abi import load_abi
from vmon.probe.place import find_low_pages, find_slot
from vmon.probe.quiet import lingering
from vmon.probe.sites import Way, read_text
from vmon.probe.tenant import find_tenant

CYCLES = 500 if LONG else 16
WAYS: tuple[Way, ...] = ("call sites", "entry nop")


@pytest.fixture(autouse=True)
def no_complaint(guest: LabGuest) -> Iterator[None]:
    before = complaints(guest)
    yield
    assert complaints(guest) <= before


class Kernel:
    """What of a kernel a probe changes: its text, and the table that maps it."""

    def __init__(self, vm: vmon.VirtualMachine) -> None:
        kernel = vm.kernel
        self.text = read_text(kernel)
        table = kernel.memory.gpa(kernel.symbol("level2_kernel_pgt"))
        self.table = kernel.memory.phys.read(table, PAGE_SIZE_BYTES)

    def require_equal(self, vm: vmon.VirtualMachine) -> None:
        now = Kernel(vm)
        # The kernel switches static keys of its own: as its clock turns out to be unstable, for one.
        assert_untouched(now.text, self.text)
        assert now.table == self.table


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What each look at a guest that stood still found."""
    found: list[str] = []

    def look(*arguments: Any) -> str:
        found.append(lingering(*arguments))
        return found[-1]

    monkeypatch.setattr(install, "lingering", look)
    return found


def test_every_byte_of_the_kernel_is_as_it_was(
    guest: LabGuest, vm: vmon.VirtualMachine, looks: list[str]
) -> None:
    """In and out under load, hooked in either way in turn, always by the very same pages."""
    before = Kernel(vm)
    assert find_slot(vm.kernel).free
    found = set()
    begin = time.monotonic()
    with load(guest):
        for number in range(CYCLES):
            assert vm.install_probe(prefer=WAYS[number % 2]).installed
            found.add((find_slot(vm.kernel).table_gpa, find_low_pages(vm.kernel).pages))
            if number % 8 < 2:
                stream = vm.event_stream("file.open")
                stream.start()
                assert any(event.event == "file.open" for event in stream.follow(timeout_s=120))
                stream.stop()
            assert vm.remove_probe().left == ""
            before.require_equal(vm)
    assert len(found) == 1
    reasons = Counter(re.sub(r"\d+", "N", look) for look in looks)
    print(
        f"{guest.record.series}: {CYCLES} times in and out in {time.monotonic() - begin:.0f} s; {dict(reasons)}"
    )


@pytest.mark.smoke
def test_its_pages_are_found_again(guest: LabGuest, vm: vmon.VirtualMachine) -> None:
    """By another vmon, with what the guest's kernel gave."""
    vm.install_probe()
    probe = vm._probe
    assert probe is not None
    ring = probe.window.pages(probe.abi.sizes["RING_AT"], 1 << 20)
    vm.remove_probe()
    assert find_tenant(vm.kernel, load_abi()).state == "unmapped"
    with vmon.attach(guest.name) as other:
        assert other.install_probe().installed
        assert other._probe is not None
        assert other._probe.window.table_gpa == probe.window.table_gpa
        assert other._probe.window.pages(probe.abi.sizes["RING_AT"], 1 << 20) == ring
        stream = other.event_stream("file.open")
        stream.start()
        guest.run("cat /etc/hosts")
        assert "/etc/hosts" in [event.path for event in stream.take()]
        stream.stop()
        assert other.remove_probe().left == ""


def test_who_may_be_in_it_keeps_it(
    guest: LabGuest, vm: vmon.VirtualMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mapping stays, which is said, and the next vmon uses it or takes it away."""
    before = Kernel(vm)
    vm.install_probe()
    monkeypatch.setattr(install, "TRIES", 2)
    monkeypatch.setattr(install, "lingering", lambda *_: "somebody is")
    assert vm.remove_probe().left == "somebody is"
    assert_untouched(Kernel(vm).text, before.text)
    assert not find_slot(vm.kernel).free
    with pytest.raises(NotSupported, match="somebody is"):
        vm.install_probe(prefer="entry nop")
    assert vm.install_probe().installed
    monkeypatch.undo()
    assert vm.remove_probe().left == ""
    before.require_equal(vm)


def test_one_that_was_put_in_again_keeps_its_mapping(guest: LabGuest, vm: vmon.VirtualMachine) -> None:
    """By another vmon, between the instructions and the mapping of a removal."""
    before = Kernel(vm)
    vm.install_probe()
    probe = vm._probe
    assert probe is not None
    assert "somebody put it in again" in probe.unmap()[1]
    assert not find_slot(vm.kernel).free
    assert vm.remove_probe().left == ""
    before.require_equal(vm)
