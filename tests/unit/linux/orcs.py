"""A fake kernel with ORC tables, a module, and stacks: what the tests of unwinding share."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from tests.unit.kernel.build import BtfBuilder
from tests.unit.linux.small import IMAGE_GVA, Small
from vmon.kernel.btf import Btf
from vmon.kernel.profile import Wants
from vmon.linux import registers, unwind
from vmon.linux.kernel import Kernel
from vmon.linux.registers import Thread

STACK_BYTES = 8 << 10
TEXT = 0x1000
"""Bytes of code, at _stext."""
STRUCTS = {
    "thread_struct": "sp:u64 es:u16 ds:u16 fsindex:u16 gsindex:u16 fsbase:u64 gsbase:u64",
    "inactive_task_frame": "r15:u64 r14:u64 r13:u64 r12:u64 bx:u64 bp:u64 ret_addr:u64",
    "orc_entry": "sp_offset:u16 bp_offset:u16 bits:u16",
    "module_memory": "base:p size:u32",
    "mod_arch_specific": "num_orcs:u32 orc_unwind_ip:p orc_unwind:p",
    "mod_kallsyms": "symtab:p num_symtab:u32 strtab:p",
    "module": "state:s32 list:list_head name:char*56 mem:module_memory*7 kallsyms:p arch:mod_arch_specific",
}
SYMBOLS = {
    "_stext": TEXT, "_etext": 64, "init_task": 64, "init_stack": STACK_BYTES, "__end_init_stack": 64, "modules": 16,
    "__start_orc_unwind_ip": 64, "__stop_orc_unwind_ip": 64, "__start_orc_unwind": 64,
    "tables": 2048,
}  # fmt: skip
NEW = {"undefined": 0, "prev sp": 8, "bp": 4, "sp": 3, "bp indirect": 10, "r10": 6}
OLD = {"undefined": 0, "prev sp": 1, "bp": 4, "sp": 5, "bp indirect": 8, "r10": 6}
TYPES = {"unknown": 0, "end": 1, "call": 2, "regs": 3, "regs partial": 4}
OLD_TYPES = {"call": 0, "regs": 1, "regs partial": 2}
Row = tuple[int, str, str, int, str, int]
"""Offset in the code, type, register and offset of the frame's end, those of the old frame pointer."""


@dataclass
class Symbols:
    """In the place of SymbolTable: names by where they start."""

    names: dict[int, str]

    def at(self, gva: int) -> tuple[str, int] | None:
        below = [start for start in self.names if start <= gva]
        return (self.names[max(below)], gva - max(below)) if below else None


class Orcs:
    """`kernel` is one whose functions are described by `rows`."""

    def __init__(self, rows: list[Row], *, old: bool = False, with_end: bool = False) -> None:
        self.small = Small(registers.WANTS | unwind.WANTS | Wants(symbols=tuple(SYMBOLS)), STRUCTS, SYMBOLS)
        self.registers = OLD if old else NEW
        self.with_end = with_end
        self.text = self.small.symbol("_stext")
        # Tables are in the image: what they hold are distances of 32 bits.
        self._place = self.small.symbol("tables")
        self.stack = self.small.alloc(STACK_BYTES, 4096)
        ips, entries = self.tables(self.text, rows)
        places = self.small.profile.symbols
        places["__start_orc_unwind_ip"] = ips - IMAGE_GVA
        places["__stop_orc_unwind_ip"] = ips - IMAGE_GVA + 4 * len(rows)
        places["__start_orc_unwind"] = entries - IMAGE_GVA
        self.small.chain(self.small.symbol("modules"), [])

    def tables(self, text: int, rows: list[Row]) -> tuple[int, int]:
        """Where the two tables of some code are."""
        ips = self._place
        self._place += 64 + 4 * len(rows)
        for number, (offset, *_) in enumerate(rows):
            self.small.put(ips + 4 * number, text + offset - (ips + 4 * number), 4)
        entries, self._place = self._place, self._place + 64 + 6 * len(rows)
        self.small.write(entries, b"".join(self.entry(*row[1:]) for row in rows))
        return ips, entries

    def entry(self, kind: str, sp: str, sp_offset: int, bp: str, bp_offset: int) -> bytes:
        word = self.registers[sp] | self.registers[bp] << 4
        if self.with_end:
            word |= OLD_TYPES.get(kind, 0) << 8 | (kind == "end") << 10
        else:
            word |= TYPES[kind] << 8
        return struct.pack("<hhH", sp_offset, bp_offset, word)

    def kernel(self) -> Kernel:
        kernel = self.small.kernel()
        builder = BtfBuilder()
        short, word = builder.integer("s16", 2), builder.integer("unsigned int", 4)
        fields = [("sp_offset", short, 0, 16), ("bp_offset", short, 16, 16), ("sp_reg", word, 32, 4)]
        fields += [("bp_reg", word, 36, 4)]
        fields += (
            [("type", word, 40, 2), ("end", word, 42, 1)]
            if self.with_end
            else [("type", word, 40, 3), ("signal", word, 43, 1)]
        )
        builder.composite("orc_entry", 6, fields)
        kernel.__dict__["types"] = Btf(builder.blob())
        kernel.__dict__["symbols"] = Symbols(
            {self.text: "first", self.text + 0x100: "second", self.text + 0x200: "third"}
        )
        return kernel

    def thread(self, words: dict[int, int], bp: int = 0, ip: int | None = None, at: int = 0x1000) -> Thread:
        """One that sleeps in `first`, with words on its stack, by their distance from the frame's end."""
        frame = self.stack + at
        layout = self.small.profile["inactive_task_frame"]
        self.small.set(frame, "inactive_task_frame", ret_addr=self.text + 0x10 if ip is None else ip, bp=bp)
        for offset, value in words.items():
            self.small.put(frame + layout.size + offset, value)
        return Thread(1, 1, b"x", "S", self.stack, frame, None, None)

    def module(self, name: bytes, start: int, rows: list[Row], symbols: dict[int, bytes]) -> int:
        """A module whose text is mapped nowhere: only its tables are."""
        strings = b"\0" + b"\0".join(symbols.values()) + b"\0"
        body, at = b"", 1
        for offset, text in symbols.items():
            body += struct.pack("<IBBHQQ", at, 2, 0, 1, start + offset, 16)
            at += len(text) + 1
        table = self.small.new(
            "mod_kallsyms",
            symtab=self.small.data(body),
            num_symtab=len(symbols),
            strtab=self.small.data(strings),
        )
        ips, entries = self.tables(start, rows) if rows else (0, 0)
        module = self.small.new(
            "module", name=name, kallsyms=table, arch__num_orcs=len(rows), arch__orc_unwind_ip=ips,
            arch__orc_unwind=entries,
        )  # fmt: skip
        parts = self.small.field(module, "module", "mem")
        self.small.put(parts, start)
        self.small.put(parts + 8, 0x1000, 4)
        self.small.chain(self.small.symbol("modules"), [self.small.field(module, "module", "list")])
        return module
