"""An ISF is Volatility 3's symbol file: JSON of types and symbols of one kernel build, which its banner names.

Pure: decodes bytes that it is given. Only what is asked for is decoded, so a file of 30 MB costs what finding its parts
costs. The file is the user's, not the guest's; one that is damaged is refused with what is wrong. Files of vmon,
dwarf2json and pakunoda are read. Source: Volatility's schemas 4.0.0 to 6.3.0.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from typing import Any

import msgspec

from vmon.core.errors import BadStructure
from vmon.kernel.types import MAX_DEPTH, Composite, Field, Kind, NamedTypes, TypeName

ANONYMOUS = "unnamed_field_"
"""Files before schema 6.2 have no word for it, but the same names."""


class _Base(msgspec.Struct):
    size: int


class _File(msgspec.Struct):
    base_types: dict[str, _Base]
    user_types: dict[str, msgspec.Raw]
    enums: dict[str, msgspec.Raw]
    symbols: dict[str, msgspec.Raw]


class _Type(msgspec.Struct):
    kind: str
    name: str = ""
    subtype: _Type | None = None
    count: int = 0
    type: _Type | None = None
    bit_position: int = 0
    bit_length: int = 0


class _Field(msgspec.Struct):
    type: _Type
    offset: int
    anonymous: bool = False


class _UserType(msgspec.Struct):
    kind: str
    size: int
    fields: dict[str, _Field]


class _Enum(msgspec.Struct):
    size: int
    constants: dict[str, int]


class _Symbol(msgspec.Struct):
    address: int
    constant_data: str = ""


class Isf(NamedTypes):
    """One symbol file."""

    def __init__(self, text: bytes) -> None:
        """Finds the parts; 0.1 to 0.3 s. BadStructure where it is no symbol file."""
        super().__init__()
        self._file = _decode(text, _File, "the file")
        self._composites: dict[str, Composite] = {}

    def __len__(self) -> int:
        return len(self._file.base_types) + len(self._file.user_types) + len(self._file.enums)

    @property
    def symbol_count(self) -> int:
        """How many symbols it has."""
        return len(self._file.symbols)

    @property
    def banner(self) -> str | None:
        """The text of linux_banner; None where the file does not say it."""
        raw = self._file.symbols.get("linux_banner")
        constant = _decode(raw, _Symbol, "linux_banner").constant_data if raw is not None else ""
        try:
            text = base64.b64decode(constant, validate=True)
        except (binascii.Error, ValueError) as error:
            raise BadStructure(f"its banner is damaged: {error}", field="linux_banner") from error
        return text.split(b"\0", 1)[0].decode("utf-8", "replace").strip() or None

    def find_symbols(self, names: Iterable[str]) -> dict[str, int]:
        """Addresses of those that are there, as the kernel is linked."""
        symbols = self._file.symbols
        return {name: _decode(symbols[name], _Symbol, name).address for name in names if name in symbols}

    def composite(self, name: str) -> Composite | None:
        """See NamedTypes."""
        if name not in self._composites:
            raw = self._file.user_types.get(name)
            if raw is None:
                return None
            found = _decode(raw, _UserType, name)
            if not found.size and not found.fields:
                return None  # what is only declared stands in a file like this
            fields = tuple(_field(name, word, field) for word, field in found.fields.items())
            kind: Kind = "union" if found.kind == "union" else "struct"
            self._composites[name] = Composite(kind, found.size, fields)
        return self._composites[name]

    def enumeration(self, name: str) -> tuple[int, dict[str, int]] | None:
        """See NamedTypes."""
        raw = self._file.enums.get(name)
        if raw is None:
            return None
        found = _decode(raw, _Enum, name)
        return found.size, found.constants

    def base_size_bytes(self, name: str) -> int:
        """See NamedTypes."""
        base = self._file.base_types.get(name)
        return base.size if base is not None else 0


def _decode(text: bytes | msgspec.Raw, kind: Any, where: str) -> Any:
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.MsgspecError as error:
        raise BadStructure(f"no symbol file of Volatility: {where}: {error}", field="isf") from error


def _field(struct: str, name: str, field: _Field) -> Field:
    bits = 8 * field.offset
    if field.type.kind == "bitfield":
        inner = _named(field.type.type, struct)
        return Field(name, inner, bits + field.type.bit_position, field.type.bit_length)
    anonymous = field.anonymous or name.startswith(ANONYMOUS)
    return Field("" if anonymous else name, _named(field.type, struct), bits)


PLAIN: dict[str, Kind] = {"struct": "struct", "class": "struct", "union": "union", "enum": "enum"}


def _named(found: _Type | None, where: str, depth: int = MAX_DEPTH) -> TypeName:
    if depth < 0:
        raise BadStructure("types nest without end", field=where)
    if found is None or found.name == "void":
        return TypeName("void")
    if found.kind == "pointer":
        # What it leads to is never asked for.
        return TypeName("pointer")
    if found.kind == "array":
        return TypeName("array", of=_named(found.subtype, where, depth - 1), count=found.count)
    if found.kind in PLAIN:
        return TypeName(PLAIN[found.kind], found.name)
    return TypeName("function") if found.kind == "function" else TypeName("base", found.name)
