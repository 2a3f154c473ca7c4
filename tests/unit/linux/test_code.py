from __future__ import annotations

import numpy as np

from tests.unit.linux.small import IMAGE_GVA, Small
from tests.unit.linux.test_module import NEW
from vmon.core.coverage import Gaps
from vmon.linux.code import WANTS, CodeArea, CodeMap, find_code

STRUCTS = {
    **NEW,
    "bpf_ksym": "start:u64 end:u64 name:char*64 lnode:list_head",
    "bpf_prog_pack": "list:list_head ptr:p",
    "ftrace_ops": "func:p next:p flags:u64 trampoline:u64 trampoline_size:u64 list:list_head",
    "kprobe_insn_cache": "lock:u64 pages:list_head",
    "kprobe_insn_page": "list:list_head insns:p",
}
LISTS = ("modules", "bpf_kallsyms", "pack_list", "ftrace_ops_trampoline_list")


def made() -> Small:
    sizes = {"_stext": 4096, "_etext": 16, **dict.fromkeys(LISTS, 16), "ftrace_ops_list": 8}
    small = Small(WANTS, STRUCTS, {**sizes, "kprobe_insn_slots": 64, "kprobe_optinsn_slots": 64})
    for name in LISTS:
        small.chain(small.symbol(name), [])
    for name in ("kprobe_insn_slots", "kprobe_optinsn_slots"):
        small.chain(small.field(small.symbol(name), "kprobe_insn_cache", "pages"), [])
    return small


def test_whose_code_is_where() -> None:
    small = made()
    module = small.new("module", name=b"ext4")
    small.put(small.field(module, "module", "mem"), 0xFFFF_FFFF_C000_0000)
    small.put(small.field(module, "module", "mem") + 8, 0x2000, 4)
    program = small.new(
        "bpf_ksym", start=0xFFFF_FFFF_C010_0000, end=0xFFFF_FFFF_C010_0100, name=b"bpf_prog_1"
    )
    pack = small.new("bpf_prog_pack", ptr=0xFFFF_FFFF_C020_0000)
    last = small.new("ftrace_ops")
    ops = small.new("ftrace_ops", next=last, trampoline=0xFFFF_FFFF_C050_0000, trampoline_size=0x90)
    page = small.new("kprobe_insn_page", insns=0xFFFF_FFFF_C060_0000)
    small.chain(small.symbol("modules"), [small.field(module, "module", "list")])
    small.chain(small.symbol("bpf_kallsyms"), [small.field(program, "bpf_ksym", "lnode")])
    small.chain(small.symbol("pack_list"), [pack])
    small.put(small.symbol("ftrace_ops_list"), ops)
    small.chain(small.field(small.symbol("kprobe_insn_slots"), "kprobe_insn_cache", "pages"), [page])
    gaps = Gaps()
    ours = CodeArea(0xFFFF_FFFF_FE00_0000, 0xFFFF_FFFF_FE20_0000, "vmon", "probe")
    code = find_code(small.kernel(), gaps, [ours])
    owners = {
        IMAGE_GVA: "kernel",
        0xFFFF_FFFF_C000_1FFF: "module",
        0xFFFF_FFFF_C010_0080: "bpf",
        0xFFFF_FFFF_C03F_FFFF: "bpf",
        0xFFFF_FFFF_C050_0FFF: "ftrace",
        0xFFFF_FFFF_C060_0000: "kprobe",
        0xFFFF_FFFF_FE00_0000: "vmon",
    }
    for gva, owner in owners.items():
        area = code.at(gva)
        assert area is not None and area.owner == owner, hex(gva)
    outside = [
        IMAGE_GVA - 1,
        IMAGE_GVA + 4096,
        0xFFFF_FFFF_C000_2000,
        0xFFFF_FFFF_C010_0100,
        0,
        (1 << 64) - 1,
    ]
    assert not code.known(np.array(outside, dtype=np.uint64)).any()
    assert code.known(np.array(list(owners), dtype=np.uint64)).all()
    assert gaps.records() == []


def test_an_area_within_another_does_not_cut_it_short() -> None:
    code = CodeMap([CodeArea(0x1000, 0x9000, "bpf", "pack"), CodeArea(0x2000, 0x2100, "bpf", "program")])
    assert code.known(np.array([0x2100, 0x8FFF, 0x9000, 0xFFF], dtype=np.uint64)).tolist() == [
        True,
        True,
        False,
        False,
    ]
    assert not CodeMap([]).known(np.array([0, 1], dtype=np.uint64)).any()


def test_lists_that_lie_are_told_and_the_others_are_there() -> None:
    small = made()
    loop = small.new("ftrace_ops", trampoline_size=1 << 40, trampoline=1 << 20)
    small.set(loop, "ftrace_ops", next=loop)
    small.put(small.symbol("ftrace_ops_list"), loop)
    small.put(small.symbol("bpf_kallsyms"), 0xFFFF_C900_0000_0000)
    gaps = Gaps()
    code = find_code(small.kernel(calls_limit=500), gaps)
    assert [area.owner for area in code.areas] == ["kernel"]
    assert {gap.what for gap in gaps.records()} == {"BPF code", "ftrace trampolines"}
