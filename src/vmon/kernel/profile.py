"""A KernelProfile is all that reading a kernel needs: symbols, structure layouts, and how each was learnt.

Pure data, with no address of a particular boot in it: symbols count from _text, so one profile serves every guest
that runs the same build (KASLR moves the image as a whole). Saved under its build id by vmon.monitor.
"""

from __future__ import annotations

import msgspec

from vmon.core.errors import BadStructure

Source = str
"""Where a fact came from: "btf", "kallsyms", "image"; later also "isf", "dwarf", "data", "code"."""


class FieldLayout(msgspec.Struct, frozen=True, array_like=True):
    """Where a field lies in its structure."""

    offset: int
    """Bytes from the start of the structure."""
    size: int
    """Bytes; for a bit-field, of the word that holds it."""
    bit: int = 0
    """Lowest bit, for a bit-field."""
    bits: int = 0
    """Width in bits; 0 when it is no bit-field."""
    count: int = 0
    """Elements, for an array."""
    spelling: str = ""
    """The name that this kernel uses, where it is not the newest."""
    source: Source = "btf"
    confidence: float = 1.0
    """1.0: stated by the kernel itself. Below: inferred."""


class StructLayout(msgspec.Struct, frozen=True):
    """The wanted fields of one structure."""

    name: str
    size: int
    fields: dict[str, FieldLayout]

    def __getitem__(self, field: str) -> FieldLayout:
        try:
            return self.fields[field]
        except KeyError:
            raise BadStructure("this kernel has no such field", field=f"{self.name}.{field}") from None

    def __contains__(self, field: str) -> bool:
        return field in self.fields

    def offset(self, field: str) -> int:
        """Offset in bytes; BadStructure names the field that this kernel lacks."""
        return self[field].offset


class KernelProfile(msgspec.Struct, frozen=True):
    """One kernel build."""

    build_id: str
    """Hexadecimal GNU build id."""
    build_id_offset: int
    """Where the build id's bytes lie, from __start_rodata."""
    banner: str
    """The text of linux_banner."""
    release: str
    """As uname -r."""
    rodata_offset: int
    """__start_rodata - _text."""
    symbols: dict[str, int]
    """Wanted symbols, from _text."""
    absolute: dict[str, int]
    """Wanted symbols that are no addresses in the image: offsets into each CPU's own area, the same in every boot."""
    structs: dict[str, StructLayout]
    enums: dict[str, dict[str, int]]
    missing: tuple[str, ...]
    """Wanted structures and fields that this kernel does not have."""
    symbol_count: int
    type_count: int
    proof_spans: tuple[tuple[int, int], ...]
    """(offset from __start_rodata, size) of the bytes that this profile was learnt from."""
    proof: str
    """SHA-256 of those bytes: another guest of this build id is known by them, not by its word."""
    sources: dict[str, Source]
    """Where the parts of this profile came from: symbols, structs."""

    def __getitem__(self, struct: str) -> StructLayout:
        try:
            return self.structs[struct]
        except KeyError:
            raise BadStructure("this kernel has no such structure", field=struct) from None

    def has(self, struct: str, field: str) -> bool:
        """Whether this kernel has that field."""
        layout = self.structs.get(struct)
        return layout is not None and field in layout.fields


class Wants(msgspec.Struct, frozen=True):
    """What a reader needs of a kernel: given to identify, answered by a profile.

    `structs` maps a structure to fields separated by blanks. `new|old` gives the spellings, newest first; the
    first is the name that the profile uses. `a.b` goes into a member.
    """

    symbols: tuple[str, ...] = ()
    structs: dict[str, str] = {}
    enums: tuple[str, ...] = ()

    def __or__(self, other: Wants) -> Wants:
        structs = dict(self.structs)
        for name, fields in other.structs.items():
            known = structs.get(name, "").split()
            structs[name] = " ".join([*known, *(word for word in fields.split() if word not in known)])
        return Wants(
            symbols=tuple(dict.fromkeys(self.symbols + other.symbols)),
            structs=structs,
            enums=tuple(dict.fromkeys(self.enums + other.enums)),
        )

    def digest_source(self) -> str:
        """A text that changes when the wants change: a saved profile that answers others is stale."""
        return msgspec.json.encode(self, order="sorted").decode()
