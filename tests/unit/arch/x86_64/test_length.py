from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kernel.fuzz import steady
from vmon.arch.x86_64.length import MAX_LENGTH_BYTES, boundary_share, find_length

# Each as an assembler writes it; the bytes after an instruction must not matter.
INSTRUCTIONS = {
    "nop": "90",
    "endbr64": "f30f1efa",
    "nopl 0(rax,rax)": "0f1f440000",
    "data16 nop": "6666666690",
    "cs nopw 0(rax,rax)": "66662e0f1f840000000000",
    "call": "e811223344",
    "cs call": "2ee811223344",
    "jmp": "e911223344",
    "jmp short": "eb10",
    "je far": "0f8411223344",
    "push r15": "4157",
    "push imm8": "6a05",
    "push imm32": "6811223344",
    "mov rax, imm64": "48b81122334455667788",
    "mov eax, imm32": "b811223344",
    "mov ax, imm16": "66b81122",
    "mov [rip+d], imm32": "c7051122334411223344",
    "mov [rip+d], imm16": "66c705112233441122",
    "mov rax, imm32": "48c7c011223344",
    "mov al, moffs": "a01122334455667788",
    "mov al, moffs32": "67a011223344",
    "mov rax, gs:0": "65488b042500000000",
    "mov [rsp+8], rax": "4889442408",
    "mov [rbp+d32], rax": "48898511223344",
    "lea rax, [d32+rcx*8]": "488d04cd11223344",
    "test [rax], imm8": "f60001",
    "not [rax]": "f610",
    "test eax, imm32": "f7c011223344",
    "test ax, imm16": "66f7c01122",
    "neg rax": "48f7d8",
    "imul eax, ecx, imm32": "69c111223344",
    "enter": "c8112233",
    "ret imm16": "c21122",
    "ud2": "0f0b",
    "ud1 rdi, [edx]": "67480fb93a",
    "sarq gs:rip": "6548c13d1122334405",
    "pshufb": "660f3800c1",
    "palignr": "660f3a0fc108",
    "vzeroupper": "c5f877",
    "vpshufd": "c5f970c1e4",
    "vmovdqa": "c5f96f00",
    "vpalignr": "c4e3710fc208",
    "vpsrld": "c5f172d008",
    "andn": "c4e278f2c1",
    "vmovdqa64": "62f1fd486f00",
    "lock cmpxchg": "f0480fb10e",
}


@pytest.mark.parametrize("name", INSTRUCTIONS)
@pytest.mark.parametrize("after", ["", "00" * 16, "ff" * 16], ids=["end", "zeros", "ones"])
def test_length_of_an_instruction(name: str, after: str) -> None:
    code = bytes.fromhex(INSTRUCTIONS[name])
    assert find_length(code + bytes.fromhex(after), 0) == len(code)
    assert find_length(b"\x90" + code + bytes.fromhex(after), 1) == len(code)


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_an_instruction_that_is_cut_off_is_none(name: str) -> None:
    code = bytes.fromhex(INSTRUCTIONS[name])
    assert all(find_length(code[:size], 0) is None for size in range(len(code)))


@pytest.mark.parametrize("code", ["06", "0f04", "ea1122334455", "d500", "66" * 15 + "90", "0f24c0"])
def test_bytes_that_are_no_instruction(code: str) -> None:
    assert find_length(bytes.fromhex(code) + bytes(16), 0) is None


@steady(300)
@given(st.binary(max_size=40), st.integers(0, 45))
def test_any_bytes_have_a_length_in_bounds_or_none(code: bytes, at: int) -> None:
    size = find_length(code, at)
    assert size is None or (1 <= size <= MAX_LENGTH_BYTES and at + size <= len(code))


@steady(300)
@given(st.binary(max_size=250), st.integers(0, 250))
def test_a_share_is_one_whatever_the_bytes(code: bytes, at: int) -> None:
    assert 0.0 <= boundary_share(code, min(at, len(code))) <= 1.0


def test_decodings_fall_into_step() -> None:
    body = bytes.fromhex("488944240848c7c011223344e81122334485c00f8411223344488b7c2410") * 6
    starts, at = set(), 0
    while at < len(body):
        starts.add(at)
        at += find_length(body, at) or 1
    shares = {place: boundary_share(body, place) for place in range(100, len(body))}
    assert min(share for place, share in shares.items() if place in starts) > 0.9
    assert max(share for place, share in shares.items() if place not in starts) < 0.2


def test_too_little_before_it_is_no_evidence() -> None:
    assert boundary_share(b"\x90" * 10 + b"\xe8\0\0\0\0", 10) == 0.0
