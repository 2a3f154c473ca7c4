from __future__ import annotations

import pytest

from tests.unit.linux.small import Small
from vmon.core.coverage import Gaps
from vmon.core.errors import BadStructure
from vmon.linux.module import WANTS, find_modules

COMMON = {"module_use": "source_list:list_head target_list:list_head source:p target:p"}
HEAD = "state:s32 list:list_head name:char*56 version:p"
TAIL = "taints:u64 source_list:list_head refcnt:u32"
OLD = {
    **COMMON,
    "module_layout": "base:p size:u32",
    "module": f"{HEAD} core_layout:module_layout init_layout:module_layout {TAIL}",
}
NEW = {**COMMON, "module_memory": "base:p size:u32", "module": f"{HEAD} mem:module_memory*7 {TAIL}"}


def made(structs: dict[str, str]) -> tuple[Small, list[int]]:
    """bridge, which stp is used by; both use llc."""
    small = Small(WANTS, structs, {"modules": 16})
    modules = []
    for number, (name, references) in enumerate((("bridge", 1), ("stp", 2), ("llc", 3))):
        module = small.new("module", name=name.encode(), refcnt=references, taints=0x1000 << number % 2)
        parts = small.field(module, "module", "mem" if structs is NEW else "core_layout.base")
        for part, size in enumerate((0x4000, 0x2000)):
            small.put(parts + 16 * part, 0xFFFF_FFFF_C000_0000 + (number << 16) + (part << 15))
            small.put(parts + 16 * part + 8, size, 4)
        small.chain(small.field(module, "module", "source_list"), [])
        modules.append(module)
    small.chain(small.symbol("modules"), [small.field(module, "module", "list") for module in modules])
    for used, users in ((1, [0]), (2, [0, 1])):
        uses = [small.new("module_use", source=modules[user]) for user in users]
        small.chain(
            small.field(modules[used], "module", "source_list"),
            [small.field(use, "module_use", "source_list") for use in uses],
        )
    return small, modules


@pytest.mark.parametrize("structs", [OLD, NEW], ids=["two layouts", "one array"])
def test_modules_and_who_uses_them(structs: dict[str, str]) -> None:
    small, modules = made(structs)
    small.set(modules[0], "module", version=small.string(b"2.3"), state=1)
    gaps = Gaps()
    records = find_modules(small.kernel(), gaps)
    assert [(record.name, record.used_by, record.references) for record in records] == [
        ("bridge", [], 0),
        ("stp", ["bridge"], 1),
        ("llc", ["bridge", "stp"], 2),
    ]
    assert [record.address for record in records] == [0xFFFF_FFFF_C000_0000 + (n << 16) for n in range(3)]
    assert {record.size for record in records} == {0x6000}
    assert [record.taints for record in records] == ["O", "E", "O"]
    assert [(record.state, record.version) for record in records][:2] == [("Loading", "2.3"), ("Live", None)]
    assert [record.module_struct for record in records] == modules
    assert gaps.records() == []


def test_what_cannot_be_read_is_told_and_the_rest_is_there() -> None:
    small, modules = made(NEW)
    small.put(small.field(modules[1], "module", "source_list"), 0xFFFF_C900_0000_0000)
    small.set(modules[2], "module", version=0xFFFF_C900_0000_0000)
    gaps = Gaps()
    records = find_modules(small.kernel(), gaps)
    assert [record.used_by for record in records] == [[], [], ["bridge", "stp"]]
    assert [(gap.what, gap.reason) for gap in gaps.records()] == [
        ("used_by", "unreadable"),
        ("version", "unreadable"),
    ]


def test_a_list_that_has_no_end() -> None:
    small, modules = made(NEW)
    first, second = (small.field(module, "module", "list") for module in modules[:2])
    small.put(second, first)
    with pytest.raises(BadStructure, match="runs into itself"):
        find_modules(small.kernel(), Gaps())
