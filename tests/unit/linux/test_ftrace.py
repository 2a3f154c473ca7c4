from __future__ import annotations

import pytest

from tests.unit.linux.small import IMAGE_GVA, Small
from tests.unit.linux.test_where import where
from vmon.core.coverage import Gaps
from vmon.core.errors import BadStructure
from vmon.core.records.kernel import KernelHookRecord
from vmon.linux.ftrace import FL_ENABLED, WANTS, find_traced

STRUCTS = {
    "ftrace_page": "next:p records:p index:s32 order:s32",
    "dyn_ftrace": "ip:u64 flags:u64",
    "ftrace_ops_hash": "notrace_hash:p filter_hash:p",
    "ftrace_ops": "func:p next:p flags:u64 func_hash:p",
    "ftrace_hash": "size_bits:u64 buckets:p count:u64",
    "hlist_node": "next:p pprev:p",
    "ftrace_func_entry": "hlist:hlist_node ip:u64",
}
SYMBOLS = {"ftrace_pages_start": 8, "ftrace_ops_list": 8, "ftrace_list_end": 64}
WILD = 0xFFFF_C900_0000_0000
FUNCTION, HANDLER = IMAGE_GVA + 0x8000, IMAGE_GVA + 0x9000


def made() -> Small:
    """Four functions in two groups; the second and the fourth are wanted."""
    small = Small(WANTS, STRUCTS, SYMBOLS)
    at = small.symbol("ftrace_pages_start")
    for group in range(2):
        records = b"".join(
            (FUNCTION + 16 * number).to_bytes(8, "little")
            + (FL_ENABLED | number if number % 2 else 1 << 20).to_bytes(8, "little")
            for number in (2 * group, 2 * group + 1)
        )
        page = small.new("ftrace_page", records=small.data(records), index=2)
        small.put(at, page)
        at = page
    small.put(small.symbol("ftrace_ops_list"), small.symbol("ftrace_list_end"))
    return small


def table(small: Small, *functions: int) -> int:
    buckets = small.alloc(16)
    for number, function in enumerate(functions):
        small.put(buckets + 8 * number, small.new("ftrace_func_entry", ip=function))
    return small.new("ftrace_hash", size_bits=1, buckets=buckets, count=len(functions))


def user(small: Small, handler: int, chosen: int, left_out: int = 0) -> int:
    """One more in front of the list."""
    both = small.new("ftrace_ops_hash", filter_hash=chosen, notrace_hash=left_out)
    before = small.kernel().memory.u64(small.symbol("ftrace_ops_list"))  # type: ignore[arg-type]
    ops = small.new("ftrace_ops", func=handler, func_hash=both, next=before)
    small.put(small.symbol("ftrace_ops_list"), ops)
    return ops


def find(small: Small, gaps: Gaps) -> list[KernelHookRecord]:
    return find_traced(small.kernel(), where(small, gaps, vfs_open=FUNCTION, called=HANDLER), gaps)


def test_functions_and_who_is_called() -> None:
    small, gaps = made(), Gaps()
    user(small, HANDLER, table(small, FUNCTION + 16))
    user(small, HANDLER + 8, table(small), table(small, FUNCTION + 16))
    first, second = find(small, gaps)
    assert first == KernelHookRecord(
        kind="ftrace",
        address=FUNCTION + 16,
        function="vfs_open",
        offset=16,
        handlers=["called"],
        state=["enabled"],
        users=1,
        missed=None,
    )
    assert (second.address, second.handlers, second.users) == (FUNCTION + 48, ["called+0x8"], 3)
    assert gaps.records() == []


def test_lists_that_lie() -> None:
    small, gaps = made(), Gaps()
    ops = user(small, HANDLER, table(small, FUNCTION + 16))
    small.set(ops, "ftrace_ops", next=ops)
    assert [record.handlers for record in find(small, gaps)] == [["called"], []]
    small.put(small.symbol("ftrace_ops_list"), ops)
    small.set(
        ops,
        "ftrace_ops",
        next=user(small, HANDLER, small.new("ftrace_hash", size_bits=60, buckets=1, count=1)),
    )
    small.put(small.symbol("ftrace_ops_list"), ops)
    assert [record.handlers for record in find(small, gaps)] == [["called"], []]
    assert [(gap.what, gap.reason) for gap in gaps.records()] == [("handlers", "unreadable")] * 2
    page = small.kernel().memory.u64(small.symbol("ftrace_pages_start"))  # type: ignore[arg-type]
    small.set(page, "ftrace_page", records=WILD)
    gaps = Gaps()
    assert [record.address for record in find(small, gaps)] == [FUNCTION + 48]
    assert gaps.records()[0].what == "ftrace"
    small.set(page, "ftrace_page", next=page)
    with pytest.raises(BadStructure, match="does not end"):
        find(small, gaps)
    small.set(page, "ftrace_page", index=-1)
    with pytest.raises(BadStructure, match="functions"):
        find(small, gaps)


def test_nothing_is_traced_or_can_be() -> None:
    small, gaps = Small(WANTS, STRUCTS, SYMBOLS), Gaps()
    assert find(small, gaps) == []
    assert gaps.records() == []
    assert find(Small(WANTS, {}, {}), gaps) == []
    assert [gap.reason for gap in gaps.records()] == ["not on this kernel"]
