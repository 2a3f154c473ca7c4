from __future__ import annotations

import pytest

from tests.unit.linux.small import Small
from vmon.core.coverage import Gaps
from vmon.core.errors import BadStructure
from vmon.core.records.kernel import SecurityModuleRecord
from vmon.linux.lsm import WANTS, find_security_modules

OLD = {
    "hlist_node": "next:p pprev:p",
    "security_hook_heads": "one:p two:p three:p",
    "security_hook_list": "list:hlist_node head:p hook:p lsm:p",
}
NEW = {
    "lsm_id": "name:p id:u64",
    "security_hook_list": "scalls:p hook:p lsmid:p",
    "lsm_static_call": "key:p trampoline:p hl:p active:p",
    "lsm_static_calls_table": "one:lsm_static_call*3 two:lsm_static_call*3",
}
STATE = {"kernel_locked_down": 4, "ptrace_scope": 4}
ENUMS = {
    "lockdown_reason": {"LOCKDOWN_NONE": 0, "LOCKDOWN_INTEGRITY_MAX": 20, "LOCKDOWN_CONFIDENTIALITY_MAX": 29}
}
WILD = 0xFFFF_C900_0000_0000


def old() -> Small:
    small = Small(WANTS, OLD, {"lsm_names": 8, "security_hook_heads": 24, **STATE}, ENUMS)
    small.put(small.symbol("lsm_names"), small.string(b"lockdown,yama"))
    return small


def new(names: list[bytes]) -> tuple[Small, list[int]]:
    symbols = {"lsm_idlist": 128, "lsm_active_cnt": 4, "static_calls_table": 192, **STATE}
    small = Small(WANTS, NEW, symbols, ENUMS)
    ids = [small.new("lsm_id", name=small.string(name), id=100 + at) for at, name in enumerate(names)]
    for at, gva in enumerate(ids):
        small.put(small.symbol("lsm_idlist") + 8 * at, gva)
    small.put(small.symbol("lsm_active_cnt"), len(ids), 4)
    return small, ids


def call(small: Small, place: int, owner: int) -> None:
    hook = small.new("security_hook_list", lsmid=owner)
    small.put(small.symbol("static_calls_table") + 32 * place + 16, hook)


def test_names_and_lists_of_hooks() -> None:
    small, gaps = old(), Gaps()
    small.put(small.symbol("kernel_locked_down"), 20, 4)
    small.put(small.symbol("ptrace_scope"), 2, 4)
    lockdown, yama = small.string(b"lockdown"), small.string(b"yama")
    last = small.new("security_hook_list", lsmid=yama)
    first = small.new("security_hook_list", lsmid=lockdown, list__next=last)
    small.put(small.symbol("security_hook_heads"), first)
    small.put(small.symbol("security_hook_heads") + 16, small.new("security_hook_list", lsmid=yama))
    assert find_security_modules(small.kernel(), gaps) == [
        SecurityModuleRecord(name="lockdown", id=None, listed=True, hooks=1, state="integrity"),
        SecurityModuleRecord(name="yama", id=None, listed=True, hooks=2, state="ptrace_scope 2"),
    ]
    assert gaps.records() == []


def test_ids_and_static_calls() -> None:
    small, ids = new([b"capability", b"lockdown"])
    call(small, 0, ids[0])
    call(small, 5, ids[0])
    hidden = small.new("lsm_id", name=small.string(b"shadow"), id=0)
    call(small, 3, hidden)
    small.put(small.symbol("kernel_locked_down"), 7, 4)
    records = find_security_modules(small.kernel(), Gaps())
    assert [(r.name, r.id, r.listed, r.hooks, r.state) for r in records] == [
        ("capability", 100, True, 2, None),
        ("lockdown", 101, True, 0, "7"),
        ("shadow", None, False, 1, None),
    ]


def test_lists_that_lie() -> None:
    small, gaps = old(), Gaps()
    again = small.new("security_hook_list", lsmid=small.string(b"yama"))
    small.set(again, "security_hook_list", list__next=again)
    small.put(small.symbol("security_hook_heads"), again)
    records = find_security_modules(small.kernel(calls_limit=200_000), gaps)
    assert [(record.name, record.hooks) for record in records] == [("lockdown", None), ("yama", None)]
    assert [(gap.what, gap.reason) for gap in gaps.records()] == [("hooks", "unreadable")]
    small.set(again, "security_hook_list", list__next=WILD, lsmid=WILD)
    gaps = Gaps()
    assert [record.hooks for record in find_security_modules(small.kernel(), gaps)] == [0, 0]
    assert [(gap.what, gap.detail) for gap in gaps.records()] == [
        ("hooks", "a list of them leads nowhere"),
        ("hooks", "whose they are"),
    ]
    small, _ = new([])
    small.put(small.symbol("lsm_active_cnt"), 1 << 20, 4)
    with pytest.raises(BadStructure, match="security modules"):
        find_security_modules(small.kernel(), Gaps())


def test_a_kernel_that_tells_nothing() -> None:
    gaps = Gaps()
    assert find_security_modules(Small(WANTS, {}, {}).kernel(), gaps) == []
    assert [(gap.what, gap.reason) for gap in gaps.records()] == [
        ("modules", "not on this kernel"),
        ("hooks", "not on this kernel"),
    ]
