"""Every function and variable of the image is named in kallsyms: drgn gets them as symbols, those of modules too.

Reads the kernel's table once, when a symbol is first asked for. Sizes are not in it: a symbol ends where the next one
begins. A hostile guest can write any name and address; both are only compared. Modules are looked at again when their
list has changed. Sources: kernel/kallsyms.c, kernel/module/kallsyms.c.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from drgn import FaultError, Program, Symbol, SymbolBinding, SymbolIndex, SymbolKind
from drgn.helpers.linux.kallsyms import load_module_kallsyms

from vmon.core.errors import GuestDataError
from vmon.kernel.symbols import SymbolTable
from vmon.linux.kernel import Kernel
from vmon.linux.module import MAX_MODULES
from vmon.linux.task import walk_list
from vmon.monitor.drgn.variables import UNWIND_MARKS

ABSOLUTE_END = 1 << 31
"""Below are offsets into a CPU's own area, in kernels up to 6.14: they name no address."""
MAX_SIZE_BYTES = 16 << 20
MODULES_GVA = 0xFFFF_FFFF_8000_0000
"""Image and modules lie from here on."""
FUNCTIONS = "tTwW"


class KernelSymbols:
    """The symbols of one kernel as symbols of drgn."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._modules: tuple[tuple[int, ...], SymbolIndex] | None = None

    @property
    def table(self) -> SymbolTable:
        """Every symbol of the image; decoded when first asked for, 60 to 200 ms."""
        return self._kernel.symbols

    def find(self, prog: Program, name: str | None, address: int | None, one: bool) -> Sequence[Symbol]:
        """A symbol finder as drgn calls it."""
        if name in UNWIND_MARKS and address is None and one and self._kernel.has_symbol(name):
            # Looked for between the reading of a task's registers and of its stack: no time for the whole table.
            return [Symbol(name, self._kernel.symbol(name), 0, SymbolBinding.GLOBAL, SymbolKind.OBJECT)]
        rows = self._rows(name, address)
        found = [self._symbol(row) for row in (rows[:1] if one else rows)]
        if found and one:
            return found
        return [*found, *self.of_modules(prog, name, address, one)]

    def _rows(self, name: str | None, address: int | None) -> list[int]:
        if name is not None:
            rows = self._named.get(name, [])
            return rows if address is None else [row for row in rows if self._holds(row, address)]
        if address is None:
            return [row for row in range(len(self.table)) if self.address(row) >= ABSOLUTE_END]
        found = self.table.at(address)
        if found is None or address - found[1] < ABSOLUTE_END:
            return []
        start = address - found[1]
        rows = [row for name in self.table.names_at(start) for row in self._named[name]]
        return [row for row in rows if self.address(row) == start and self._holds(row, address)]

    def address(self, row: int) -> int:
        """Where a symbol lies."""
        return int(self.table.addresses[row])

    def rows(self, name: str) -> list[int]:
        """Every symbol of a name."""
        return self._named.get(name, [])

    def is_function(self, row: int) -> bool:
        """Whether a symbol is code. Newer kernels call some of their data t as well: the place decides then."""
        if self.table.kinds[row] not in FUNCTIONS:
            return False
        start, end = (self._kernel.profile.symbols.get(name) for name in ("_sdata", "_edata"))
        at = self.address(row) - self._kernel.memory.bases.text_gva
        return start is None or end is None or not start <= at < end

    @cached_property
    def _named(self) -> dict[str, list[int]]:
        named: dict[str, list[int]] = {}
        for row, name in enumerate(self.table.names):
            named.setdefault(name, []).append(row)
        return named

    def size_bytes(self, address: int) -> int:
        """Bytes up to the next symbol."""
        following = self.table.next_after(address)
        return 1 if following is None else min(following - address, MAX_SIZE_BYTES)

    def _holds(self, row: int, address: int) -> bool:
        start = self.address(row)
        return start <= address < start + self.size_bytes(start)

    def _symbol(self, row: int) -> Symbol:
        letter, address = self.table.kinds[row], self.address(row)
        if letter in "wWvV":
            binding = SymbolBinding.WEAK
        else:
            binding = SymbolBinding.GLOBAL if letter.isupper() else SymbolBinding.LOCAL
        kind = SymbolKind.FUNC if self.is_function(row) else SymbolKind.OBJECT
        return Symbol(self.table.names[row], address, self.size_bytes(address), binding, kind)

    def of_modules(self, prog: Program, name: str | None, address: int | None, one: bool) -> Sequence[Symbol]:
        """The same for modules alone; their tables are read again when others are loaded. 3 ms a module."""
        if address is not None and address < MODULES_GVA:
            return []
        try:
            # Bounded, before drgn walks it: a list that a guest has bent into a circle has no end.
            loaded = tuple(
                walk_list(self._kernel, self._kernel.symbol("modules"), "module.list", MAX_MODULES)
            )
            if self._modules is None or self._modules[0] != loaded:
                self._modules = loaded, load_module_kallsyms(prog)
        except (LookupError, ValueError, FaultError, GuestDataError):
            # A guest without modules, one that loads one just now, or one whose names are no text.
            return []
        found: list[Symbol] = self._modules[1](prog, name, address, one)
        return found
