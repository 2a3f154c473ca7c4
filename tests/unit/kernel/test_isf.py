"""Symbol files as vmon and others write them, and files that lie."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given

from tests.unit.export.test_isf import TEXT, make, small_types
from tests.unit.kernel.fuzz import damaged, steady
from vmon.core.errors import BadStructure
from vmon.kernel import btf as kinds
from vmon.kernel.btf import Btf
from vmon.kernel.isf import Isf
from vmon.kernel.layout import resolve_enums, resolve_structs
from vmon.kernel.profile import FieldLayout, Wants

WANTS = Wants(
    structs={
        "task_struct": "pid comm half|whole hidden handler usage.counter low late paint tasks.prev|tasks.x flag no",
        "list_head": "next prev",
        "mm_struct": "pgd",
    },
    enums=("colour", "wide", "none"),
)


def small(**changed: Any) -> Isf:
    return Isf(json.dumps({**make(), **changed}).encode())


def one(fields: dict[str, Any], **user_types: Any) -> Isf:
    """A file of one structure s, of 64 bytes."""
    return small(user_types={"s": {"kind": "struct", "size": 64, "fields": fields}, **user_types})


def test_layouts_are_those_of_the_btf_that_it_was_made_of() -> None:
    btf = Btf(small_types().blob())
    ours, our_missing = resolve_structs(btf, WANTS)
    theirs, missing = resolve_structs(small(), WANTS, "btf")
    assert theirs == ours and missing == our_missing == ["task_struct.no", "mm_struct"]
    assert ours["task_struct"].fields["late"] == FieldLayout(56, 4, bit=19, bits=5)
    assert resolve_structs(small(), WANTS, "isf")[0]["list_head"]["next"].source == "isf"


def test_what_is_only_declared_is_not_there() -> None:
    assert small().find("never_defined") is None
    assert "never_defined" in make()["user_types"]


def test_enumerations() -> None:
    found, missing = resolve_enums(small(), WANTS)
    assert found == {"colour": {"RED": 0, "BLUE": -1}, "wide": {"MUCH": 1 << 40}}
    assert missing == ["enum none"]


def test_symbols_and_the_banner() -> None:
    isf = small()
    assert isf.find_symbols(["init_task", "nowhere", "current_task"]) == {
        "init_task": TEXT + 0x30_0000,
        "current_task": 0x19140,
    }
    assert isf.banner == "Linux version 6.1.0 (x) #1"
    assert isf.symbol_count > 4000 and len(isf) > 10
    assert small(symbols={}).banner is None


def test_files_of_older_schemas_have_no_word_for_anonymous_members() -> None:
    inner = {
        "kind": "union",
        "size": 8,
        "fields": {"deep": {"offset": 4, "type": {"kind": "base", "name": "int"}}},
    }
    isf = one(
        {"unnamed_field_8": {"offset": 8, "type": {"kind": "union", "name": "unnamed_1"}}}, unnamed_1=inner
    )
    type_id = isf.find("s")
    assert type_id is not None
    member = isf.path(type_id, "deep")
    assert member is not None and member.bit_offset == 96


def test_kinds_and_sizes() -> None:
    base = {"kind": "base", "name": "int"}
    isf = one(
        {
            "grid": {
                "offset": 0,
                "type": {
                    "kind": "array",
                    "count": 3,
                    "subtype": {"kind": "array", "count": 2, "subtype": base},
                },
            },
            "pointer": {"offset": 24, "type": {"kind": "pointer", "subtype": base}},
            "void": {"offset": 32, "type": {"kind": "base", "name": "void"}},
            "code": {"offset": 32, "type": {"kind": "function"}},
            "nobody": {"offset": 32, "type": {"kind": "struct", "name": "nobody"}},
            "colour": {"offset": 32, "type": {"kind": "enum", "name": "colour"}},
        }
    )
    root = isf.find("s", kinds.KIND_STRUCT)
    assert root is not None and isf.find("s", kinds.KIND_UNION) is None and isf.strip(root) == root
    sizes = {}
    for name in ("grid", "pointer", "void", "code", "nobody", "colour"):
        member = isf.path(root, name)
        assert member is not None
        sizes[name] = isf.size_bytes(member.type_id)
        if name == "grid":
            assert isf.kind(member.type_id) == kinds.KIND_ARRAY and isf.array(member.type_id)[1] == 3
    assert sizes == {"grid": 24, "pointer": 8, "void": 0, "code": 0, "nobody": 0, "colour": 4}
    assert isf.path(root, "pointer.x") is None
    assert isf.kind(0) == 0 == isf.size_bytes(0)


def test_what_never_ends_is_cut() -> None:
    loop = {
        "kind": "struct",
        "size": 8,
        "fields": {"x": {"offset": 0, "anonymous": True, "type": {"kind": "struct", "name": "s"}}},
    }
    isf = small(user_types={"s": loop})
    type_id = isf.find("s")
    assert type_id is not None
    with pytest.raises(BadStructure, match="without end"):
        isf.path(type_id, "y")
    deep: dict[str, Any] = {"kind": "base", "name": "int"}
    for _ in range(50):
        deep = {"kind": "array", "count": 1, "subtype": deep}
    with pytest.raises(BadStructure, match="without end"):
        one({"deep": {"offset": 0, "type": deep}}).find("s")


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b'{"user_types": 3}', b"\0\1\2", b"\x7fELF"])
def test_what_is_no_symbol_file(text: bytes) -> None:
    with pytest.raises(BadStructure, match="no symbol file"):
        Isf(text)


def test_damage_behind_the_front_is_told_with_its_place() -> None:
    isf = small(
        user_types={"s": {"kind": "struct"}}, symbols={"linux_banner": {"address": 1, "constant_data": "%"}}
    )
    with pytest.raises(BadStructure, match="s: "):
        isf.find("s")
    with pytest.raises(BadStructure, match="banner is damaged"):
        assert isf.banner
    with pytest.raises(BadStructure):
        isf.kind(99)


def test_a_banner_of_any_bytes() -> None:
    constant = base64.b64encode(b"Linux \xff\n\0more").decode()
    assert small(symbols={"linux_banner": {"address": 1, "constant_data": constant}}).banner == "Linux \ufffd"


LITTLE = json.dumps({**make(), "symbols": {}}).encode()


@steady()
@given(damaged(LITTLE))
def test_damaged_files_are_read_or_refused(text: bytes) -> None:
    try:
        isf = Isf(text)
        resolve_structs(isf, WANTS)
        resolve_enums(isf, WANTS)
    except BadStructure:
        return
