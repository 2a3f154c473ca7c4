from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kernel.build import BtfBuilder
from tests.unit.kernel.fuzz import damaged, steady
from tests.unit.kernel.test_btf import SAMPLE
from tests.unit.linux.build import btf_blob
from vmon.core.errors import BadStructure
from vmon.kernel.btf import Btf
from vmon.kernel.layout import MAX_FIELD_BYTES, MAX_STRUCT_BYTES, resolve_enums, resolve_structs
from vmon.kernel.learn import BASE_WANTS
from vmon.kernel.profile import FieldLayout, Wants
from vmon.linux.snapshot import WANTS

ALL = BASE_WANTS | WANTS


def lay_out(blob: bytes, fields: str, struct: str = "task_struct") -> dict[str, FieldLayout]:
    structs, _ = resolve_structs(Btf(blob), Wants(structs={struct: fields}))
    return structs[struct].fields


def test_offsets_and_sizes_are_bytes() -> None:
    fields = lay_out(SAMPLE.blob, "pid comm whole high next tail flags.plain")
    assert fields == {
        "pid": FieldLayout(0, 4),
        "comm": FieldLayout(4, 16, count=16),
        "whole": FieldLayout(24, 8),
        "high": FieldLayout(28, 4),
        "next": FieldLayout(40, 8),
        "tail": FieldLayout(80, 0),
        "flags.plain": FieldLayout(36, 4),
    }


def test_bit_fields_lie_in_the_word_that_holds_them() -> None:
    fields = lay_out(SAMPLE.blob, "flags.first flags.wide")
    assert fields["flags.first"] == FieldLayout(32, 4, bit=0, bits=1)
    assert fields["flags.wide"] == FieldLayout(32, 4, bit=5, bits=20)


def test_a_bit_field_in_a_later_byte_of_its_word() -> None:
    b = BtfBuilder()
    u32 = b.integer("u32", 4)
    b.composite("s", 12, [("x", u32, 8 * 8 + 19, 3)])
    assert lay_out(b.blob(), "x", "s")["x"] == FieldLayout(8, 4, bit=19, bits=3)


def test_the_newest_spelling_wins_and_an_older_one_is_noted() -> None:
    fields = lay_out(SAMPLE.blob, "comm|name title|comm other|titel|pid")
    assert fields["comm"].spelling == ""
    assert (fields["title"].offset, fields["title"].spelling) == (4, "comm")
    assert (fields["other"].offset, fields["other"].spelling) == (0, "pid")


def test_what_is_missing_is_listed_by_its_newest_name() -> None:
    wants = Wants(structs={"task_struct": "pid new|old", "nothing": "x"}, enums=("pid_type", "no_enum"))
    structs, missing = resolve_structs(Btf(SAMPLE.blob), wants)
    enums, missing_enums = resolve_enums(Btf(SAMPLE.blob), wants)
    assert list(structs) == ["task_struct"]
    assert missing == ["task_struct.new", "nothing"]
    assert enums == {"pid_type": {"PIDTYPE_PID": 0, "PIDTYPE_SID": 3}}
    assert missing_enums == ["enum no_enum"]


@pytest.mark.parametrize(("size", "offset"), [(8, 8), (8, 1 << 20), (4, 0)])
def test_a_field_beyond_its_structure_is_refused(size: int, offset: int) -> None:
    b = BtfBuilder()
    u64 = b.integer("u64", 8)
    b.composite("s", size, [("x", u64, 8 * offset, 0)])
    with pytest.raises(BadStructure, match="beyond its structure") as caught:
        lay_out(b.blob(), "x", "s")
    assert (caught.value.field, caught.value.address) == ("s.x", offset)


def test_sizes_that_a_reader_would_allocate_are_bounded() -> None:
    b = BtfBuilder()
    char = b.integer("char", 1)
    b.composite("wide", MAX_STRUCT_BYTES, [("x", b.array(char, MAX_FIELD_BYTES + 1), 0, 0)])
    b.composite("huge", MAX_STRUCT_BYTES + 1, [("x", char, 0, 0)])
    b.composite("fine", MAX_STRUCT_BYTES, [("x", b.array(char, MAX_FIELD_BYTES), 0, 0)])
    assert lay_out(b.blob(), "x", "fine")["x"].size == MAX_FIELD_BYTES
    for name in ("wide", "huge"):
        with pytest.raises(BadStructure, match="a field of"):
            lay_out(b.blob(), "x", name)


@steady(60)
@given(st.sampled_from(["new", "old"]).flatmap(lambda model: damaged(btf_blob(model))))
def test_damaged_types_give_layouts_that_can_be_used_or_none(blob: bytes) -> None:
    try:
        btf = Btf(blob)
        structs, missing = resolve_structs(btf, ALL)
        resolve_enums(btf, ALL)
    except BadStructure:
        return
    for name, struct in structs.items():
        assert struct.size <= MAX_STRUCT_BYTES or not struct.fields
        for field in struct.fields.values():
            assert 0 <= field.offset <= field.offset + field.size <= struct.size
            assert field.size <= MAX_FIELD_BYTES
        wanted = len(ALL.structs[name].split())
        assert wanted == len(struct.fields) + sum(item.startswith(name + ".") for item in missing)
