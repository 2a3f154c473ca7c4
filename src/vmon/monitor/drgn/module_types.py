"""A module brings BTF of its own, which goes on where that of the kernel ends; btf_modules lists it.

Reads btf_module and btf, since 5.11 (36e68442d1af). Asked when the kernel proper does not know a name: the list is
walked, bounded, and each module decoded once. A hostile guest can let it lie about sizes and ids: what does not go on
exactly where the kernel's own ends is left out. Source: kernel/bpf/btf.c.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from drgn import Program, Type, TypeKindSet

from vmon.core.address import Gva
from vmon.core.errors import GuestDataError
from vmon.kernel.btf import Btf
from vmon.linux.kernel import Kernel
from vmon.linux.module import MAX_MODULES
from vmon.linux.task import walk_list
from vmon.monitor.drgn.btf_types import SOUGHT, BtfTypes

MAX_MODULE_BTF_BYTES = 16 << 20


class ModuleBtf:
    """The types of one module. BadStructure when its blob is none."""

    def __init__(self, blob: bytes) -> None:
        self._blob = blob
        self.own = Btf(blob)
        """Its own part: ids and names count from its beginning, and refer to the kernel's."""
        self.types: BtfTypes | None = None

    def joined(self, prog: Program, base: BtfTypes) -> BtfTypes:
        """Its types, behind those of the kernel proper; made when the first of them is asked for."""
        if self.types is None:
            self.types = BtfTypes(prog, Btf(self._blob, base.btf), base)
        return self.types


class ModuleTypes:
    """The types and functions of the modules that are loaded now."""

    def __init__(self, kernel: Kernel, base: BtfTypes) -> None:
        self._kernel = kernel
        self._base = base
        self._known: dict[tuple[int, int, int], ModuleBtf | None] = {}

    def find(self, prog: Program, sought: TypeKindSet, name: str, _file: str | None) -> Type | None:
        """A type finder as drgn calls it; None when no module has such a type."""
        for found in self.all_named(prog, name, *(btf_kind for kind, btf_kind in SOUGHT if kind in sought)):
            return found
        return None

    def all_named(self, prog: Program, name: str, *of: int) -> Iterator[Type]:
        """Every type of these kinds of BTF that has this name, in any module."""
        base = self._base.btf
        shared = base.find_text(name)
        for module in self._loaded():
            at = shared
            if at is None:
                own = module.own.find_text(name)
                if own is None:
                    continue
                at = base.text_bytes + own
            for type_id in module.own.named_at(at, *of):
                yield module.joined(prog, self._base).type(len(base) + type_id)

    def _loaded(self) -> list[ModuleBtf]:
        kernel = self._kernel
        if not kernel.has_symbol("btf_modules") or "btf" not in kernel.profile.structs:
            return []
        offset = kernel.offset("btf_module", "list")
        try:
            nodes = walk_list(kernel, kernel.symbol("btf_modules"), "btf_module.list", MAX_MODULES)
            found = [self._of(node - offset) for node in nodes]
        except GuestDataError:
            # One that is loaded just now, or a list that a guest has bent.
            return []
        return [module for module in found if module is not None]

    def _of(self, module: int) -> ModuleBtf | None:
        kernel = self._kernel
        pointers = kernel.read_one("btf_module", "btf module", module)
        columns = kernel.read_one("btf", "data data_size start_id start_str_off", int(pointers["btf"][0]))
        data, size = int(columns["data"][0]), int(columns["data_size"][0])
        key = int(pointers["module"][0]), data, size
        if key not in self._known:
            base = self._base.btf
            # Ids count void in.
            joins = (int(columns["start_id"][0]), int(columns["start_str_off"][0])) == (
                len(base) + 1,
                base.text_bytes,
            )
            self._known[key] = None
            if joins and size <= MAX_MODULE_BTF_BYTES:
                with suppress(GuestDataError):
                    self._known[key] = ModuleBtf(kernel.memory.read(Gva(data), size))
        return self._known[key]
