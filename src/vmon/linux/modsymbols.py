"""Where the code of each module lies, and what its functions are called: a module brings its own symbol table.

Reads struct module and what its kallsyms and arch point at, of a module when an address in it is asked for. A hostile
guest can claim any table: sizes are bounded, and a module whose tables can't be read has no names.
Sources: include/linux/module.h, kernel/module/kallsyms.c, arch/x86/include/asm/module.h.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vmon.core.address import Gva
from vmon.core.errors import GuestDataError
from vmon.core.text import guest_text
from vmon.kernel.columns import Column, text_rows
from vmon.kernel.profile import Wants
from vmon.linux.kernel import Kernel
from vmon.linux.module import MAX_MODULES, read_parts
from vmon.linux.orc import OrcFormat, OrcTable
from vmon.linux.task import walk_list

FIELDS = "name kallsyms arch.num_orcs arch.orc_unwind_ip arch.orc_unwind"
WANTS = Wants(
    structs={"module": FIELDS, "mod_kallsyms": "symtab num_symtab strtab"},
)
MAX_SYMBOLS = 1 << 18
MAX_NAME_BYTES = 256
SYMBOL = np.dtype(
    [("name", "<u4"), ("info", "u1"), ("other", "u1"), ("section", "<u2"), ("value", "<u8"), ("size", "<u8")]
)
"""Elf64_Sym."""


NOWHERE = Gva(0)


@dataclass(slots=True)
class _Module:
    address: Gva
    start: int
    size: int
    symbols: NDArray[np.void] | None = field(default=None)
    strings: Gva = NOWHERE


class Code:
    """The code of all modules at one moment."""

    def __init__(self, kernel: Kernel, modules: dict[str, _Module]) -> None:
        self._kernel = kernel
        self._modules = modules

    def holds(self, words: Column) -> NDArray[np.bool_]:
        """Which of many words are addresses in the code of a module."""
        found = np.zeros(words.shape, dtype=bool)
        for module in self._modules.values():
            found |= words - np.uint64(module.start) < np.uint64(module.size)
        return found

    def at(self, address: int) -> tuple[str, str | None, int]:
        """Module, symbol and bytes behind it; "" for an address in no module, None where it has no symbol."""
        for name, module in self._modules.items():
            if 0 <= address - module.start < module.size:
                return name, *self._symbol(module, address)
        return "", None, 0

    def _symbol(self, module: _Module, address: int) -> tuple[str | None, int]:
        try:
            if module.symbols is None:
                module.symbols, module.strings = self._read_symbols(module)
            values = module.symbols["value"]
            place = int(np.searchsorted(values, np.uint64(address - 1), side="right")) - 1
            if place < 0:
                return None, 0
            at = Gva(module.strings + int(module.symbols["name"][place]))
            text = guest_text(self._kernel.memory.string(at, MAX_NAME_BYTES))
            return text or None, address - int(values[place])
        except GuestDataError:
            return None, 0

    def _read_symbols(self, module: _Module) -> tuple[NDArray[np.void], Gva]:
        """Its symbols that lie in its code and have a name, by rising address."""
        kernel = self._kernel
        table = int(kernel.read_one("module", "kallsyms", module.address)["kallsyms"][0])
        columns = kernel.read_one("mod_kallsyms", "symtab num_symtab strtab", table)
        count = min(int(columns["num_symtab"][0]), MAX_SYMBOLS)
        data = kernel.memory.read(Gva(int(columns["symtab"][0])), count * SYMBOL.itemsize)
        symbols = np.frombuffer(data, dtype=SYMBOL)
        inside = symbols["value"] - np.uint64(module.start) < np.uint64(module.size)
        symbols = symbols[inside & (symbols["name"] != 0)]
        return symbols[np.argsort(symbols["value"], kind="stable")], Gva(int(columns["strtab"][0]))

    def orc_table(self, name: str, form: OrcFormat) -> OrcTable | None:
        """The ORC table of a module; None where it has none that can be read."""
        module = self._modules.get(name)
        columns = self._kernel.read_one("module", FIELDS, module.address) if module else None
        if columns is None or "arch.num_orcs" not in columns:
            return None
        count, ips, entries = (
            int(columns[f"arch.{part}"][0]) for part in ("num_orcs", "orc_unwind_ip", "orc_unwind")
        )
        try:
            return OrcTable(self._kernel, form, Gva(ips), count, Gva(entries))
        except GuestDataError:
            return None


def find_code(kernel: Kernel) -> Code:
    """The first part of every module, which is its text; none where the list of modules is broken."""
    offset = kernel.offset("module", "list")
    found: dict[str, _Module] = {}
    try:
        nodes = walk_list(kernel, kernel.symbol("modules"), "module.list", MAX_MODULES)
        for node in nodes:
            address = Gva(node - offset)
            name = guest_text(text_rows(kernel.read_one("module", "name", address).raw("name"))[0])
            start, size = read_parts(kernel, address)[0]
            found[name] = _Module(address, start, size)
    except GuestDataError:
        return Code(kernel, found)
    return Code(kernel, found)
