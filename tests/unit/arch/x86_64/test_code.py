from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kernel.fuzz import steady
from vmon.arch.x86_64 import code
from vmon.arch.x86_64.code import (
    BRANCH_BYTES,
    CALL,
    ENTRY_NOPS,
    JUMP,
    LANDING_PADS,
    Call,
    Entry,
    decode_branch,
    decode_entry,
    depth_thunk_bytes,
    encode_branch,
    find_calls,
    find_calls_into,
    is_instruction,
)
from vmon.core.address import Gva
from vmon.core.errors import BadStructure, UsageError

TEXT = Gva(0xFFFF_FFFF_8100_0000)


def call(at: int, target: int, opcode: int = CALL) -> Call:
    return Call(Gva(at), opcode, Gva(target))


@pytest.mark.parametrize("opcode", [CALL, JUMP])
@pytest.mark.parametrize("distance", [0, 5, -5, 0x1234, -0x7FFF_FFF0, 0x7FFF_FFF0])
def test_a_branch_there_and_back(opcode: int, distance: int) -> None:
    made = call(TEXT, (TEXT + distance) & (1 << 64) - 1, opcode)
    if made.target < 1 << 63:  # around the end of the address space
        with pytest.raises(UsageError):
            encode_branch(made)
        return
    data = encode_branch(made)
    assert (len(data), data[0]) == (BRANCH_BYTES, opcode)
    assert decode_branch(data + b"\x90", TEXT) == made


def test_bytes_of_a_branch() -> None:
    assert encode_branch(call(0x1000, 0x1005)).hex() == "e800000000"
    assert encode_branch(call(0x1000, 0x1000, JUMP)).hex() == "e9fbffffff"


@pytest.mark.parametrize("distance", [(1 << 31) + 5, -(1 << 31) + 4, 1 << 40])
def test_a_target_out_of_reach_is_refused(distance: int) -> None:
    with pytest.raises(UsageError):
        encode_branch(call(1 << 41, (1 << 41) + distance))


def test_the_farthest_targets_are_in_reach() -> None:
    for distance in ((1 << 31) + 4, -(1 << 31) + 5):
        assert decode_branch(encode_branch(call(1 << 41, (1 << 41) + distance)), Gva(1 << 41))


def test_no_other_opcode() -> None:
    assert decode_branch(b"\xeb\0\0\0\0", TEXT) is None
    assert decode_branch(b"\xe8\0\0\0", TEXT) is None
    with pytest.raises(UsageError):
        encode_branch(call(TEXT, TEXT, 0xEB))


@pytest.mark.parametrize("nop", ENTRY_NOPS, ids=bytes.hex)
@pytest.mark.parametrize("pad", [b"", *LANDING_PADS], ids=bytes.hex)
def test_the_nop_at_an_entry(nop: bytes, pad: bytes) -> None:
    assert decode_entry(pad + nop + b"\x55" * 9) == Entry(len(pad), "nop", nop)


def test_who_else_may_stand_at_an_entry() -> None:
    states = {"e800000000": "call", "e900000000": "jump", "cc1f440000": "breakpoint", "554889e553": "other"}
    for data, state in states.items():
        for pad in (b"", LANDING_PADS[0]):
            assert decode_entry(pad + bytes.fromhex(data)) == Entry(len(pad), state, bytes.fromhex(data))
    assert decode_entry(b"") == Entry(0, "other", b"")
    assert decode_entry(b"\xe8\0").state == "other"


def test_the_thunk_of_call_depth_tracking() -> None:
    """As seen on 6.12 and 6.18 with retbleed=stuff, and as 6.2 to 6.9 spell it."""
    assert depth_thunk_bytes(bytes.fromhex("909090909090906548c13d20c5310205")) == 9
    assert depth_thunk_bytes(bytes.fromhex("9090909090906548c13c2520c5310205")) == 10
    assert depth_thunk_bytes(b"\x90" * 16) == 0
    assert depth_thunk_bytes(bytes.fromhex("909090909090906548c13d20c5310206")) == 0
    assert depth_thunk_bytes(b"") == 0


class TestFindCalls:
    """A text with calls at chosen places."""

    @staticmethod
    def text(size: int, *calls: Call) -> bytes:
        data = bytearray(b"\x90" * size)
        for made in calls:
            at = made.gva - TEXT
            data[at : at + BRANCH_BYTES] = encode_branch(made)
        return bytes(data)

    def test_exact_targets_alone(self) -> None:
        target = TEXT + 0x800
        calls = [call(TEXT + 0x10, target), call(TEXT + 0xFF0, target, JUMP)]
        near = [call(TEXT + 0x100 + 16 * by, target + by) for by in (-9, -1, 1, 16) if by]
        text = self.text(0x1000, *calls, *near)
        assert find_calls(text, TEXT, [target]) == calls
        assert find_calls(text, TEXT, [target, target - 9]) == sorted([*calls, near[0]])
        assert find_calls(text, TEXT, []) == []
        assert find_calls(text, TEXT, [0, 1 << 40, (1 << 64) - 1]) == []

    def test_the_first_and_the_last_bytes(self) -> None:
        calls = [call(TEXT, TEXT + 0x40), call(TEXT + 0x100 - 5, TEXT + 0x40)]
        text = self.text(0x100, *calls)
        assert find_calls(text, TEXT, [TEXT + 0x40]) == calls
        assert find_calls(text[:-1], TEXT, [TEXT + 0x40]) == calls[:1]
        assert find_calls(b"", TEXT, [TEXT]) == find_calls(b"\xe8\0\0\0", TEXT, [TEXT]) == []

    def test_calls_that_lie_across_chunks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(code, "CHUNK_BYTES", 64)
        calls = [call(TEXT + at, TEXT + 0x1000) for at in (59, 64 + 60, 128 + 63, 256 + 64)]
        assert find_calls(self.text(512, *calls), TEXT, [TEXT + 0x1000]) == calls

    def test_a_range(self) -> None:
        low = Gva(TEXT - 0x100_0000)
        calls = [call(TEXT + 16 * number, low + 0x1000 * number) for number in range(4)]
        text = self.text(0x100, *calls)
        assert find_calls_into(text, TEXT, Gva(low + 0x1000), 0x2000) == calls[1:3]

    def test_a_text_of_nothing_but_calls_ends(self) -> None:
        text = self.text(1 << 18, *[call(TEXT + at, TEXT + 0x40) for at in range(0, 1 << 18, 5)][:-1])
        with pytest.raises(BadStructure):
            find_calls(text, TEXT, [TEXT + 0x40])
        assert find_calls(b"\xe8" * 100_000, TEXT, [TEXT + 0x40]) == []

    @steady(200)
    @given(st.binary(max_size=300), st.lists(st.integers(-400, 400), max_size=5))
    def test_it_finds_what_a_plain_search_finds(self, text: bytes, offsets: list[int]) -> None:
        targets = {TEXT + offset for offset in offsets}
        every = [decode_branch(text[at:], Gva(TEXT + at)) for at in range(len(text))]
        wanted = [made for made in every if made is not None and made.target in targets]
        assert find_calls(text, TEXT, targets) == wanted


def test_an_instruction_is_told_from_its_inside() -> None:
    # mov $0xe8, %ebx; then a call.
    text = (b"\x89\xd8\xbb\xe8\0\0\0" * 20) + b"\xe8\0\0\0\0"
    assert is_instruction(text, len(text) - 5)
    assert not is_instruction(text, len(text) - 5 - 4)
