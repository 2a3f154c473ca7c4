"""The header, the object's debug information and what the host writes agree."""

from __future__ import annotations

import re

import pytest

from tests.unit.probe.native import PROBE
from vmon.arch.x86_64.code import ENTRY_NOPS
from vmon.core.errors import NotSupported
from vmon.probe import abi as module
from vmon.probe.abi import load_abi
from vmon.probe.config import FIELDS, KERNEL_FUNCTIONS, MAGIC
from vmon.probe.hooks import EVENTS, FUNCTIONS
from vmon.probe.place import SLOT_GVA

HEADER = (PROBE / "include" / "vmon_abi.h").read_text()


def test_numbers_are_those_of_the_header() -> None:
    abi = load_abi()
    defined = dict(re.findall(r"^#define VMON_(\w+) (0x[0-9a-f]+|\d+)(?:ul)?\b", HEADER, re.MULTILINE))
    for name, text in (
        ("SLOT", "SLOT"),
        ("RING_AT", "RING_AT"),
        ("STATE_AT", "STATE_AT"),
        ("TABLE", "TABLE_SIZE"),
    ):
        assert abi.sizes[name] == int(defined[text], 0)
    assert int(defined["MAGIC"], 0) == MAGIC
    assert abi.sizes["CONFIG_AT"] + abi.size("config") <= abi.sizes["STATE_AT"]
    assert abi.sizes["STATE_AT"] + abi.size("state") <= abi.sizes["RULES_AT"]
    assert abi.size("table") <= abi.sizes["TABLE"]
    assert abi.sizes["RULES_AT"] + 2 * abi.sizes["TABLE"] <= abi.sizes["RING_AT"]
    assert len(abi.code) <= abi.sizes["CONFIG_AT"]
    assert abi.kinds["KINDS"] <= abi.member("state", "seen")[1] // 8


def test_every_field_of_the_offsets_is_filled_and_every_function_named() -> None:
    abi = load_abi()
    members = {name.removeprefix("at.") for name in abi.dtype("offsets").names or ()}
    assert members == set(FIELDS)
    assert set(abi.kfuncs) == set(KERNEL_FUNCTIONS)
    assert {event.name for event in EVENTS} == set(abi.events)
    assert len(abi.events) == len(set(abi.kinds) - {"NONE", "KINDS"})
    assert {function.shape for function in FUNCTIONS} <= set(abi.shapes)


def test_functions_are_in_the_order_of_the_assembly() -> None:
    listed = re.search(r"\.irp name, (.*)", (PROBE / "src" / "entry.S").read_text())
    assert listed is not None
    assert [name.upper() for name in listed[1].split(", ")] == list(load_abi().kfuncs)


def test_a_record_is_laid_out_as_its_structure() -> None:
    abi = load_abi()
    dtype = abi.dtype("record", abi.sizes["SLOT"])
    assert dtype.itemsize == abi.sizes["SLOT"]
    for name in dtype.names or ():
        field = dtype.fields and dtype.fields[name]
        assert field is not None
        assert (field[1], field[0].itemsize) == abi.member("record", name)


def test_the_code_has_entries_that_lead_to_the_caller_until_they_are_filled() -> None:
    abi = load_abi()
    for number in range(abi.sizes["HOOKS"]):
        at = number * abi.sizes["HOOK"] + abi.sizes["HOOK_JUMP"]
        assert abi.code[at : at + 3] == b"\x31\xc0\xc3", number
        gate = SLOT_GVA + abi.sizes["CONFIG_AT"] + abi.offset("config", "gates") + number
        compare = b"\x80\x3c\x25" + (gate & 0xFFFF_FFFF).to_bytes(4, "little") + b"\0"
        assert abi.code[number * abi.sizes["HOOK"] :].startswith(compare)


def test_the_code_has_entries_that_go_back_into_the_function() -> None:
    abi = load_abi()
    sizes = abi.sizes
    for number in range(sizes["HOOKS"]):
        at = sizes["ENTRIES_AT"] + number * sizes["ENTRY"]
        assert abi.code[at + sizes["ENTRY_NOP"] :].startswith(ENTRY_NOPS[0] + b"\xc3"), number
        gate = SLOT_GVA + sizes["CONFIG_AT"] + abi.offset("config", "gates") + number
        compare = b"\x80\x3c\x25" + (gate & 0xFFFF_FFFF).to_bytes(4, "little") + b"\0"
        assert abi.code[at:].startswith(compare)


def test_a_package_without_its_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FOLDER", "nowhere")
    with pytest.raises(NotSupported, match="without its probe"):
        load_abi.__wrapped__()
