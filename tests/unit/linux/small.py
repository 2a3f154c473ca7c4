"""A kernel of a few structures and symbols, for the test of one reader: what a test declares is all that there is.

Structures are written in CModel's shorthand. Symbols are given with their sizes and lie one after another in an image;
objects lie behind it in the direct map. Nothing is mapped but these two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.unit.kernel.build import CModel
from tests.unit.kernel.fuzz import BoundedRam
from vmon.core.address import Gpa, Gva
from vmon.kernel.btf import Btf
from vmon.kernel.layout import resolve_enums, resolve_structs
from vmon.kernel.memory import KernelBases, KernelMemory
from vmon.kernel.profile import KernelProfile, Wants
from vmon.linux.kernel import Kernel

IMAGE_GVA = 0xFFFF_FFFF_8100_0000
PAGE_OFFSET = 0xFFFF_8880_0000_0000
IMAGE_BYTES = 64 << 10
RAM_BYTES = 1 << 20
LIST_HEAD = {"list_head": "next:p prev:p"}


class Small:
    """RAM with these symbols and a heap. `new` places an object, `set` changes one, `kernel` is what readers get."""

    def __init__(
        self,
        wants: Wants,
        structs: Mapping[str, str],
        symbols: Mapping[str, int],
        enums: Mapping[str, Mapping[str, int]] | None = None,
        absolute: Mapping[str, int] | None = None,
        unions: Sequence[str] = (),
    ) -> None:
        """`structs` in an order in which each is declared before it is used; those named in `unions` are unions."""
        model = CModel()
        for name, fields in {**LIST_HEAD, **structs}.items():
            model.declare(name, fields, union=name in unions)
        for name, values in (enums or {}).items():
            model.btf.enum(name, dict(values))
        btf = Btf(model.btf.blob())
        layouts, missing = resolve_structs(btf, wants | Wants(structs={"list_head": "next prev"}))
        found_enums, _ = resolve_enums(btf, wants)
        places, at = {}, 0
        for name, size in symbols.items():
            places[name] = at
            at += size + -size % 64
        assert at <= IMAGE_BYTES
        self.ram = bytearray(RAM_BYTES)
        self.used = IMAGE_BYTES
        self.profile = KernelProfile(
            build_id="00" * 20,
            build_id_offset=0,
            banner="Linux version 0",
            release="0",
            rodata_offset=0,
            symbols=places,
            absolute=dict(absolute or {}),
            structs=layouts,
            enums=found_enums,
            missing=tuple(missing),
            symbol_count=len(places),
            type_count=len(btf),
            proof_spans=(),
            proof="",
            sources={},
        )

    def kernel(self, calls_limit: int = 30_000) -> Kernel:
        """As a reader gets it, of a guest that counts what it is asked. What is written later is not in it."""
        bases = KernelBases(
            text_gpa=Gpa(0),
            text_gva=Gva(IMAGE_GVA),
            image_size_bytes=IMAGE_BYTES,
            kaslr_slide=0,
            page_offset_base=Gva(PAGE_OFFSET),
            vmalloc_base=Gva(0xFFFF_C900_0000_0000),
            vmemmap_base=Gva(0xFFFF_EA00_0000_0000),
            page_table_root=Gpa(RAM_BYTES - 4096),
            la57=False,
        )
        ram = BoundedRam({0: self.ram}, calls_limit=calls_limit)
        return Kernel(KernelMemory(ram, bases), self.profile)

    def symbol(self, name: str) -> int:
        return IMAGE_GVA + self.profile.symbols[name]

    def _at(self, gva: int) -> int:
        return gva - (IMAGE_GVA if gva >= IMAGE_GVA else PAGE_OFFSET)

    def write(self, gva: int, data: bytes) -> None:
        at = self._at(gva)
        assert at >= 0 and at + len(data) <= RAM_BYTES
        self.ram[at : at + len(data)] = data

    def put(self, gva: int, value: int, size: int = 8) -> None:
        self.write(gva, (value & (1 << 8 * size) - 1).to_bytes(size, "little"))

    def alloc(self, size: int, align: int = 64) -> int:
        self.used += -self.used % align
        at = self.used
        self.used += size
        assert self.used < RAM_BYTES - 8192, "the fake heap is full"
        return PAGE_OFFSET + at

    def data(self, data: bytes) -> int:
        gva = self.alloc(len(data) or 1)
        self.write(gva, data)
        return gva

    def string(self, text: bytes) -> int:
        return self.data(text + b"\0")

    def field(self, gva: int, struct: str, name: str) -> int:
        """Address of a field."""
        return gva + self.profile[struct].offset(name)

    def set(self, gva: int, struct: str, **values: Any) -> None:
        """Fields of an object; a dotted one is written with two underscores: `core_layout__base`."""
        for name, value in values.items():
            layout = self.profile[struct][name.replace("__", ".") if "__" in name[1:] else name]
            if isinstance(value, bytes):
                assert len(value) <= layout.size or not layout.size
                self.write(gva + layout.offset, value)
            else:
                self.put(gva + layout.offset, value, layout.size)

    def new(self, struct: str, extra: int = 0, **values: Any) -> int:
        gva = self.alloc(self.profile[struct].size + extra)
        self.set(gva, struct, **values)
        return gva

    def chain(self, head: int, nodes: Sequence[int]) -> None:
        """Make a circular list of list_heads."""
        ring = [head, *nodes]
        for at, after in zip(ring, [*nodes, head], strict=True):
            self.put(at, after)
            self.put(after + 8, at)
