from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.unit.kernel.fuzz import BoundedRam
from tests.unit.linux.build import AT, RODATA_GPA, TEXT_GVA, Guest, function_offset
from tests.unit.monitor.connection import FakeConnection
from vmon.arch.x86_64.code import CALL, Call, encode_branch
from vmon.core.address import Gva
from vmon.core.records import DoctorRecord
from vmon.monitor.machine import VirtualMachine
from vmon.probe.hooks import EVENTS, TICKS
from vmon.probe.place import SLOT_GVA

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
    assert "no place for code: 7 free low pages, 8 are needed" in ask(guest).obstacles


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
    assert any("something is mapped" in text for text in found.obstacles)
    assert ", where nothing" not in found.notes[0]


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
