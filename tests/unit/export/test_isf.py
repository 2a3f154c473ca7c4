"""A symbol file of a small kernel: accepted by Volatility's own schema, and each kind of type is what it should be."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given

from tests.unit.kernel.build import LAYOUTS, BtfBuilder, filler_symbols, kallsyms
from tests.unit.kernel.fuzz import damaged, steady
from vmon.core.errors import BadStructure
from vmon.export.isf import make_isf
from vmon.export.variables import VARIABLES
from vmon.kernel import btf as kinds
from vmon.kernel.btf import Btf
from vmon.kernel.kallsyms import locate_kallsyms
from vmon.kernel.symbols import SymbolTable

TEXT = 0xFFFF_FFFF_8100_0000
SLIDE = 0x1E00_0000
RODATA = TEXT + SLIDE + (2 << 20)
VOID = {"kind": "base", "name": "void"}


def small_types() -> BtfBuilder:
    b = BtfBuilder()
    char = b.add(kinds.KIND_INT, "char", 1, [1 << 24 | 8])
    integer = b.add(kinds.KIND_INT, "int", 4, [1 << 24 | 32])
    unsigned = b.integer("unsigned int", 4)
    truth = b.add(kinds.KIND_INT, "_Bool", 1, [4 << 24 | 8])
    b.add(kinds.KIND_FLOAT, "double", 8)
    pid_t = b.add(kinds.KIND_TYPEDEF, "pid_t", integer)
    name = b.array(char, 16)
    lst = b.count + 1
    b.composite("list_head", 16, [("next", lst + 1, 0, 0), ("prev", lst + 1, 64, 0)])
    b.pointer(lst)
    inner = b.composite("", 8, [("whole", unsigned, 0, 0), ("half", char, 0, 0)], union=True)
    hidden = b.add(kinds.KIND_FWD, "never_defined", 0)
    proto = b.add(kinds.KIND_FUNC_PROTO, "", integer)
    handler = b.pointer(proto)
    named = b.composite("", 4, [("counter", integer, 0, 0)])
    atomic = b.add(kinds.KIND_TYPEDEF, "atomic_t", named)
    colour = b.enum("colour", {"RED": 0, "BLUE": 0xFFFF_FFFF})
    b.enum64("wide", {"MUCH": 1 << 40})
    b.composite(
        "task_struct",
        104,
        [
            ("pid", pid_t, 0, 0),
            ("comm", name, 32, 0),
            ("", inner, 160, 0),
            ("hidden", b.pointer(hidden), 256, 0),
            ("handler", handler, 320, 0),
            ("usage", atomic, 384, 0),
            ("low", unsigned, 416, 3),
            ("late", unsigned, 448 + 19, 5),
            ("", unsigned, 480, 2),
            ("paint", colour, 512, 2),
            ("tasks", lst, 576, 0),
            ("flag", truth, 704, 0),
            ("anything", b.pointer(), 768, 0),
        ],
    )
    b.composite("twice", 8, [("a", integer, 0, 0)])
    b.composite("twice", 4, [("b", integer, 0, 0)])
    b.composite("", 16, [("seq", integer, 0, 0), ("timekeeper", integer, 32, 0)])
    b.add(kinds.KIND_FUNC, "do_exit", proto)
    b.add(kinds.KIND_VAR, "current_task", b.pointer(lst), [0])
    return b


def table(named: list[tuple[str, int]]) -> SymbolTable:
    symbols = filler_symbols(4400, TEXT + SLIDE)
    symbols[100:100] = named
    data, _ = kallsyms(symbols, LAYOUTS[0], 4096, RODATA)
    return SymbolTable(locate_kallsyms(bytes(4096) + data + bytes(4096)), RODATA)


NAMED = [
    ("Acurrent_task", 0x19140),
    ("Tdo_exit", TEXT + SLIDE + 0x1000),
    ("tdo_exit", TEXT + SLIDE + 0x2000),
    ("Rlinux_banner", TEXT + SLIDE + 0x20_0000),
    ("Rsys_call_table", TEXT + SLIDE + 0x20_0100),
    ("rafter", TEXT + SLIDE + 0x20_0150),
    ("Dinit_task", TEXT + SLIDE + 0x30_0000),
    ("Dinit_mm", TEXT + SLIDE + 0x30_1000),
    ("dtk_core", TEXT + SLIDE + 0x30_2000),
    ("dplain", TEXT + SLIDE + 0x30_3000),
]


def make(types: Btf | None = None, named: list[tuple[str, int]] = NAMED) -> dict[str, Any]:
    text = make_isf(
        types or Btf(small_types().blob()),
        table(named),
        banner=b"Linux version 6.1.0 (x) #1\n",
        build_id="ab" * 20,
        slide=SLIDE,
        vmon_version="1.2.3",
    )
    found: dict[str, Any] = json.loads(text)
    return found


@pytest.mark.filterwarnings("ignore:The metaschema:DeprecationWarning")
def test_volatility_accepts_it() -> None:
    schemas = pytest.importorskip("volatility3.schemas")
    jsonschema = pytest.importorskip("jsonschema")
    document = make()
    assert schemas.validate(document, use_cache=False)
    document["symbols"]["plain"]["address"] = "0"
    with pytest.raises(jsonschema.ValidationError):
        schemas.validate(document, use_cache=False)


def test_the_banner_names_the_kernel() -> None:
    document = make()
    constant = base64.b64decode(document["symbols"]["linux_banner"]["constant_data"])
    assert constant == b"Linux version 6.1.0 (x) #1\n\0"
    assert document["metadata"]["format"] == "6.2.0"
    sources = document["metadata"]["linux"]
    assert "ab" * 20 in sources["types"][0]["name"] and "ab" * 20 in sources["symbols"][0]["name"]


def test_addresses_are_those_before_kaslr() -> None:
    symbols = make()["symbols"]
    assert symbols["init_task"]["address"] == TEXT + 0x30_0000
    assert symbols["do_exit"]["address"] == TEXT + 0x1000, "the first of equal names"
    assert symbols["current_task"]["address"] == 0x19140, "an offset into each CPU's area"
    assert symbols["filler_0"]["address"] == TEXT


def test_types_of_symbols() -> None:
    symbols = make()["symbols"]
    assert symbols["init_task"]["type"] == {"kind": "struct", "name": "task_struct"}
    assert symbols["do_exit"]["type"] == {"kind": "function"}
    assert symbols["current_task"]["type"] == {
        "kind": "pointer",
        "subtype": {"kind": "struct", "name": "list_head"},
    }
    calls = {"kind": "array", "subtype": {"kind": "pointer", "subtype": {"kind": "function"}}, "count": 10}
    assert symbols["sys_call_table"]["type"] == calls, "as long as there is room"
    assert symbols["plain"]["type"] == VOID
    assert symbols["init_mm"]["type"] == VOID, "this kernel has no mm_struct"
    tk = symbols["tk_core"]["type"]
    assert make()["user_types"][tk["name"]]["fields"].keys() == {"seq", "timekeeper"}


def test_a_name_that_became_a_macro() -> None:
    named = [(name.replace("tk_core", "timekeeper_data"), address) for name, address in NAMED]
    symbols = make(named=named)["symbols"]
    assert symbols["tk_core"]["address"] == symbols["timekeeper_data"]["address"] == TEXT + 0x30_2000
    assert symbols["tk_core"]["type"]["kind"] == "struct"
    assert symbols["timekeeper_data"]["type"] == VOID, "an array of tk_data, which this kernel has not"


def test_the_table_of_symbols_lists_itself() -> None:
    symbols = make()["symbols"]
    parts = table(NAMED).parts
    assert {name: symbols[name]["address"] + SLIDE for name in parts} == parts
    assert symbols["kallsyms_num_syms"]["type"] == {"kind": "base", "name": "unsigned int"}


def test_members() -> None:
    document = make()
    task = document["user_types"]["task_struct"]
    assert (task["kind"], task["size"]) == ("struct", 104)
    fields = task["fields"]
    assert fields["pid"] == {"type": {"kind": "base", "name": "int"}, "offset": 0}
    assert fields["comm"]["type"] == {
        "kind": "array",
        "subtype": {"kind": "base", "name": "char"},
        "count": 16,
    }
    inner = fields["unnamed_field_0"]
    assert inner["anonymous"] is True and inner["offset"] == 20 and inner["type"]["kind"] == "union"
    assert document["user_types"][inner["type"]["name"]]["fields"].keys() == {"whole", "half"}
    assert fields["hidden"]["type"]["subtype"] == {"kind": "struct", "name": "never_defined"}
    assert document["user_types"]["never_defined"] == {"kind": "struct", "size": 0, "fields": {}}
    assert fields["handler"]["type"] == {"kind": "pointer", "subtype": {"kind": "function"}}
    assert fields["usage"]["type"] == {"kind": "struct", "name": "atomic_t"}
    assert fields["tasks"] == {"type": {"kind": "struct", "name": "list_head"}, "offset": 72}
    assert fields["anything"]["type"] == {"kind": "pointer", "subtype": VOID}
    assert "anonymous" not in fields["unnamed_field_1"], "padding, no structure"


def test_bit_fields_lie_in_a_word_of_their_type() -> None:
    fields = make()["user_types"]["task_struct"]["fields"]
    unsigned = {"kind": "base", "name": "unsigned int"}
    bits = {"kind": "bitfield", "type": unsigned}
    assert fields["low"] == {"type": {**bits, "bit_position": 0, "bit_length": 3}, "offset": 52}
    assert fields["late"] == {"type": {**bits, "bit_position": 19, "bit_length": 5}, "offset": 56}
    assert fields["paint"]["type"]["type"] == {"kind": "enum", "name": "colour"}


def test_base_types_and_enumerations() -> None:
    document = make()
    bases = document["base_types"]
    assert bases["char"] == {"size": 1, "signed": True, "kind": "char", "endian": "little"}
    assert bases["_Bool"]["kind"] == "bool" and bases["double"]["kind"] == "float"
    assert (bases["int"]["signed"], bases["unsigned int"]["signed"]) == (True, False)
    assert bases["pointer"]["size"] == 8
    assert document["enums"]["colour"] == {"size": 4, "base": "int", "constants": {"RED": 0, "BLUE": -1}}
    assert document["enums"]["wide"]["constants"] == {"MUCH": 1 << 40}


def test_two_types_of_one_name_stay_two() -> None:
    types = make()["user_types"]
    assert types["twice"]["fields"].keys() == {"a"}
    (other,) = [name for name in types if name.startswith("twice_")]
    assert types[other]["fields"].keys() == {"b"}


def test_names_that_are_no_names_stay_inside_their_quotes() -> None:
    b = BtfBuilder()
    integer = b.integer('in"t', 4)
    b.composite('s"},{', 4, [('f"\\', integer, 0, 0)])
    document = make(Btf(b.blob()))
    assert document["user_types"]['s"},{']["fields"]['f"\\']["type"]["name"] == 'in"t'


def test_types_that_never_end_are_cut() -> None:
    b = BtfBuilder()
    b.pointer(1)
    b.add(kinds.KIND_TYPEDEF, "round", 3)
    b.add(kinds.KIND_TYPEDEF, "about", 2)
    b.add(kinds.KIND_ARRAY, "", 0, [4, 0, 1 << 31])
    b.composite("s", 8, [("p", 1, 0, 0), ("t", 2, 0, 0), ("a", 4, 0, 0), ("wild", 999, 0, 0)])
    fields = make(Btf(b.blob()))["user_types"]["s"]["fields"]
    assert fields["t"]["type"] == fields["wild"]["type"] == VOID
    assert len(json.dumps(fields)) < 10_000


@steady()
@given(damaged(small_types().blob()))
def test_damaged_types_give_a_file_or_a_clear_error(blob: bytes) -> None:
    try:
        types = Btf(blob)
        make(types)
    except BadStructure:
        return


def test_every_variable_has_a_shape() -> None:
    for name, shapes in VARIABLES.items():
        assert shapes and all(set(shape.around) <= {"*", "["} for shape in shapes), name
