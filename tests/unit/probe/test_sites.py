from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kernel.fuzz import steady
from tests.unit.linux.build import (
    AT,
    CODE_BYTES,
    RODATA_GVA,
    TEXT_GPA,
    TEXT_GVA,
    WATCHED,
    Guest,
    function_offset,
)
from vmon.arch.x86_64.code import CALL, JUMP, Call, encode_branch
from vmon.core.address import Gva
from vmon.core.errors import BadStructure, GuestDataError
from vmon.linux.kernel import Kernel
from vmon.probe import sites
from vmon.probe.hooks import EVENTS, FUNCTIONS, TICKS
from vmon.probe.place import SLOT_GVA
from vmon.probe.sites import EventReach, Reach, Site, Survey, find_reaches, read_text, survey

BOTH = pytest.mark.parametrize("model", ["new", "old"])
OPEN = "security_file_open"
CALLER = 0xA0  # of each function in the fake text, from its start


def reach(kernel: Kernel, name: str = OPEN) -> Reach:
    function = next(item for item in FUNCTIONS if item.name == name)
    (found,) = find_reaches(kernel, read_text(kernel), [function])
    return found


def event(found: Survey, name: str) -> EventReach:
    return next(item for item in found.events if item.event.name == name)


def put_branch(guest: Guest, at: int, target: int, opcode: int = CALL) -> None:
    data = encode_branch(Call(Gva(TEXT_GVA + at), opcode, Gva(target)))
    guest.code[at : at + len(data)] = data


def with_symbols(guest: Guest, **symbols: int | None) -> Kernel:
    """The kernel, with symbols (from _text) that lie or are not there."""
    known = {**guest.profile.symbols, **symbols}
    guest.profile = msgspec.structs.replace(
        guest.profile, symbols={name: at for name, at in known.items() if at is not None}
    )
    return guest.kernel()


@BOTH
def test_every_event_by_its_calls(model: str) -> None:
    guest = Guest(model, code=True)
    found = survey(guest.kernel())
    assert [item.event for item in found.events] == list(EVENTS)
    assert [item.event for item in found.ticks] == list(TICKS)
    for item in (*found.events, *found.ticks):
        assert (item.how, item.available, item.why) == ("call sites", True, "")
        assert item.deny == item.event.deny
        assert item.sites_count == len(item.parts)
    parts = [part.function.name for part in event(found, "file.truncate").parts]
    assert parts == ["security_path_truncate", "security_file_truncate"][: 2 if model == "new" else 1]
    assert found.strangers == ()


def test_a_site_says_where_it_is_and_what_stands_there() -> None:
    guest = Guest("new", code=True)
    found = reach(guest.kernel())
    at = function_offset(OPEN)
    place = TEXT_GVA + at + CALLER
    assert found.sites == (Site(Gva(place), TEXT_GPA + at + CALLER, CALL, Gva(TEXT_GVA + at)),)
    assert found.sites[0].old == bytes(guest.code[at + CALLER : at + CALLER + 5])
    assert found.entry is not None
    assert (found.entry.gva, found.entry.gpa) == (TEXT_GVA + at + 4, TEXT_GPA + at + 4)
    assert found.entry.old.hex() == "0f1f440000"
    assert not found.exported
    assert reach(guest.kernel(), "security_path_unlink").exported


def test_tail_jumps_are_sites_too() -> None:
    guest = Guest("new", code=True)
    put_branch(guest, 0x800, TEXT_GVA + function_offset(OPEN), JUMP)
    assert [site.opcode for site in reach(guest.kernel()).sites] == [JUMP, CALL]


def test_call_depth_tracking_lets_callers_in_before_the_start() -> None:
    guest = Guest("new", code=True)
    at = function_offset(OPEN)
    guest.code[at - 9 : at] = bytes.fromhex("6548c13d20c5310205")
    put_branch(guest, at + CALLER, TEXT_GVA + at - 9)
    assert [site.target for site in reach(guest.kernel()).sites] == [TEXT_GVA + at - 9]
    guest.code[at - 9 : at] = b"\x90" * 9
    assert reach(guest.kernel()).how == "entry nop", "without the thunk it is no call of the function"


def test_without_calls_the_entry() -> None:
    guest = Guest("new", code=True)
    at = function_offset(OPEN)
    guest.code[at + CALLER] = 0x90
    found = reach(guest.kernel())
    assert (found.how, found.sites) == ("entry nop", ())
    assert "nothing in the kernel's text calls it directly" in found.why
    chosen = event(survey(guest.kernel()), "file.open")
    assert (chosen.how, chosen.deny, chosen.sites_count, chosen.why) == ("entry nop", True, 1, "")


@BOTH
def test_entries_where_they_are_asked_for(model: str) -> None:
    guest = Guest(model, code=True)
    found = survey(guest.kernel(), prefer="entry nop")
    pad, nop = (4, "0f1f440000") if model == "new" else (0, "6666666690")
    for item in (*found.events, *found.ticks):
        assert (item.how, item.available, item.sites_count) == ("entry nop", True, len(item.parts))
        for part in item.parts:
            assert part.gva is not None
            assert part.entry is not None
            assert (part.entry.gva - part.gva, part.entry.old.hex()) == (pad, nop)


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (b"\xcc", "a breakpoint stands at its entry"),
        (encode_branch(Call(Gva(0), CALL, Gva(0x100))), "its entry is traced"),
        (encode_branch(Call(Gva(0), JUMP, Gva(0x100))), "its entry jumps away"),
        (b"\x55" * 5, "there is no nop at its entry (55 55 55 55 55)"),
    ],
)
def test_an_entry_that_the_guest_uses_is_left_to_it(head: bytes, said: str) -> None:
    guest = Guest("new", code=True)
    at = function_offset(OPEN) + 4
    guest.code[at : at + len(head)] = head
    assert event(survey(guest.kernel(), prefer="entry nop"), "file.open").how == "call sites"
    guest.code[function_offset(OPEN) + CALLER] = 0x90
    assert said in event(survey(guest.kernel()), "file.open").why


def test_an_entry_whose_callers_count_is_left_alone() -> None:
    guest = Guest("new", code=True)
    at = function_offset(OPEN)
    guest.code[at - 9 : at] = bytes.fromhex("6548c13d20c5310205")
    assert event(survey(guest.kernel(), prefer="entry nop"), "file.open").how == "call sites"
    guest.code[at + CALLER] = 0x90
    assert "call-depth tracking" in event(survey(guest.kernel()), "file.open").why


def test_without_calls_and_nop_it_is_said_why() -> None:
    guest = Guest("new", code=True)
    at = function_offset(OPEN)
    guest.code[at + CALLER] = 0x90
    guest.code[at : at + 9] = b"\x55" * 9
    found = event(survey(guest.kernel()), "file.open")
    assert (found.how, found.available, found.deny, found.parts) == ("not available", False, False, ())
    assert found.why.startswith(
        f"{OPEN}: nothing in the kernel's text calls it directly, and there is no nop"
    )


def test_a_function_that_is_not_there() -> None:
    kernel = with_symbols(Guest("new", code=True), security_file_open=None)
    assert event(survey(kernel), "file.open").why == f"{OPEN}: this kernel has no such function"
    assert event(survey(kernel), "file.chmod").available


def test_a_stand_in_is_taken() -> None:
    kernel = with_symbols(Guest("new", code=True), security_path_unlink=None)
    assert [part.function.name for part in event(survey(kernel), "file.unlink").parts] == [
        "security_inode_unlink"
    ]


def test_of_two_needed_parts_none_may_lack() -> None:
    kernel = with_symbols(Guest("new", code=True), security_kernel_load_data=None)
    found = event(survey(kernel), "module.load")
    assert found.how == "not available"
    assert "security_kernel_load_data" in found.why
    assert len(found.parts) == 1


def test_an_optional_part_may_lack_but_not_be_out_of_reach() -> None:
    guest = Guest("new", code=True)
    kernel = with_symbols(guest, security_file_truncate=None)
    assert event(survey(kernel), "file.truncate").available
    kernel = with_symbols(guest, security_file_truncate=CODE_BYTES + 5)
    assert "does not lie in the kernel's text" in event(survey(kernel), "file.truncate").why


def test_bytes_within_an_instruction_are_no_call() -> None:
    """A constant that looks like a call: the calls are not used, for one of them could not be trusted."""
    guest = Guest("new", code=True)
    put_branch(guest, 0x803, TEXT_GVA + function_offset(OPEN))
    guest.code[0x800:0x803] = b"\x48\xc7\xc0"  # mov $..., %rax takes four bytes
    guest.code[0x808:0x80A] = b"\x31\xc0"
    found = reach(guest.kernel())
    assert found.how == "entry nop"
    assert found.why == "1 of 2 calls of it may be no instructions"


def test_more_calls_than_any_kernel_has() -> None:
    guest = Guest("new", code=True)
    for number in range(sites.MAX_SITES + 1):
        put_branch(guest, 0x8000 + 16 * number, TEXT_GVA + function_offset(OPEN))
    found = reach(guest.kernel())
    assert found.how == "entry nop"
    assert "more than any kernel has" in found.why


@pytest.mark.parametrize(
    ("target", "opcode", "said"),
    [
        (TEXT_GVA + 0x10, CALL, "is traced: it leads to 0xffffffff9f000010, in the kernel's text"),
        (0xFFFF_FFFF_C000_1000, CALL, "is traced: it leads to 0xffffffffc0001000, outside the kernel's text"),
        (0xFFFF_FFFF_C000_1000, JUMP, "jumps away: it leads to 0xffffffffc0001000, outside"),
    ],
)
def test_an_entry_that_leads_elsewhere_is_said(target: int, opcode: int, said: str) -> None:
    guest = Guest("new", code=True)
    put_branch(guest, function_offset(OPEN) + 4, target, opcode)
    found = reach(guest.kernel())
    assert (found.how, found.entry) == ("call sites", None)
    assert said in found.warnings[0]


def test_a_kprobe_is_said() -> None:
    guest = Guest("new", code=True)
    guest.code[function_offset(OPEN) + 4] = 0xCC
    assert "kprobe" in reach(guest.kernel()).warnings[0]


def test_calls_that_lead_into_the_slot_are_strangers() -> None:
    guest = Guest("new", code=True)
    at = function_offset(OPEN) + CALLER
    put_branch(guest, at, SLOT_GVA + 0x3000)
    found = survey(guest.kernel())
    assert found.strangers == (Call(Gva(TEXT_GVA + at), CALL, Gva(SLOT_GVA + 0x3000)),)
    assert event(found, "file.open").how == "entry nop"


@pytest.mark.parametrize("start", [-5, 0x1000])
def test_a_text_that_is_elsewhere_or_backwards_is_refused(start: int) -> None:
    kernel = with_symbols(Guest("new", code=True), _stext=start, _etext=0x1000)
    with pytest.raises(BadStructure):
        read_text(kernel)


def test_a_text_of_any_size_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sites, "MAX_TEXT_BYTES", CODE_BYTES - 1)
    with pytest.raises(BadStructure, match="65,536"):
        read_text(Guest("new", code=True).kernel())


def test_a_text_that_is_no_ram_is_said() -> None:
    with pytest.raises(GuestDataError):
        survey(Guest("new").kernel())


def test_the_text_is_read_once_and_nothing_is_written() -> None:
    guest = Guest("new", code=True)
    kernel = guest.kernel()
    ram = kernel.memory.phys
    before = {gpa: bytes(data) for gpa, data in ram.memory.items()}  # type: ignore[attr-defined]
    ram.bytes_read = 0  # type: ignore[attr-defined]
    survey(kernel)
    assert ram.bytes_read == CODE_BYTES  # type: ignore[attr-defined]
    assert {gpa: bytes(data) for gpa, data in ram.memory.items()} == before  # type: ignore[attr-defined]


@steady(60)
@given(st.binary(max_size=4096), st.integers(0, CODE_BYTES - 4096))
def test_any_bytes_in_the_text(data: bytes, at: int) -> None:
    guest = Guest("new", code=True)
    guest.code[at : at + len(data)] = data
    found = survey(guest.kernel())
    for item in (*found.events, *found.ticks):
        assert item.available or item.why
        for part in item.parts:
            for site in part.sites:
                assert guest.code[site.gva - TEXT_GVA :][:5] == site.old


OFFSETS = st.one_of(
    st.none(),
    st.integers(-(1 << 32), 1 << 32),
    st.integers(-20, CODE_BYTES + 20),
    st.sampled_from([0, CODE_BYTES - 1, RODATA_GVA - TEXT_GVA + AT["phys_base"], -(1 << 63)]),
)


@steady(100)
@given(st.dictionaries(st.sampled_from([*WATCHED, "_stext", "_etext"]), OFFSETS, max_size=6))
def test_symbols_that_lie(symbols: dict[str, int | None]) -> None:
    guest = Guest("new", code=True)
    kernel = with_symbols(guest, **symbols)
    try:
        found = survey(kernel)
    except GuestDataError:
        return
    for item in found.events:
        for part in item.parts:
            assert all(0 <= site.gva - TEXT_GVA < CODE_BYTES for site in part.sites)
