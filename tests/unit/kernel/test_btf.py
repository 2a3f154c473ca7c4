from __future__ import annotations

import contextlib
import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kernel.build import BtfBuilder
from tests.unit.kernel.fuzz import damaged, steady
from vmon.core.errors import BadStructure
from vmon.kernel import btf as decoder
from vmon.kernel.btf import (
    HEADER,
    KIND_ENUM,
    KIND_ENUM64,
    KIND_FUNC,
    KIND_FUNC_PROTO,
    KIND_FWD,
    KIND_INT,
    KIND_TYPEDEF,
    KIND_VAR,
    MAGIC,
    Btf,
    Member,
)


class Sample:
    """One of everything. Ids are attributes."""

    def __init__(self) -> None:
        b = BtfBuilder()
        self.u32 = b.integer("unsigned int", 4)
        self.u64 = b.integer("unsigned long", 8)
        self.char = b.integer("char", 1)
        self.pointer = b.pointer(self.u64)
        self.comm = b.array(self.char, 16)
        self.grid = b.array(self.comm, 4)
        self.flexible = b.array(self.u32, 0)
        self.const = b.add(decoder.KIND_CONST, "", self.u32)
        self.volatile = b.add(decoder.KIND_VOLATILE, "", self.const)
        self.pid_t = b.add(KIND_TYPEDEF, "pid_t", self.volatile)
        self.enum = b.enum("pid_type", {"PIDTYPE_PID": 0, "PIDTYPE_SID": 3})
        self.enum64 = b.enum64("wide", {"SMALL": 1, "LARGE": 0x1234_5678_9ABC_DEF0})
        self.inner = b.composite("", 8, [("low", self.u32, 0, 0), ("high", self.u32, 32, 0)])
        self.either = b.composite("", 8, [("whole", self.u64, 0, 0), ("", self.inner, 0, 0)], union=True)
        self.bits = b.composite(
            "flags", 8, [("first", self.u32, 0, 1), ("wide", self.u32, 5, 20), ("plain", self.u32, 32, 0)]
        )
        self.task = b.composite(
            "task_struct",
            80,
            [
                ("pid", self.pid_t, 0, 0),
                ("comm", self.comm, 32, 0),
                ("", self.either, 192, 0),
                ("flags", self.bits, 256, 0),
                ("next", self.pointer, 320, 0),
                ("tail", self.flexible, 640, 0),
            ],
        )
        # Kinds that other tools write; all that counts is that their words are skipped.
        proto = b.add(decoder.KIND_FUNC_PROTO, "", self.u32, [0, self.u32, 0, self.u64], 2)
        b.add(decoder.KIND_FUNC, "main", proto)
        b.add(decoder.KIND_VAR, "x", self.u32, [1])
        b.add(decoder.KIND_DATASEC, ".data", 4, [1, 0, 4], 1)
        b.add(decoder.KIND_FLOAT, "double", 8)
        b.add(decoder.KIND_DECL_TAG, "tag", self.task, [0])
        self.tagged = b.add(decoder.KIND_TYPE_TAG, "rcu", self.task)
        b.add(7, "forward", 0)
        self.last = b.composite("last", 4, [("only", self.u32, 0, 0)])
        self.count = b.count
        self.blob = b.blob()


SAMPLE = Sample()


@pytest.fixture(scope="module")
def btf() -> Btf:
    return Btf(SAMPLE.blob)


def test_every_type_is_found(btf: Btf) -> None:
    assert len(btf) == SAMPLE.count
    assert btf.find("task_struct") == SAMPLE.task
    assert btf.find("last") == SAMPLE.last
    assert btf.find("pid_type", KIND_ENUM, KIND_ENUM64) == SAMPLE.enum
    assert btf.find("pid_t", KIND_TYPEDEF) == SAMPLE.pid_t
    assert btf.name(SAMPLE.task) == "task_struct"
    assert btf.name(SAMPLE.either) == ""


def test_what_is_not_there_is_none(btf: Btf) -> None:
    assert btf.find("task") is None
    assert btf.find("task_struc") is None
    assert btf.find("pid_t") is None  # a typedef is no structure
    assert btf.find("comm") is None  # a member's name, not a type's
    assert btf.member(SAMPLE.task, "nothing") is None
    assert btf.path(SAMPLE.task, "pid.x") is None
    assert btf.path(SAMPLE.task, "flags.x") is None


def test_sizes(btf: Btf) -> None:
    assert [btf.size_bytes(at) for at in (SAMPLE.u32, SAMPLE.pointer, SAMPLE.comm, SAMPLE.grid)] == [
        4,
        8,
        16,
        64,
    ]
    assert [btf.size_bytes(at) for at in (0, SAMPLE.flexible, SAMPLE.pid_t, SAMPLE.enum64)] == [0, 0, 4, 8]
    assert [btf.size_bytes(at) for at in (SAMPLE.task, SAMPLE.tagged, SAMPLE.either)] == [80, 80, 8]
    assert btf.array(SAMPLE.grid) == (SAMPLE.comm, 4)


def test_members_and_members_of_anonymous_ones(btf: Btf) -> None:
    assert [m.name for m in btf.members(SAMPLE.task)] == ["pid", "comm", "", "flags", "next", "tail"]
    assert btf.member(SAMPLE.task, "comm") == Member("comm", SAMPLE.comm, 32, 0)
    assert btf.member(SAMPLE.task, "whole") == Member("whole", SAMPLE.u64, 192, 0)
    assert btf.member(SAMPLE.task, "high") == Member("high", SAMPLE.u32, 224, 0)


def test_bit_fields(btf: Btf) -> None:
    assert btf.path(SAMPLE.task, "flags.first") == Member("flags.first", SAMPLE.u32, 256, 1)
    assert btf.path(SAMPLE.task, "flags.wide") == Member("flags.wide", SAMPLE.u32, 261, 20)
    assert btf.path(SAMPLE.task, "flags.plain") == Member("flags.plain", SAMPLE.u32, 288, 0)


def test_a_bit_field_far_into_a_large_structure() -> None:
    b = BtfBuilder()
    u32 = b.integer("u32", 4)
    far = b.composite("far", 1 << 20, [("x", u32, (1 << 23) - 3, 3)])
    assert Btf(b.blob()).member(far, "x") == Member("x", u32, (1 << 23) - 3, 3)


def test_enumerations(btf: Btf) -> None:
    assert btf.enumerators(SAMPLE.enum) == {"PIDTYPE_PID": 0, "PIDTYPE_SID": 3}
    assert btf.enumerators(SAMPLE.enum64) == {"SMALL": 1, "LARGE": 0x1234_5678_9ABC_DEF0}
    with pytest.raises(BadStructure, match="no enumeration"):
        btf.enumerators(SAMPLE.task)
    with pytest.raises(BadStructure, match="no members"):
        list(btf.members(SAMPLE.u32))


def test_names_of_every_kind() -> None:
    b = BtfBuilder()
    u32 = b.integer("u32", 4)
    proto = b.add(KIND_FUNC_PROTO, "", u32, [b.text("x"), u32, 0, 0], 2)
    work = b.add(KIND_FUNC, "work", proto)
    twice = [b.add(KIND_VAR, "work", u32, [0]) for _ in range(2)]
    first = b.enum("first", {"ONE": 1, "TWO": 2})
    wide = b.enum64("wide", {"BIG": 1 << 40, "TWO": 5})
    union = b.add(KIND_FWD, "some", 0, flag=True)
    btf = Btf(b.blob())
    assert btf.all_named("work", KIND_FUNC) == [work]
    assert btf.all_named("work", KIND_VAR) == twice
    assert btf.all_named("wor", KIND_FUNC) == btf.all_named("", KIND_FUNC) == []
    assert btf.find_enumerator("TWO") == (first, 1)
    assert btf.find_enumerator("BIG") == (wide, 0)
    assert btf.find_enumerator("x") is None and btf.find_enumerator("THREE") is None
    assert btf.parameters(proto) == [("x", u32), ("", 0)]
    assert btf.target(work) == proto and btf.target(proto) == u32
    assert btf.flag(union) and not btf.flag(first) and not btf.has_kind_flags
    with pytest.raises(BadStructure, match="no function prototype"):
        btf.parameters(u32)


def test_encodings_and_signs() -> None:
    b = BtfBuilder()
    signed = b.add(KIND_INT, "int", 4, [1 << 24 | 32])
    assert Btf(b.blob()).encoding(signed) == (True, False, False)
    assert Btf(b.blob()).find_enumerator("X") is None
    b.add(KIND_ENUM, "e", 4, [b.text("X"), 0xFFFF_FFFF], 1, flag=True)
    assert Btf(b.blob()).has_kind_flags


def test_a_type_that_does_not_exist_is_named(btf: Btf) -> None:
    for wrong in (-1, SAMPLE.count + 1, 1 << 31):
        with pytest.raises(BadStructure, match=f"type {wrong} does not exist") as caught:
            btf.size_bytes(wrong)
        assert caught.value.field == "btf_type"


@pytest.mark.parametrize(
    ("at", "value", "complaint"),
    [
        (0, struct.pack("<H", 0x9FEB), "magic"),
        (2, b"\2", "version 2"),
        (4, struct.pack("<I", 23), "beyond the blob"),
        (12, struct.pack("<I", 0xFFFF_FFFC), "beyond the blob"),
        (20, struct.pack("<I", 0xFFFF_FFFF), "beyond the blob"),
        (8, struct.pack("<I", 2), "not aligned|beyond"),
        (12, struct.pack("<I", 30), "not aligned"),
        (12, struct.pack("<I", 28), "overrun"),
    ],
)
def test_headers_that_lie(at: int, value: bytes, complaint: str) -> None:
    blob = bytearray(SAMPLE.blob)
    blob[at : at + len(value)] = value
    with pytest.raises(BadStructure, match=complaint) as caught:
        Btf(bytes(blob))
    assert caught.value.field in ("btf_header", "btf_type")


def test_a_blob_beyond_the_limit_is_not_walked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "MAX_BTF_BYTES", len(SAMPLE.blob) - 1)
    with pytest.raises(BadStructure, match="BTF of"):
        Btf(SAMPLE.blob)


def test_typedefs_in_a_circle_end() -> None:
    b = BtfBuilder()
    b.add(KIND_TYPEDEF, "a", 2)
    b.add(KIND_TYPEDEF, "b", 1)
    with pytest.raises(BadStructure, match="do not end"):
        Btf(b.blob()).size_bytes(1)


def test_an_array_of_itself_ends() -> None:
    b = BtfBuilder()
    b.array(1, 3)
    with pytest.raises(BadStructure, match="arrays"):
        Btf(b.blob()).size_bytes(1)


def test_a_structure_inside_itself_ends() -> None:
    b = BtfBuilder()
    b.composite("a", 8, [("", 1, 0, 0)])
    assert Btf(b.blob()).member(1, "x") is None


def test_anonymous_members_that_double_at_every_level_end() -> None:
    """Thirty levels of two members each are a billion ways down, and all lead to the same few types."""
    b = BtfBuilder()
    b.composite("", 4, [("x", 1, 0, 0)])
    for level in range(1, 31):
        b.composite("top" if level == 30 else "", 4, [("", level, 0, 0)] * 2)
    found = Btf(b.blob())
    assert found.member(found.find("top") or 0, "y") is None
    assert found.member(found.find("top") or 0, "x") == Member("x", 1, 0, 0)


def test_a_chain_of_anonymous_members_without_end_is_refused() -> None:
    b = BtfBuilder()
    b.composite("", 4, [("x", 1, 0, 0)])
    for level in range(1, 100):
        b.composite("", 4, [("", level, 0, 0)])
    with pytest.raises(BadStructure, match="nest without end"):
        Btf(b.blob()).member(100, "x")


def test_members_beyond_the_limit_are_not_gone_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "MAX_MEMBERS", 50)
    b = BtfBuilder()
    u32 = b.integer("u32", 4)
    parts = [b.composite("", 4, [(f"a{n}", u32, 0, 0), (f"b{n}", u32, 0, 0)]) for n in range(40)]
    top = b.composite("top", 4, [("", part, 0, 0) for part in parts])
    found = Btf(b.blob())
    assert found.member(parts[3], "b3") is not None
    with pytest.raises(BadStructure, match="without end"):
        found.member(top, "b39")


def test_a_name_without_end_is_not_copied_for_every_member() -> None:
    """A string section of megabytes without a NUL, and many members that start in it."""
    b = BtfBuilder()
    u32 = b.integer("u32", 4)
    endless = b.text("A" * (1 << 20)) + 1
    b.composite("big", 4, [("x", u32, 0, 0)] * 2000)
    blob = bytearray(b.blob())
    for row in range(2000):
        struct.pack_into("<I", blob, HEADER.size + 16 + 12 + 12 * row, endless + row)
    names = [member.name for member in Btf(bytes(blob)).members(2)]
    assert len(names) == 2000
    assert max(map(len, names)) <= 1024


def use(blob: bytes) -> None:
    """Everything that can be asked of a blob: an answer or BadStructure."""
    try:
        found = Btf(blob)
    except BadStructure:
        return
    for name in ("task_struct", "flags", "last"):
        try:
            type_id = found.find(name)
            if type_id is not None:
                for path in ("pid", "comm", "high", "flags.wide", "next", "nothing.x"):
                    found.path(type_id, path)
        except BadStructure:
            pass
    for type_id in range(min(len(found), 100) + 1):
        for ask in (
            found.size_bytes,
            found.kind,
            found.name,
            found.enumerators,
            lambda at: list(found.members(at)),
        ):
            with contextlib.suppress(BadStructure):
                ask(type_id)


@steady(300)
@given(damaged(SAMPLE.blob))
def test_damaged_blobs(blob: bytes) -> None:
    use(blob)


@steady(150)
@given(st.binary(max_size=300), st.integers(0, 80), st.integers(0, 80))
def test_random_types_behind_a_good_header(data: bytes, types: int, start: int) -> None:
    size = min(types * 4, len(data))
    use(HEADER.pack(MAGIC, 1, 0, 24, 0, size, start, max(len(data) - start, 0)) + data)
    use(data)


@steady(150)
@given(st.lists(st.tuples(st.integers(1, 19), st.integers(0, 40), st.integers(0, 3)), max_size=40))
def test_types_that_refer_anywhere(types: list[tuple[int, int, int]]) -> None:
    b = BtfBuilder()
    for kind, to, vlen in types:
        fixed, each = decoder.EXTRA_WORDS.get(kind, (0, 0))
        words = random.Random(to * 64 + vlen).choices(range(45), k=fixed + each * vlen)
        b.add(kind, ("", "flags", "task_struct")[to % 3], to, words, vlen if each else 0)
    use(b.blob())


def test_what_a_writer_of_all_types_asks() -> None:
    b = BtfBuilder()
    signed = b.add(decoder.KIND_INT, "char", 1, [3 << 24 | 8])
    truth = b.add(decoder.KIND_INT, "_Bool", 1, [4 << 24 | 8])
    pointer = b.pointer(truth)
    union = b.add(decoder.KIND_FWD, "u", 0, flag=True)
    found = Btf(b.blob())
    assert found.of_kind(decoder.KIND_INT) == [signed, truth]
    assert found.of_kind(decoder.KIND_PTR, decoder.KIND_FWD) == [pointer, union]
    assert found.of_kind(decoder.KIND_ENUM) == []
    assert found.target(pointer) == truth
    assert found.flag(union) and not found.flag(pointer)
    assert found.encoding(signed) == (True, True, False)
    assert found.encoding(truth) == (False, False, True)
    assert found.blob == b.blob()
