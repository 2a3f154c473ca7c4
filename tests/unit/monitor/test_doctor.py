from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.unit.kernel.fuzz import BoundedRam
from tests.unit.linux.build import AT, RODATA_GPA, TEXT_GVA, Guest, function_offset
from tests.unit.monitor.connection import FakeConnection
from vmon.arch.x86_64.code import CALL, Call, encode_branch
from vmon.core.address import Gpa, Gva
from vmon.core.records.probe import DoctorRecord
from vmon.monitor.machine import VirtualMachine
from vmon.probe.abi import load_abi
from vmon.probe.config import MAGIC
from vmon.probe.hooks import EVENTS, TICKS
from vmon.probe.place import SLOT_GVA, MappedPage, encode_entries, encode_table_entry
from vmon.probe.plan import Plan, _add_function, page_counts
from vmon.probe.sites import survey

READ_ONLY = "there is no way to write to this guest"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMON_CACHE_DIR", str(tmp_path))


def guest_of(model: str = "new", *, code: bool = True) -> Guest:
    guest = Guest(model, code=code)
    guest.process(1, b"init")
    return guest


def ask(guest: Guest, *, live: bool = True) -> DoctorRecord:
    with VirtualMachine("lab:x", FakeConnection(guest, live=live)) as vm:
        return vm.doctor()


def abilities(found: DoctorRecord) -> dict[str, bool]:
    return {ability.name: ability.available for ability in found.abilities}


@pytest.mark.parametrize("model", ["new", "old"])
def test_a_live_guest(model: str) -> None:
    guest = guest_of(model)
    connection = FakeConnection(guest)
    before = {gpa: bytes(data) for gpa, data in connection.ram.memory.items()}
    with VirtualMachine("lab:x", connection) as vm:
        found = vm.doctor()
    assert {gpa: bytes(data) for gpa, data in connection.ram.memory.items()} == before
    assert found.changed is False
    assert abilities(found) == {"read RAM": True, "registers": True, "run state": True, "write": False}
    assert found.obstacles == [
        "the CPU knows no no-execute bit: data could not be kept from being run",
        READ_ONLY,
    ]
    assert found.pages == sum(run.pages for run in found.page_runs if not run.why) == 0x97
    assert (found.slot_address, found.slot_entry_gpa) == (
        SLOT_GVA,
        guest.gpa(TEXT_GVA + guest.profile.symbols["level2_kernel_pgt"]),
    )
    assert [hook.event for hook in found.events] == [event.name for event in EVENTS]
    assert [hook.event for hook in found.ticks] == [event.name for event in TICKS]
    assert all(hook.how == "call sites" and not hook.why for hook in (*found.events, *found.ticks))
    by_name = {hook.event: hook for hook in found.events}
    assert (by_name["file.rename"].context, by_name["file.rename"].deny) == ("locked", True)
    assert (by_name["process.fork"].context, by_name["process.fork"].deny) == ("may sleep", False)
    assert "calls of security_path_unlink from modules are not seen" in by_name["file.unlink"].notes
    assert found.notes == []


def test_a_cpu_with_the_no_execute_bit_on() -> None:
    guest = guest_of()
    connection = FakeConnection(guest)
    (cpu,) = connection.machine.cpus
    connection.machine.cpus = [type(cpu)(cpu.cpu, cpu.cr3, cpu.cr4, cpu.efer | 1 << 11, cpu.rip, cpu.cpl)]
    with VirtualMachine("lab:x", connection) as vm:
        assert vm.doctor().obstacles == [READ_ONLY]


def test_a_dump() -> None:
    found = ask(guest_of(), live=False)
    assert abilities(found) == {"read RAM": True, "registers": False, "run state": False, "write": False}
    assert found.obstacles == ["this target is a dump: there is nothing to install a probe in"]
    assert all(hook.how == "call sites" for hook in found.events)


def test_a_text_that_is_not_there_is_an_obstacle_and_a_reason() -> None:
    found = ask(guest_of(code=False))
    said = [text for text in found.obstacles if "text can't be searched" in text]
    assert len(said) == 1
    assert found.pages == 0
    assert all(hook.how == "not available" and hook.why for hook in (*found.events, *found.ticks))
    assert len(found.events) == len(EVENTS)


def test_too_few_pages_are_an_obstacle() -> None:
    guest = guest_of()
    guest.low[0x8000:0x98000] = b"\1" * 0x90000
    least = sum(page_counts(load_abi()))
    assert f"no place for code: 7 free low pages, {least} are needed" in ask(guest).obstacles


def test_pages_that_cannot_be_judged_are_an_obstacle() -> None:
    guest = guest_of()
    guest.write_phys(RODATA_GPA + AT["e820_table"], bytes(8))
    found = ask(guest)
    assert any(text.startswith("no place for code: ") for text in found.obstacles)
    assert found.page_runs == []


def test_a_slot_that_is_taken_and_calls_that_lead_there() -> None:
    guest = guest_of()
    place = function_offset("security_file_open") + 0xA0
    branch = Call(Gva(TEXT_GVA + place), CALL, Gva(SLOT_GVA + 0x40))
    guest.code[place : place + 5] = encode_branch(branch)
    (said,) = ask(guest).notes
    assert said.startswith(f"1 calls of the kernel's text lead to {SLOT_GVA:#x}, where nothing is mapped: ")
    guest.put64(TEXT_GVA + guest.profile.symbols["level2_kernel_pgt"], 0x1063)
    found = ask(guest)
    assert found.obstacles[-1] == f"somebody else's memory is mapped at {SLOT_GVA:#x} (0x1063)"
    assert ", where nothing" not in found.notes[0]
    assert "another probe, or another vmon's" in found.notes[0]


def placed(guest: Guest) -> Plan:
    """A dormant probe in the guest, as an installation lays it out; what would make it active."""
    kernel, abi = guest.kernel(), load_abi()
    plan = Plan(bytearray(abi.code))
    found = survey(kernel)
    for event in (*found.events, *found.ticks):
        for part in event.parts:
            if not part.function.only:  # told apart by values that this kernel does not know
                _add_function(plan, kernel, abi, event, part)
    config = bytearray(abi.size("config"))
    for name, value in (("magic", MAGIC), ("build", abi.build)):
        at, size = abi.member("config", name)
        config[at : at + size] = value.to_bytes(size, "little")
    parts = [bytes(plan.code), bytes(config)]
    starts = [0x2000, 0x2000 + len(abi.code) + -len(abi.code) % 0x1000]
    pages = [
        [Gpa(start + at) for at in range(0, len(part), 0x1000)]
        for start, part in zip(starts, parts, strict=True)
    ]
    entries = bytearray(0x1000)
    for at, own, executable in ((0, pages[0], True), (abi.sizes["CONFIG_AT"], pages[1], False)):
        data = encode_entries([MappedPage(page, executable=executable) for page in own], globally=True)
        entries[at >> 9 : (at >> 9) + len(data)] = data
    for start, data in ((0x1000, bytes(entries)), *zip(starts, parts, strict=True)):
        guest.low[start : start + len(data)] = data
    guest.put64(TEXT_GVA + guest.profile.symbols["level2_kernel_pgt"], encode_table_entry(Gpa(0x1000)))
    return plan


def change(guest: Guest, plan: Plan) -> None:
    """Lead the calls to the probe."""
    for patch in plan.patches:
        at = patch.gpa - guest.gpa(TEXT_GVA)
        assert guest.code[at : at + len(patch.old)] == patch.old
        guest.code[at : at + len(patch.new)] = patch.new


def test_our_own_probe_is_in_nobodys_way() -> None:
    guest = guest_of()
    without = ask(guest)
    plan = placed(guest)
    dormant = ask(guest)
    assert dormant.obstacles == without.obstacles
    assert dormant.notes == [
        f"a dormant probe of this vmon is mapped at {SLOT_GVA:#x}: the next installation uses its pages again"
    ]
    change(guest, plan)
    active = ask(guest)
    assert active.obstacles == without.obstacles
    assert active.notes == [
        f"a probe of this vmon is active at {SLOT_GVA:#x}: {len(plan.patches)} instructions lead to it"
    ]
    assert (active.events, active.ticks) == (without.events, without.ticks), "hooked as it was found"


def test_a_call_into_our_probe_that_it_did_not_write_is_told() -> None:
    guest = guest_of()
    change(guest, placed(guest))
    place = function_offset("security_file_open") + 0xC0
    branch = Call(Gva(TEXT_GVA + place), CALL, Gva(SLOT_GVA + 3))
    guest.code[place : place + 5] = encode_branch(branch)
    ours, strangers = ask(guest).notes
    assert "is active" in ours
    assert strangers.startswith("1 calls of")
    assert "none that this vmon wrote" in strangers


def test_a_probe_of_another_build_is_an_obstacle() -> None:
    guest = guest_of()
    placed(guest)
    build = load_abi().build.to_bytes(8, "little")
    at = guest.low.index(build)
    guest.low[at] ^= 1
    assert ask(guest).obstacles[-1].startswith(f"a probe of another vmon lies at {SLOT_GVA:#x}: ")


@pytest.mark.parametrize("entry", [0, 0xFFFF_FFFF_F063])
def test_a_probe_whose_code_is_not_there_is_told_and_no_error(entry: int) -> None:
    guest = guest_of()
    placed(guest)
    guest.low[0x1000:0x1008] = entry.to_bytes(8, "little")
    assert any("text can't be searched" in text for text in ask(guest).obstacles)


def test_hooks_at_an_entry_say_who_else_may_want_it() -> None:
    guest = guest_of()
    at = function_offset("security_file_open")
    guest.code[at + 0xA0] = 0x90
    hook = next(hook for hook in ask(guest).events if hook.event == "file.open")
    assert (hook.how, hook.sites) == ("entry nop", 1)
    assert "tracer" in hook.notes[0]
    guest.code[at + 4] = 0xCC
    hook = next(hook for hook in ask(guest).events if hook.event == "file.open")
    assert (hook.how, hook.sites, hook.functions, hook.context) == ("not available", 0, [], "")


def test_the_record_can_be_written_out_and_read_back() -> None:
    found = ask(guest_of())
    assert msgspec.json.decode(msgspec.json.encode(found), type=DoctorRecord) == found


def test_ram_is_read_within_bounds() -> None:
    connection = FakeConnection(guest_of())
    with VirtualMachine("lab:x", connection) as vm:
        assert isinstance(connection.ram, BoundedRam)
        connection.ram.calls = 0
        vm.doctor()
        assert connection.ram.calls < 400
