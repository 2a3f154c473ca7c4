"""A Kernel is what every reader of this folder is handed: memory, profile, and readers of structures.

Reads through KernelMemory. No value of the guest is kept here; only compiled readers and a hint are.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np

from vmon.core.address import Gpa, Gva
from vmon.core.errors import BadStructure, GuestDataError
from vmon.kernel.btf import MAX_BTF_BYTES, Btf
from vmon.kernel.columns import Column, Columns, StructReader, text_rows
from vmon.kernel.learn import GivenTypes, read_kallsyms
from vmon.kernel.memory import KernelMemory
from vmon.kernel.profile import KernelProfile
from vmon.kernel.symbols import SymbolTable
from vmon.kernel.types import Types

SHORT_BYTES = 64


class Kernel:
    """One identified kernel, ready to be read."""

    def __init__(
        self,
        memory: KernelMemory,
        profile: KernelProfile,
        given: Callable[[], GivenTypes] | None = None,
    ) -> None:
        """`given` loads what the user gave in place of the kernel's own types."""
        self.memory = memory
        self.profile = profile
        self._given = given
        self.last_tasks: list[int] = []
        """Where tasks were when they were last walked: a hint on where to read, never an answer."""
        self._readers: dict[tuple[str, str], StructReader] = {}

    def symbol(self, name: str) -> Gva:
        """Address of a symbol in this boot; BadStructure when this kernel does not have it."""
        try:
            return Gva(self.memory.bases.text_gva + self.profile.symbols[name])
        except KeyError:
            raise BadStructure("this kernel has no such symbol", field=name) from None

    def has_symbol(self, name: str) -> bool:
        """Whether this kernel has the symbol."""
        return name in self.profile.symbols

    @cached_property
    def symbols(self) -> SymbolTable:
        """Every symbol of the image, decoded when first asked for: 60 to 200 ms. BadStructure."""
        bases, offset = self.memory.bases, self.profile.rodata_offset
        _, table = read_kallsyms(self.memory.phys, Gpa(bases.text_gpa + offset))
        return SymbolTable(table, bases.text_gva + offset)

    @cached_property
    def types(self) -> Btf:
        """Every type of the kernel proper (modules have their own), decoded when first asked for: 10 to 30 ms."""
        start, end = self.symbol("__start_BTF"), self.symbol("__stop_BTF")
        return Btf(self.memory.read(start, min(max(end - start, 0), MAX_BTF_BYTES + 1)))

    @cached_property
    def all_types(self) -> Types:
        """The same, or what the user gave in their place: for what asks of layouts alone. BadStructure."""
        return self.types if self._given is None else self._given().types

    def percpu(self, name: str) -> int:
        """What the base of a CPU's own area is added to, to reach a per-CPU variable. BadStructure as above."""
        absolute = self.profile.absolute.get(name)
        return self.symbol(name) if absolute is None else absolute

    def read(self, struct: str, fields: str, gvas: Column) -> Columns:
        """Fields (blank-separated) of many structures, as columns; fields that this kernel lacks are left out."""
        reader = self._readers.get((struct, fields))
        if reader is None:
            reader = self._readers[struct, fields] = StructReader(self.profile[struct], fields.split())
        return reader.read(self.memory, gvas)

    def read_one(self, struct: str, fields: str, gva: int) -> Columns:
        """The same for one structure."""
        return self.read(struct, fields, np.array([gva], dtype=np.uint64))

    def offset(self, struct: str, field: str) -> int:
        """Offset of a field in bytes."""
        return self.profile[struct].offset(field)


def distinct(gvas: Column) -> tuple[Column, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """The different non-null addresses, and for each element which of them it is (-1 for null)."""
    unique, inverse = np.unique(gvas, return_inverse=True)
    inverse = inverse.reshape(-1).astype(np.int64)
    if unique.size and unique[0] == 0:
        return unique[1:], inverse - 1
    return unique, inverse


def read_strings(kernel: Kernel, pointers: Column, limit: int) -> list[bytes | None]:
    """The NUL-ended string behind each pointer, cut at `limit` bytes; None where there is none.

    Short ones, nearly all, are read in one gather.
    """
    places, which = distinct(pointers)
    short = kernel.memory.gather(places, SHORT_BYTES)
    texts: list[bytes | None] = [text[:limit] for text in text_rows(short)]
    for row in np.flatnonzero((short != 0).all(axis=1) | (short == 0).all(axis=1)).tolist():
        try:
            texts[row] = kernel.memory.string(Gva(int(places[row])), limit)
        except GuestDataError:
            texts[row] = None
    return [texts[index] if index >= 0 else None for index in which.tolist()]
