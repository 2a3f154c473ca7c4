"""The probe on machines that differ in what its pages and entries depend on: paging, isolation, landing pads, CPUs."""

from __future__ import annotations

import os
from dataclasses import dataclass

import pytest

import vmon
from tests.guest.conftest import boot
from tests.guest.test_probe_safety import complaints
from tests.guest.untouched import assert_untouched
from vmon.arch.x86_64.paging import FRAME_MASK, INDEX_MASK, PAGE_SIZE_BIT, PRESENT, levels_for
from vmon.core.address import Gpa
from vmon.core.rules import Rule
from vmon.lab.guest import LabGuest
from vmon.linux.kernel import Kernel
from vmon.probe.place import GLOBAL, find_slot
from vmon.probe.sites import Way, read_text, survey


@dataclass(frozen=True)
class Machine:
    kernel: str
    cpu: str
    append: str
    cpus: int
    isolated: bool
    levels: int
    landing_pads: bool = False


MACHINES = {
    "isolated, 4 levels, 1 CPU": Machine("6.1", "max,la57=off", "pti=on", 1, True, 4),
    "isolated, 5 levels, 2 CPUs": Machine("7.2", "max", "pti=on", 2, True, 5, landing_pads=True),
    # No CPU of QEMU's TCG has IBT: the kernel has landing pads all the same.
    "shared, 4 levels, 2 CPUs": Machine(
        "6.12", "max,la57=off", "pti=off ibt=on", 2, False, 4, landing_pads=True
    ),
}
WAYS: tuple[Way, ...] = ("call sites", "entry nop")


def leaf_of(kernel: Kernel, gva: int) -> int:
    """The entry that maps an address, as the kernel's own tables have it."""
    table = kernel.memory.bases.page_table_root
    for level in levels_for(kernel.memory.bases.la57):
        place = Gpa(table + 8 * ((gva >> level.shift) & INDEX_MASK))
        entry = int.from_bytes(kernel.memory.phys.read(place, 8), "little")
        assert entry & PRESENT
        if level.shift == 12 or (level.leaf_allowed and entry & PAGE_SIZE_BIT):
            return entry
        table = Gpa(entry & FRAME_MASK)
    raise AssertionError("unreachable")


@pytest.mark.parametrize("name", MACHINES)
def test_in_an_event_a_refusal_and_out(name: str) -> None:
    machine = MACHINES[name]
    guest_name = f"m-{list(MACHINES).index(name)}-{os.getpid()}"
    with boot(
        guest_name, kernel=machine.kernel, cpu=machine.cpu, append=machine.append, cpus=machine.cpus
    ) as guest:
        flags = guest.run("grep -m 1 ^flags /proc/cpuinfo").text.split()
        assert ("pti" in flags) == machine.isolated
        before = complaints(guest)
        with vmon.attach(guest.name) as vm:
            assert vm.guest.paging_levels == machine.levels
            text = read_text(vm.kernel)
            for way in WAYS:
                goes_through(guest, vm, machine, way)
                assert_untouched(read_text(vm.kernel), text)
        assert complaints(guest) <= before


def goes_through(guest: LabGuest, vm: vmon.VirtualMachine, machine: Machine, way: Way) -> None:
    """In, an event, a refusal, out."""
    kernel = vm.kernel
    found = survey(kernel, prefer=way)
    parts = [part for event in (*found.events, *found.ticks) for part in event.parts]
    for part in parts:
        assert part.entry is not None
        assert part.gva is not None
        assert part.entry.gva - part.gva == 4 * machine.landing_pads
    installed = vm.install_probe(prefer=way)
    assert (installed.sites == len(parts)) == (way == "entry nop")
    table = kernel.memory.phys.read(find_slot(kernel).table_gpa, 4096)
    entries = [int.from_bytes(table[at : at + 8], "little") for at in range(0, 4096, 8)]
    globally = {bool(entry & GLOBAL) for entry in entries if entry}
    assert globally == {bool(leaf_of(kernel, kernel.symbol("init_task")) & GLOBAL)} == {not machine.isolated}
    guest.run("echo s >/tmp/secret; echo o >/tmp/open")
    stream = vm.event_stream("file.open")
    stream.start()
    vm.add_rules([Rule(events=("file.open",), path="/tmp/secret")])
    out = guest.run("cat /tmp/open; cat /tmp/secret")
    assert out.text == "o\n"
    assert b"not permitted" in out.err
    told = {event.path: event.verdict for event in stream.take()}
    assert (told["/tmp/open"], told["/tmp/secret"]) == ("allowed", "denied")
    stream.stop()
    assert vm.remove_probe().left == ""
    assert find_slot(kernel).free
    assert guest.run("cat /tmp/secret").text == "s\n"
