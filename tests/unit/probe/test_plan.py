from __future__ import annotations

from types import SimpleNamespace

import pytest

from vmon.arch.x86_64.code import CALL, JUMP, Call, decode_branch, encode_branch
from vmon.core.address import Gpa, Gva
from vmon.core.errors import NotSupported
from vmon.probe.abi import load_abi
from vmon.probe.hooks import EVENTS, TICKS
from vmon.probe.place import SLOT_GVA
from vmon.probe.plan import Plan, _add_function, make_plan, undo
from vmon.probe.sites import EventReach, Reach, Site, Survey

TEXT = Gva(0xFFFF_FFFF_8100_0000)
EVENT = next(event for event in EVENTS if event.name == "file.open")
FUNCTION = EVENT.parts[0].choices[0]


def planned(*sites: Site) -> Plan:
    abi = load_abi()
    plan = Plan(bytearray(abi.code))
    reach = Reach(FUNCTION, "call sites", TEXT, sites)
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
    ]
    assert undo(TEXT, 0, abi.code, strangers, abi) == []
    assert encode_branch(strangers[0])[0] == CALL


def test_a_real_time_kernel_is_refused() -> None:
    banner = "Linux version 6.1.0-56-rt-amd64 (gcc) #1 SMP PREEMPT_RT Debian 6.1.192-2"
    kernel = SimpleNamespace(profile=SimpleNamespace(banner=banner))
    with pytest.raises(NotSupported, match="PREEMPT_RT"):
        make_plan(kernel, load_abi(), Survey((), ()))  # type: ignore[arg-type]


def test_names_of_kinds() -> None:
    abi = load_abi()
    assert not {event.name for event in TICKS} & set(abi.events)
    assert abi.events["file.mmap_exec"] == abi.kinds["FILE_MMAP_EXEC"]
