from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import drgn
import pytest
from drgn import Architecture, Platform, Program, Qualifiers, TypeKind

from tests.unit.kernel.build import BtfBuilder
from tests.unit.linux.scene import Scene
from tests.unit.monitor.connection import FakeConnection
from vmon.core.errors import BadStructure, NotSupported
from vmon.kernel import btf as kinds
from vmon.kernel.btf import HEADER, Btf
from vmon.monitor import drgn as door
from vmon.monitor.drgn import vmcoreinfo
from vmon.monitor.drgn.btf_types import MAX_DEPTH, BtfTypes, signed_enumerators
from vmon.monitor.drgn.objects import OUTSIDE_BRACES
from vmon.monitor.drgn.symbols import KernelSymbols
from vmon.monitor.drgn.variables import UNWIND_MARKS, VARIABLES, WANTS
from vmon.monitor.machine import VirtualMachine

Make = Callable[..., VirtualMachine]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """A machine that shows a scene."""
    monkeypatch.setenv("VMON_CACHE_DIR", str(tmp_path))

    def made(scene: Scene | None = None, *, live: bool = True) -> VirtualMachine:
        return VirtualMachine("lab:x", FakeConnection((scene or Scene("new")).guest, live=live))

    return made


def of(builder: BtfBuilder) -> tuple[Program, BtfTypes]:
    """A program that knows the types of a BTF, and nothing else."""
    prog = Program(Platform(Architecture.X86_64))
    types = BtfTypes(prog, Btf(builder.blob()))
    prog.register_type_finder("vmon", types.find, enable_index=0)
    return prog, types


# Types


def test_types_of_every_kind() -> None:
    b = BtfBuilder()
    integer = b.add(kinds.KIND_INT, "int", 4, [1 << 24 | 32])
    byte = b.integer("unsigned char", 1)
    truth = b.add(kinds.KIND_INT, "_Bool", 1, [4 << 24 | 8])
    real = b.add(kinds.KIND_FLOAT, "double", 8)
    fixed = b.add(kinds.KIND_CONST, "", integer)
    moving = b.add(kinds.KIND_VOLATILE, "", fixed)
    pid = b.add(kinds.KIND_TYPEDEF, "pid_t", integer)
    inner = b.composite("", 4, [("low", integer, 0, 0), ("high", byte, 0, 0)], union=True)
    forward = b.add(kinds.KIND_FWD, "secret", 0)
    proto = b.add(kinds.KIND_FUNC_PROTO, "", pid, [b.text("file"), b.count + 2, 0, 0], 2)
    pointer = b.pointer(forward)
    tagged = b.add(kinds.KIND_TYPE_TAG, "rcu", pointer)
    tail = b.array(byte, 0)
    b.composite(
        "thing",
        40,
        [
            ("pid", pid, 0, 0),
            ("flag", integer, 32, 3),
            ("rest", integer, 35, 29),
            ("", inner, 64, 0),
            ("ok", truth, 96, 0),
            ("real", real, 128, 0),
            ("now", moving, 192, 0),
            ("secret", tagged, 256, 0),
            ("tail", tail, 320, 0),
        ],
    )
    b.add(kinds.KIND_FUNC, "work", proto)
    prog, types = of(b)
    thing = prog.type("struct thing")
    members = {member.name: member for member in thing.members}
    assert drgn.sizeof(thing) == 40
    assert members["pid"].type.type_name() == "pid_t"
    assert (members["flag"].bit_offset, members["flag"].bit_field_size) == (32, 3)
    assert members["rest"].bit_field_size == 29
    assert thing.member("high").offset == 8 and members[None].type.kind == TypeKind.UNION
    assert members["ok"].type.kind == TypeKind.BOOL and members["real"].type.kind == TypeKind.FLOAT
    assert members["now"].type.qualifiers == Qualifiers.CONST | Qualifiers.VOLATILE
    assert members["secret"].type.type_name() == "struct secret *"
    assert not members["secret"].type.type.is_complete()
    assert members["tail"].type.length is None
    function = types.type(proto)
    assert function.type.type_name() == "pid_t" and function.is_variadic
    assert [(item.name, item.type.type_name()) for item in function.parameters] == [
        ("file", "struct secret *")
    ]
    assert types.type(types.btf.all_named("work", kinds.KIND_FUNC)[0]) == function
    assert prog.type("double").size == 8
    with pytest.raises(LookupError):
        prog.type("struct pid_t")


def test_a_forward_declaration_of_what_is_known_is_whole() -> None:
    b = BtfBuilder()
    forward = b.add(kinds.KIND_FWD, "either", 0, flag=True)
    b.composite("either", 8, [("x", b.integer("unsigned long", 8), 0, 0)], union=True)
    prog, types = of(b)
    assert prog.type("union either").is_complete()
    assert types.type(forward).member("x").type.type_name() == "unsigned long"


def test_enumerations_with_and_without_signs() -> None:
    b = BtfBuilder()
    old = b.enum("old", {"BELOW": 0xFFFF_FFFE, "NONE": 0})
    prog, types = of(b)
    assert signed_enumerators(types.btf, old) == {"BELOW": -2, "NONE": 0}
    assert prog.type("enum old").type.is_signed
    # Where the flag is used at all, a large value without it is a large value.
    unsigned = b.enum("mask", {"TOP": 0x8000_0000})
    b.add(kinds.KIND_ENUM, "new", 4, [b.text("LOW"), 0xFFFF_FFFF], 1, flag=True)
    wide = b.enum64("wide", {"ALL": 0xFFFF_FFFF_FFFF_FFFF})
    prog, types = of(b)
    assert signed_enumerators(types.btf, unsigned) == {"TOP": 0x8000_0000}
    assert signed_enumerators(types.btf, wide) == {"ALL": 0xFFFF_FFFF_FFFF_FFFF}
    assert [item.value for item in prog.type("enum new").enumerators] == [-1]
    assert not prog.type("enum mask").type.is_signed


def test_types_without_end_are_refused() -> None:
    b = BtfBuilder()
    b.add(kinds.KIND_TYPEDEF, "round", 1)
    b.pointer(2)
    for _ in range(MAX_DEPTH + 2):
        b.pointer(b.count + 2)
    prog, types = of(b)
    with pytest.raises(BadStructure, match="do not end"):
        prog.type("round")
    for type_id in (2, 3):
        with pytest.raises(BadStructure, match=r"do not end|does not exist"):
            types.type(type_id)
    with pytest.raises(BadStructure, match="does not exist"):
        types.type(10_000)


def test_a_structure_of_itself_costs_nothing_until_it_is_looked_into() -> None:
    b = BtfBuilder()
    b.composite("node", 8, [("next", 2, 0, 0)])
    b.pointer(1)
    prog, _ = of(b)
    assert (
        prog.type("struct node").member("next").type.type.member("next").type.type_name() == "struct node *"
    )


def test_a_module_goes_on_where_the_kernel_ends() -> None:
    b = BtfBuilder()
    number = b.integer("int", 4)
    b.composite("shared", 4, [("x", number, 0, 0)])
    base = BtfTypes(of(b)[0], Btf(b.blob()))
    whole = BtfBuilder()
    # Ids and names of a module count on from those of the kernel; this one uses a name of the kernel's too.
    whole.count = b.count
    own = whole.composite("ours", 8, [("first", 2, 0, 0), ("second", number, 32, 0)])
    joined = BtfTypes(base._prog, Btf(shifted(whole.blob(), base.btf.text_bytes), base.btf), base)
    found = joined.type(own)
    assert found.type_name() == "struct ours"
    assert [member.name for member in found.members] == ["first", "second"]
    assert found.members[0].type.type_name() == "struct shared"
    assert joined.type(2) is base.type(2)
    assert joined.btf.all_named("ours", kinds.KIND_STRUCT) == [own]


def shifted(blob: bytes, by: int) -> bytes:
    """The BTF of one structure with its names counted from elsewhere."""
    words = list(struct.unpack_from("<9I", blob, HEADER.size))
    for place in (0, 3, 6):
        words[place] += by
    return blob[: HEADER.size] + struct.pack("<9I", *words) + blob[HEADER.size + 36 :]


# VMCOREINFO


def test_what_a_guest_says_of_its_page_tables_is_not_believed(make: Make) -> None:
    own = vmcoreinfo.own_lines(make().wide_kernel)
    guest = {"SYMBOL(swapper_pg_dir)": "1000", "NUMBER(pgtable_l5_enabled)": "1", "SYMBOL(prb)": "ff"}
    lines = dict(line.split("=", 1) for line in vmcoreinfo.joined(own, guest).decode().splitlines())
    assert lines["SYMBOL(prb)"] == "ff"
    assert lines["SYMBOL(swapper_pg_dir)"] == own["SYMBOL(swapper_pg_dir)"] != "1000"
    assert lines["NUMBER(pgtable_l5_enabled)"] == "0"
    assert {"OSRELEASE", "PAGESIZE", "KERNELOFFSET"} <= lines.keys()


def test_a_kernel_without_vmcoreinfo_gets_our_own(make: Make) -> None:
    vm = make()
    assert vmcoreinfo.guest_lines(vm.wide_kernel) == {}
    prog = vm.drgn_program()
    assert prog["UTS_RELEASE"].string_().decode() == vm.guest.release
    assert f"KERNELOFFSET={vm.guest.kaslr_slide:x}".encode() in prog["VMCOREINFO"].string_()


def test_a_vmcoreinfo_that_makes_no_sense_is_left_out(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from vmon.monitor.drgn import program

    bad = {"NUMBER(TCR_EL1_T1SZ)": "x", "SYMBOL(kallsyms_names)": "not a number"}
    monkeypatch.setattr(program, "guest_lines", lambda kernel: bad)
    prog = make().drgn_program()
    assert b"not a number" not in prog["VMCOREINFO"].string_()


# The program


def test_a_program_of_a_guest(make: Make) -> None:
    vm = make()
    prog = vm.drgn_program()
    assert prog.flags & drgn.ProgramFlags.IS_LINUX_KERNEL and prog.flags & drgn.ProgramFlags.IS_LIVE
    task = prog["init_task"]
    assert task.comm.string_() == b"swapper/0"
    assert task.address_ == vm.wide_kernel.symbol("init_task")
    assert prog.symbol(task.address_ + 8).name == "init_task"
    start = vm.ram.ranges[0].gpa
    assert prog.read(vm.guest.page_offset_base + start, 16) == prog.read(start, 16, True)
    assert not make(live=False).drgn_program().flags & drgn.ProgramFlags.IS_LIVE


def test_what_is_not_there_is_a_fault_or_not_found(make: Make) -> None:
    prog = make().drgn_program()
    with pytest.raises(drgn.FaultError, match="no page"):
        prog.read(0xFFFF_FFFF_FFFF_0000, 8)
    with pytest.raises(drgn.FaultError):
        prog.read(1 << 50, 8, True)
    for name in ("no_such_thing", "net_namespace_list"):
        with pytest.raises(LookupError):
            prog[name]
    with pytest.raises(LookupError):
        prog.symbol("no_such_thing")
    with pytest.raises(LookupError):
        prog.symbol(0x1234)


def test_a_list_of_modules_without_end_does_not_hold_us(make: Make) -> None:
    scene = Scene("new")
    vm = make(scene)
    head = vm.wide_kernel.symbol("modules")
    bent = scene.guest.alloc(64)
    scene.guest.put64(head, bent)
    scene.guest.put64(bent, bent)
    prog = make(scene).drgn_program()
    assert prog["init_task"].pid == 0
    with pytest.raises(LookupError):
        prog.symbol("no_such_thing")


def test_symbols_by_name_and_place(make: Make) -> None:
    vm = make()
    symbols = KernelSymbols(vm.wide_kernel)
    prog = vm.drgn_program()
    (found,) = symbols.find(prog, "init_task", None, True)
    assert found.address == vm.wide_kernel.symbol("init_task")
    assert symbols.find(prog, "init_task", found.address + 1, True)
    assert not symbols.find(prog, "init_task", found.address - 1, True)
    assert [item.name for item in symbols.find(prog, None, found.address + 1, True)] == ["init_task"]
    assert not symbols.find(prog, None, 5, False)
    assert len(symbols.find(prog, None, None, False)) > 100
    assert symbols.size_bytes(found.address) == found.size > 0
    assert symbols.size_bytes((1 << 64) - 1) == 1


def test_declarations_are_whole() -> None:
    assert VARIABLES["init_task"] == "struct task_struct"
    assert set(UNWIND_MARKS) <= set(WANTS.symbols)
    for name, spellings in VARIABLES.items():
        assert name.isidentifier()
        for spelling in OUTSIDE_BRACES.split(spellings):
            assert spelling == spelling.strip() and spelling.count("[") == spelling.count("]") <= 1
    assert OUTSIDE_BRACES.split("struct a|{b_t|c_t x; d y}|e") == ["struct a", "{b_t|c_t x; d y}", "e"]


def test_without_drgn_it_is_said(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    vm = make()
    monkeypatch.setitem(sys.modules, "drgn", None)
    monkeypatch.delitem(sys.modules, "vmon.monitor.drgn.program")
    monkeypatch.delattr(door, "program", raising=False)
    for name in ("btf_types", "objects", "symbols"):
        monkeypatch.delitem(sys.modules, f"vmon.monitor.drgn.{name}", raising=False)
    with pytest.raises(NotSupported, match="not installed") as error:
        vm.drgn_program()
    assert "pip install" in error.value.hint
