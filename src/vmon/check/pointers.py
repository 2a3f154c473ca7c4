"""The kernel calls through tables of functions: whose entry leads out of its code, somebody else gets the calls.

Reads the table of system calls, the interrupt gates, the operations of every file below /proc, netfilter's hooks, the
lists of LSM hooks, and every word of the kernel's and its modules' data that is an address of executable memory. A
table entry that was made to lead to another function of the kernel itself is found for system calls alone, by the
tracing code's names; a hostile guest can change those too.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from vmon.arch.x86_64.paging import walk_many
from vmon.check.kinds import finding
from vmon.check.looks import settled
from vmon.core.address import PAGE_SIZE_BYTES, Gva
from vmon.core.coverage import Gaps
from vmon.core.errors import BadStructure, GuestDataError
from vmon.core.ports import Registers
from vmon.core.records.finding import FindingRecord
from vmon.kernel.columns import Column
from vmon.kernel.profile import Wants
from vmon.linux import code, interrupt, kprobe, netfilter, procfs, syscall
from vmon.linux.code import CodeMap
from vmon.linux.kernel import Kernel

UNUSED_BSS = ("__start_bss_decrypted_unused", "__end_bss_decrypted")
WANTS = (
    code.WANTS
    | kprobe.WANTS
    | syscall.WANTS
    | interrupt.WANTS
    | netfilter.WANTS
    | procfs.WANTS
    | Wants(
        symbols=(
            "security_hook_heads",
            "__start_rodata",
            "__end_rodata",
            "_sdata",
            "_edata",
            "__bss_start",
            "__bss_stop",
            *UNUSED_BSS,
        ),
        structs={
            "security_hook_list": "list hook",
            "security_hook_heads": "binder_set_context_mgr",
        },
    )
)
MODULES_START = 0xFFFF_FFFF_A000_0000
"""Modules and generated code lie from here on, behind the image; the start is higher with KASLR."""
TRAP_BYTES = 4
MAX_FILTER_PAGES = 64
PROLOGUE = bytes.fromhex("554889e5")
INT3 = 0xCC
MODULES_END = 0xFFFF_FFFF_FF00_0000
MAX_LSM_HOOKS = 4096
PREFIXES = ("__x64_", "__ia32_", "__do_sys_", "__se_")
EARLY_GATES = "early_idt_handler_array"
"""Gates of vectors that no CPU raises keep the handler of early boot, whose memory was given back."""
NOT_THERE = ("sys_ni_syscall", "__x64_sys_ni_syscall", "__ia32_sys_ni_syscall", "__ia32_sys_ni")


def check_pointers(
    kernel: Kernel, gaps: Gaps, areas: Callable[[Gaps], CodeMap], registers: Sequence[Registers] = ()
) -> list[FindingRecord]:
    """Every table. 100 to 200 ms, most of it /proc and the kernel's data. `areas` finds whose code is where.

    With `registers` of the vCPUs, that their interrupt table is the kernel's.
    """
    if not any(cpu.idt_base for cpu in registers):
        gaps.add("interrupt table of the vCPUs", "not looked for", "no registers here", 0)
    gaps.add("LSTAR", "not looked for", "QEMU does not tell it; the code behind it is checked", 0)
    return settled(lambda seen: _Look(kernel, seen, areas(seen), registers).findings(), gaps)


class _Look:
    """Every table, at one moment."""

    def __init__(self, kernel: Kernel, gaps: Gaps, areas: CodeMap, registers: Sequence[Registers]) -> None:
        self._kernel = kernel
        self._gaps = gaps
        self._code = areas
        self._registers = registers
        self._found: dict[Hashable, FindingRecord] = {}

    def findings(self) -> dict[Hashable, FindingRecord]:
        """All differences, by what and where."""
        for what, look in (
            ("system calls", self._syscalls),
            ("interrupt gates", self._gates),
            ("/proc", self._procfs),
            ("netfilter hooks", self._netfilter),
            ("LSM hooks", self._lsm),
            ("kprobes and ftrace", self._tracers),
            ("kernel data", self._data),
        ):
            try:
                look()
            except GuestDataError as error:
                self._gaps.add(what, "unreadable", error.message)
        return self._found

    def _add(self, kind: str, subject: str, evidence: list[str], place: int) -> None:
        self._found.setdefault((kind, place), finding(kind, subject, evidence, address=place))

    def _names(self, gva: int) -> str:
        """An address as a person reads it: the function it is in, or whose code that is."""
        area = self._code.at(gva)
        if area is None:
            return f"{gva:#x}, in no known code"
        symbol = self._kernel.symbols.at(gva) if area.owner == "kernel" else None
        where = f"{symbol[0]}+{symbol[1]:#x}" if symbol else f"{area.owner} {area.name}+{gva - area.start:#x}"
        return f"{gva:#x}, {where}"

    def _syscalls(self) -> None:
        kernel = self._kernel
        for table in ("sys_call_table", "ia32_sys_call_table"):
            if not kernel.has_symbol(table):
                self._gaps.add(table, "not on this kernel")
                continue
            entries = syscall.read_table(kernel, table)
            told = (
                syscall.read_names(kernel, entries.size)
                if table == "sys_call_table"
                else [None] * entries.size
            )
            start = kernel.symbol(table)
            # What is zero at the end is padding up to the next symbol.
            last = int(np.flatnonzero(entries).max(initial=-1)) + 1
            for number, (entry, name) in enumerate(zip(entries.tolist()[:last], told, strict=False)):
                names = kernel.symbols.names_at(entry)
                if name is not None:
                    good = any(prefix + name in names for prefix in PREFIXES)
                else:
                    good = any(at in NOT_THERE or at.startswith(PREFIXES) for at in names)
                if not good:
                    subject = f"{number} ({name or table})"
                    evidence = [f"{table}[{number}] is {self._names(entry)}"]
                    evidence += [f"the tracing code knows it as {name}"] * (name is not None)
                    self._add("code.syscall", subject, evidence, start + 8 * number)

    def _gates(self) -> None:
        if not self._kernel.has_symbol("idt_table"):
            self._gaps.add("interrupt gates", "not on this kernel", "no symbol idt_table")
            return
        gates = interrupt.read_gates(self._kernel)
        start = self._kernel.symbol("idt_table")
        for cpu in self._registers:
            # It is seen at a read-only address of its own (CPU_ENTRY_AREA_RO_IDT); the memory is the same.
            if cpu.idt_base and self._kernel.memory.gpa(Gva(cpu.idt_base)) != self._kernel.memory.gpa(start):
                evidence = [
                    f"vCPU {cpu.cpu} uses the table at {cpu.idt_base:#x}, the kernel's own is at {start:#x}"
                ]
                self._add("code.interrupt", f"table of vCPU {cpu.cpu}", evidence, cpu.idt_base)
        text = self._kernel.symbol("_stext"), self._kernel.symbol("_etext")
        for vector, handler in enumerate(gates.tolist()):
            symbol = self._kernel.symbols.at(handler)
            early = symbol is not None and symbol[0] == EARLY_GATES
            if handler and not early and not text[0] <= handler < text[1]:
                evidence = [f"idt_table[{vector}] leads to {self._names(handler)}"]
                self._add("code.interrupt", str(vector), evidence, start + interrupt.GATE_BYTES * vector)

    def _procfs(self) -> None:
        """Operations lie in the image or in a module, single_show functions in code."""
        bases = self._kernel.memory.bases
        for path, entry, pointers in procfs.find_entries(self._kernel, self._gaps):
            for field, value in pointers.items():
                in_image = 0 <= value - bases.text_gva < bases.image_size_bytes
                # Small numbers in the place of seq_ops are what other kinds of entries keep there.
                if (value < MODULES_START and not value >> 47) or in_image or self._code.at(value):
                    continue
                place = entry + self._kernel.offset("proc_dir_entry", field)
                self._add("code.pointer", f"{path}: {field}", [f"{place:#x} holds {value:#x}"], place)

    def _netfilter(self) -> None:
        for where, place, function in netfilter.find_hooks(self._kernel, self._gaps):
            if not self._code.at(function):
                self._add(
                    "code.pointer", f"netfilter hook {where}", [f"{place:#x} holds {function:#x}"], place
                )

    def _lsm(self) -> None:
        """Lists of functions up to 6.11; since 6.12 (417c5643cd67) they are static calls, which check.text looks at."""
        kernel = self._kernel
        if "security_hook_heads" not in kernel.profile.structs or not kernel.has_symbol(
            "security_hook_heads"
        ):
            return
        size = kernel.profile["security_hook_heads"].size
        start = kernel.symbol("security_hook_heads")
        at: Column = np.frombuffer(kernel.memory.read(start, size), dtype="<u8").astype(np.uint64)
        hook = np.uint64(kernel.offset("security_hook_list", "hook"))
        for _ in range(MAX_LSM_HOOKS):
            at = at[at != 0]
            if not at.size:
                return
            functions = kernel.memory.gather(at + hook, 8).view("<u8").reshape(-1)
            for place, function in zip((at + hook).tolist(), functions.tolist(), strict=True):
                if not self._code.at(function):
                    self._add("code.pointer", "LSM hook", [f"{place:#x} holds {function:#x}"], place)
            at = kernel.memory.gather(at, 8).view("<u8").reshape(-1)
        raise BadStructure(
            "a list of LSM hooks that does not end", field="security_hook_list.list", address=start
        )

    def _tracers(self) -> None:
        """Handlers of kprobes, and what ftrace calls."""
        kernel = self._kernel
        probes = kprobe.find_probed(kernel, self._gaps)
        places = [("kprobe handler", "kprobe", name, probes) for name in ("pre_handler", "post_handler")]
        if kernel.has_symbol("ftrace_ops_list"):
            places.append(("ftrace function", "ftrace_ops", "func", code.find_ftrace_ops(kernel)))
        for subject, struct, name, objects in places:
            functions = kernel.read(struct, name, objects)[name]
            for at, function in zip(objects.tolist(), functions.tolist(), strict=True):
                if function and not self._code.at(function):
                    place = at + kernel.offset(struct, name)
                    self._add("code.pointer", subject, [f"{place:#x} holds {function:#x}"], place)

    def _data(self) -> None:
        """Words of the kernel's and its modules' data that lead to executable memory which is nobody's."""
        kernel = self._kernel
        # What lies between them was given back after boot, and holds anything.
        bounds = [("__start_rodata", "__end_rodata"), ("_sdata", "_edata"), ("__bss_start", "__bss_stop")]
        if all(map(kernel.has_symbol, UNUSED_BSS)):
            # So was a part of bss, where memory is not encrypted (mem_encrypt_free_decrypted_mem()).
            bounds[2:] = [("__bss_start", UNUSED_BSS[0]), (UNUSED_BSS[1], "__bss_stop")]
        stretches = [(kernel.symbol(start), kernel.symbol(end), False) for start, end in bounds]
        stretches += [
            (Gva(area.start), Gva(area.end), True) for area in self._code.areas if area.owner == "module"
        ]
        for start, end, in_module in stretches:
            self._words(start, max(end - start, 0), in_module=in_module)

    def _words(self, start: Gva, size: int, *, in_module: bool) -> None:
        kernel, bases = self._kernel, self._kernel.memory.bases
        words = np.frombuffer(kernel.memory.read(start, size & ~7), dtype="<u8").astype(np.uint64)
        behind = np.uint64(max(bases.text_gva + bases.image_size_bytes, MODULES_START))
        generated = (words >= behind) & (words < np.uint64(MODULES_END))
        vmalloc = (words >= np.uint64(bases.vmalloc_base)) & (words < np.uint64(bases.vmemmap_base))
        rows = np.flatnonzero(generated | vmalloc)
        rows = rows[~self._code.known(words[rows])]
        rows = rows[executable(kernel, words[rows])]
        if in_module and not kernel.has_symbol("pack_list"):
            rows = rows[~in_filters(kernel, words[rows])]
        for row, value in zip(rows.tolist(), words[rows].tolist(), strict=True):
            place = start + 8 * row
            evidence = [f"{place:#x} holds {value:#x}, which is executable"]
            self._add("code.pointer", self._whose(place), evidence, place)

    def _whose(self, place: int) -> str:
        owner = next((area.name for area in self._code.areas if area.start <= place < area.end), None)
        symbol = self._kernel.symbols.at(place)
        if owner:
            return f"module {owner}"
        return f"{symbol[0]}+{symbol[1]:#x}" if symbol else "the kernel's data"


def executable(kernel: Kernel, gvas: Column) -> NDArray[np.bool_]:
    """Whether there is code at each address: it may be executed, and is neither empty nor filled with traps.

    Where the kernel takes code back but not the right to execute it (execmem since 6.13), it fills it with int3.
    """
    bases = kernel.memory.bases
    roots = np.full(gvas.shape, bases.page_table_root, dtype=np.uint64)
    gpas, may = walk_many(kernel.memory.phys, roots, gvas, bases.la57)
    rows = np.flatnonzero(may)
    data = kernel.memory.phys.gather(gpas[rows], TRAP_BYTES)
    may[rows] = (data != INT3).any(axis=1) & data.any(axis=1)
    return may


def in_filters(kernel: Kernel, gvas: Column) -> NDArray[np.bool_]:
    """Whether the page of each address looks like a filter's: a count of pages, then traps up to where it starts.

    Up to 5.17 filters of sockets and seccomp have pages of their own and stand on no list, and a module's data may
    still lead to its init code, whose place a filter has taken since.
    """
    pages = gvas & np.uint64(~(PAGE_SIZE_BYTES - 1) & (1 << 64) - 1)
    heads = kernel.memory.gather(pages, 4 + TRAP_BYTES)
    counts = np.ascontiguousarray(heads[:, :4]).view("<u4").reshape(-1)
    prologue = (heads[:, 4:] == np.frombuffer(PROLOGUE, dtype=np.uint8)).all(axis=1)
    traps = (heads[:, 4:] == INT3).all(axis=1)
    found: NDArray[np.bool_] = (counts > 0) & (counts <= MAX_FILTER_PAGES) & (traps | prologue)
    return found
