"""What a probe could do in each kernel, against what that kernel says of itself; and nothing is written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import vmon
from tests.guest.conftest import PATIENCE_S, boot
from vmon.core.records.probe import DoctorRecord, HookRecord
from vmon.kernel import btf
from vmon.kernel.btf import Btf
from vmon.lab.guest import LabGuest
from vmon.probe.hooks import ARGUMENT_KINDS, FUNCTIONS, Function
from vmon.probe.sites import read_text, survey

# Events that can't be had on a kernel, each with the reason: none today.
NOT_HERE: dict[tuple[str, str], str] = {}
# Low pages: before 5.13 Linux keeps the first 64 KiB alone. One page is SeaBIOS's stack, eight are the boot loader's.
LEAST_PAGES = {"5.10": 14}
MANY_PAGES = 0x8E
ONE_PROBE_PAGES = 8


def hooks(found: DoctorRecord) -> dict[str, HookRecord]:
    return {hook.event: hook for hook in (*found.events, *found.ticks)}


def test_every_event_can_be_watched(guest: LabGuest, vm: vmon.VirtualMachine) -> None:
    found = hooks(vm.doctor())
    lost = {event: hook.why for event, hook in found.items() if hook.how == "not available"}
    assert lost.keys() == {event for series, event in NOT_HERE if series == guest.record.series}, lost
    assert all(hook.sites >= 1 for event, hook in found.items() if event not in lost)
    only_seen = {event for event, hook in found.items() if not hook.deny}
    assert only_seen - lost.keys() == {"process.fork", "process.exit", "tick.busy", "tick.idle"}


def test_there_is_a_place(guest: LabGuest, vm: vmon.VirtualMachine) -> None:
    found = vm.doctor()
    # Another test may have had a probe in this guest, whose pages stay as they are.
    kept = ONE_PROBE_PAGES if found.notes else 0
    assert all(note.startswith("a dormant probe of this vmon") for note in found.notes)
    assert found.pages + kept >= LEAST_PAGES.get(guest.record.series, MANY_PAGES)
    assert found.slot_entry_gpa
    assert found.obstacles == []
    usable = [run for run in found.page_runs if not run.why]
    assert all(run.gpa >= 0x1000 and run.gpa + 4096 * run.pages <= 0x98000 for run in usable)


def test_the_pages_stay_unused_while_the_guest_works(guest: LabGuest, vm: vmon.VirtualMachine) -> None:
    runs = [run for run in vm.doctor().page_runs if not run.why]
    guest.run(
        "for i in $(seq 1 200); do cat /proc/self/maps >/dev/null; done; sync",
        timeout_s=PATIENCE_S,
        check=True,
    )
    assert not any(any(vm.ram.read(run.gpa, 4096 * run.pages)) for run in runs)


def test_sites_lie_in_functions_and_call_what_they_should(guest: LabGuest, vm: vmon.VirtualMachine) -> None:
    """Against the guest's own /proc/kallsyms: targets are the functions, sites are in the text of others."""
    names: dict[str, int] = {}
    for line in guest.run(
        "grep -i ' [tw] ' /proc/kallsyms", timeout_s=PATIENCE_S, check=True
    ).text.splitlines():
        address, _, name = line.split()[:3]
        names.setdefault(name, int(address, 16))
    found = survey(vm.kernel)
    for event in (*found.events, *found.ticks):
        for part in event.parts:
            start = names[part.function.name]
            assert part.gva == start
            for site in part.sites:
                assert start - site.target in (0, 9, 10)
                inside = max(address for address in names.values() if address <= site.gva)
                assert site.gva > inside != start
                assert vm.ram.read(site.gpa, 5) == site.old


def test_arguments_are_what_the_kernel_says(guest: LabGuest, vm: vmon.VirtualMachine) -> None:
    """The table of hooks against the prototypes in the guest's own BTF."""
    kernel = vm.kernel
    start, stop = kernel.symbol("__start_BTF"), kernel.symbol("__stop_BTF")
    types = Btf(kernel.memory.read(start, stop - start))
    by_name = {function.name: function for function in FUNCTIONS}
    seen = set()
    for type_id in range(1, len(types) + 1):
        if types.kind(type_id) == btf.KIND_FUNC and types.name(type_id) in by_name:
            function = by_name[types.name(type_id)]
            assert_agrees_with(types, type_id, function)
            seen.add(function.name)
    here = {name for name in by_name if kernel.has_symbol(name)}
    assert here <= seen, f"no prototype of {here - seen}"


def assert_agrees_with(types: Btf, type_id: int, function: Function) -> None:
    proto = types._head(type_id)[2]
    _, info, returned, at = types._head(proto)
    parameters = types._words[at + 3 : at + 3 + 2 * (info & 0xFFFF)].reshape(-1, 2)[:, 1].tolist()
    kinds = [kind for _, kind in function.argument_kinds]
    # security_bpf got one more argument between 6.12 and 6.18; what was first stays first.
    assert len(kinds) <= len(parameters) <= len(kinds) + (function.name == "security_bpf")
    for kind, parameter in zip(kinds, parameters, strict=False):
        parameter = types.strip(parameter)
        if kind == "number":
            assert types.kind(parameter) not in (btf.KIND_PTR, btf.KIND_ARRAY), (function.name, kind)
            assert types.size_bytes(parameter) <= 8
        else:
            assert types.kind(parameter) == btf.KIND_PTR, (function.name, kind)
            behind = types.strip(types._head(parameter)[2])
            name = types.name(behind) if behind else "void"
            assert name == ARGUMENT_KINDS[kind], (function.name, kind)
    assert bool(returned) == function.deny, f"{function.name} has an answer or not"


def test_nothing_is_written(vm: vmon.VirtualMachine) -> None:
    """The whole RAM of the paused guest is byte for byte what it was."""
    watch = vm._connection.watch
    watch.qmp.execute("stop")  # type: ignore[union-attr]
    try:
        before = [vm.ram.read(part.gpa, part.size_bytes) for part in vm.ram.populated()]
        assert vm.doctor().changed is False
        assert [vm.ram.read(part.gpa, part.size_bytes) for part in vm.ram.populated()] == before
    finally:
        watch.qmp.execute("cont")  # type: ignore[union-attr]


def test_a_dump_is_examined_too(vm: vmon.VirtualMachine, guest: LabGuest, tmp_path: Path) -> None:
    vmon.dump(guest.name, tmp_path / "ram.elf", "elf")
    live = vm.doctor()
    with vmon.attach(f"dump:{tmp_path / 'ram.elf'}") as dead:
        found = dead.doctor()
    assert found.events == live.events
    assert found.page_runs == live.page_runs
    assert not next(item for item in found.abilities if item.name == "registers").available
    assert found.obstacles == ["this target is a dump: there is nothing to install a probe in"]


VARIANTS = {
    "pti": ("6.1", {"append": "pti=on"}),
    "four-levels": ("7.2", {"cpu": "max,la57=off"}),
    "q35-6g": ("6.18", {"machine": "q35", "ram_bytes": 6 << 30}),
    "microvm": ("6.12", {"machine": "microvm"}),
    # Callers enter functions nine bytes early, at a thunk that counts calls.
    "call-depth": ("6.18", {"cpu": "Skylake-Client", "append": "retbleed=stuff spectre_v2=retpoline"}),
}


def test_our_own_probe_is_told_and_hides_nothing(vm: vmon.VirtualMachine) -> None:
    before = vm.doctor()
    sites = vm.install_probe().sites
    active = vm.doctor()
    vm.remove_probe()
    dormant = vm.doctor()
    assert (active.events, active.ticks) == (before.events, before.ticks)
    assert (active.obstacles, dormant.obstacles) == ([], [])
    assert len(active.notes) == len(dormant.notes) == 1
    assert f"is active at 0xffffffff80000000: {sites} instructions" in active.notes[0]
    assert dormant.notes[0].startswith("a dormant probe of this vmon")


@pytest.mark.parametrize("variant", VARIANTS)
def test_machines_and_mitigations_change_nothing(variant: str) -> None:
    kernel, options = VARIANTS[variant]
    name = f"d-{variant}-{os.getpid()}"
    with boot(name, kernel=kernel, **options) as guest, vmon.attach(name) as vm:
        found = vm.doctor()
        assert {hook.how for hook in hooks(found).values()} == {"call sites"}
        assert found.pages >= 0x40, found.page_runs
        assert found.slot_entry_gpa
        if variant == "call-depth":
            assert b"Stuffing" in guest.run("dmesg | grep -i retbleed").out
            entered = survey(vm.kernel, read_text(vm.kernel))
            sites = [site for event in entered.events for part in event.parts for site in part.sites]
            gvas = {part.gva for event in entered.events for part in event.parts}
            assert sum(site.target not in gvas for site in sites) > 20
