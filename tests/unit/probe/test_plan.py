from __future__ import annotations

from types import SimpleNamespace

import pytest

from vmon.arch.x86_64.code import CALL, ENTRY_NOPS, JUMP, Call, decode_branch, encode_branch
from vmon.core.address import Gpa, Gva
from vmon.core.errors import NotSupported
from vmon.core.ports import Patch
from vmon.probe.abi import load_abi
from vmon.probe.hooks import EVENTS, TICKS
from vmon.probe.place import SLOT_GVA
from vmon.probe.plan import Plan, _add_function, make_plan, undo
from vmon.probe.sites import EntryNop, EventReach, Reach, Site, Survey

TEXT = Gva(0xFFFF_FFFF_8100_0000)
EVENT = next(event for event in EVENTS if event.name == "file.open")
FUNCTION = EVENT.parts[0].choices[0]


def planned(*sites: Site) -> Plan:
    abi = load_abi()
    plan = Plan(bytearray(abi.code))
    reach = Reach(FUNCTION, "call sites", TEXT, sites)
    _add_function(plan, SimpleNamespace(), abi, EventReach(EVENT, (reach,)), reach)  # type: ignore[arg-type]
    return plan


def entry_plan(nop: bytes, number: int = 0) -> Plan:
    """One function hooked at its start, by the entry of that number."""
    abi = load_abi()
    plan = Plan(bytearray(abi.code), [bytes(8)] * number)
    reach = Reach(FUNCTION, "entry nop", TEXT, (), EntryNop(Gva(TEXT + 4), Gpa(0x100_0004), nop))
    _add_function(plan, SimpleNamespace(), abi, EventReach(EVENT, (reach,)), reach)  # type: ignore[arg-type]
    return plan


def site(at: int, opcode: int, target: int) -> Site:
    return Site(Gva(TEXT + at), Gpa(0x100_0000 + at), opcode, Gva(target))


def test_a_site_leads_to_an_entry_that_goes_on_to_where_it_led() -> None:
    abi = load_abi()
    first, second, thunk = (
        site(0x10, CALL, TEXT + 0x900),
        site(0x40, JUMP, TEXT + 0x900),
        site(0x80, CALL, TEXT + 0x8F7),
    )
    plan = planned(first, second, thunk)
    assert len(plan.hooks) == 2, "one entry for each place that is led to"
    leads = []
    for patch, before in zip(plan.patches, (first, second, thunk), strict=True):
        assert (patch.gpa, patch.old) == (before.gpa, before.old)
        after = decode_branch(patch.new, before.gva)
        assert after is not None
        assert after.opcode == before.opcode
        number, inside = divmod(after.target - SLOT_GVA, abi.sizes["HOOK"])
        assert inside == 0
        at = number * abi.sizes["HOOK"] + abi.sizes["HOOK_JUMP"]
        jump = decode_branch(bytes(plan.code[at : at + 5]), Gva(SLOT_GVA + at))
        assert jump is not None
        leads.append((number, jump.target))
    assert leads == [(0, TEXT + 0x900), (0, TEXT + 0x900), (1, TEXT + 0x8F7)]


def test_undoing_gives_back_what_was_there() -> None:
    plan = planned(site(0x10, CALL, TEXT + 0x900), site(0x40, JUMP, TEXT + 0x900))
    gvas = [Gva(TEXT + patch.gpa - 0x100_0000) for patch in plan.patches]
    calls = [
        call for patch, gva in zip(plan.patches, gvas, strict=True) if (call := decode_branch(patch.new, gva))
    ]
    undone = undo(TEXT, 0x100_0000, bytes(plan.code), calls, load_abi())
    assert [(patch.gpa, patch.old, patch.new) for patch in undone] == [
        (patch.gpa, patch.new, patch.old) for patch in plan.patches
    ]


def test_calls_into_the_window_that_are_not_the_probes_are_left_alone() -> None:
    abi = load_abi()
    strangers = [
        Call(TEXT, CALL, Gva(SLOT_GVA + 1)),
        Call(TEXT, CALL, Gva(SLOT_GVA + 0x1F_0000)),
        Call(TEXT, CALL, SLOT_GVA),  # an entry that was never filled
        Call(TEXT, CALL, Gva(SLOT_GVA + abi.sizes["ENTRIES_AT"] + 1)),
        Call(TEXT, JUMP, Gva(SLOT_GVA + abi.sizes["ENTRIES_AT"])),
        Call(TEXT, CALL, Gva(SLOT_GVA + abi.sizes["ENTRIES_AT"] + abi.sizes["HOOKS"] * abi.sizes["ENTRY"])),
    ]
    assert undo(TEXT, 0, abi.code, strangers, abi) == []
    assert encode_branch(strangers[0])[0] == CALL


@pytest.mark.parametrize("nop", ENTRY_NOPS)
@pytest.mark.parametrize("number", [0, 63])
def test_the_start_of_a_function_calls_an_entry_that_keeps_its_nop(nop: bytes, number: int) -> None:
    abi = load_abi()
    plan = entry_plan(nop, number)
    (patch,) = plan.patches
    assert (patch.gpa, patch.old) == (0x100_0004, nop)
    call = decode_branch(patch.new, Gva(TEXT + 4))
    assert call == Call(
        Gva(TEXT + 4), CALL, Gva(SLOT_GVA + abi.sizes["ENTRIES_AT"] + number * abi.sizes["ENTRY"])
    )
    changed = [at for at, (old, new) in enumerate(zip(abi.code, plan.code, strict=True)) if old != new]
    kept = call.target - SLOT_GVA + abi.sizes["ENTRY_NOP"]
    assert bytes(plan.code[kept : kept + 6]) == nop + b"\xc3", "and goes back into the function"
    assert set(changed) <= set(range(kept, kept + 5))
    assert undo(TEXT, 0x100_0000, bytes(plan.code), [call], abi) == [Patch(patch.gpa, patch.new, nop)]


def test_what_a_guest_put_in_place_of_a_nop_is_not_written_back() -> None:
    abi = load_abi()
    plan = entry_plan(ENTRY_NOPS[0])
    call = decode_branch(plan.patches[0].new, Gva(TEXT + 4))
    assert call is not None
    at = abi.sizes["ENTRIES_AT"] + abi.sizes["ENTRY_NOP"]
    plan.code[at : at + 5] = b"\xe9\0\0\0\0"
    assert undo(TEXT, 0, bytes(plan.code), [call], abi) == []


def test_only_so_many_functions() -> None:
    with pytest.raises(NotSupported, match="more functions"):
        entry_plan(ENTRY_NOPS[0], 64)


def test_a_real_time_kernel_is_refused() -> None:
    banner = "Linux version 6.1.0-56-rt-amd64 (gcc) #1 SMP PREEMPT_RT Debian 6.1.192-2"
    kernel = SimpleNamespace(profile=SimpleNamespace(banner=banner))
    with pytest.raises(NotSupported, match="PREEMPT_RT"):
        make_plan(kernel, load_abi(), Survey((), ()))  # type: ignore[arg-type]


def test_names_of_kinds() -> None:
    abi = load_abi()
    assert not {event.name for event in TICKS} & set(abi.events)
    assert abi.events["file.mmap_exec"] == abi.kinds["FILE_MMAP_EXEC"]
