"""An ISF is Volatility 3's symbol file: all types and symbols of a kernel build as JSON, found by the kernel's banner.

Pure: made of a decoded BTF and a symbol table, nothing is read. Addresses are those before KASLR, as in System.map; the
per-CPU symbols that are offsets stay offsets. A hostile guest decides names and numbers: names are escaped by the JSON
writer, a reference that leads nowhere becomes an empty structure, what never ends is cut. Typedefs are resolved, as
dwarf2json does; a type without a name has that of the first typedef of it, else `unnamed_` and its number. BTF says of
which type no variable is, but for per-CPU ones on some kernels; the variables that Volatility's plugins ask for are
in `variables`. Sources: Volatility's schema 6.2.0, include/uapi/linux/btf.h.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise

import msgspec
import numpy as np

from vmon.core.errors import BadStructure
from vmon.export.variables import ALIASES, VARIABLES, Shape
from vmon.kernel import btf as kinds
from vmon.kernel.btf import Btf
from vmon.kernel.symbols import SymbolTable

FORMAT = "6.2.0"
IMAGE_START = 0xFFFF_FFFF_8000_0000
"""Symbols below are offsets into per-CPU areas, or absolute values; KASLR does not move them."""
MAX_DEPTH = 32
MAX_ELEMENTS = 1 << 20
VOID = b'{"kind":"base","name":"void"}'
FUNCTION = b'{"kind":"function"}'
OF_POINTER = b'{"kind":"pointer","subtype":%b}'
COMPOSITE = {kinds.KIND_STRUCT: "struct", kinds.KIND_UNION: "union"}
ENUMERATIONS = (kinds.KIND_ENUM, kinds.KIND_ENUM64)
INTEGERS = {
    (1, False): "unsigned char",
    (1, True): "signed char",
    (2, False): "short unsigned int",
    (2, True): "short int",
    (4, False): "unsigned int",
    (4, True): "int",
    (8, False): "long unsigned int",
    (8, True): "long int",
}
"""What stands under an enumeration, which names no type of its own."""


class BaseType(msgspec.Struct, frozen=True):
    """A type without parts."""

    size: int
    signed: bool
    kind: str
    endian: str = "little"


def make_isf(
    types: Btf, symbols: SymbolTable, *, banner: bytes, build_id: str, slide: int, vmon_version: str
) -> bytes:
    """The JSON text; `banner` is linux_banner without its NUL, `slide` what KASLR added. 0.3 to 1 s."""
    written = TypeWriter(types)
    user_types = written.user_types()
    enums = written.enums()
    addresses = symbols.addresses
    unslid = np.where(
        addresses >= np.uint64(IMAGE_START), addresses - np.uint64(slide & (1 << 64) - 1), addresses
    )
    document = {
        "metadata": {
            "format": FORMAT,
            "producer": {
                "name": "vmon",
                "version": vmon_version,
                "datetime": datetime.now(UTC).isoformat(timespec="seconds"),
            },
            "linux": {
                "symbols": [_source("symtab", f"kallsyms, build id {build_id}", unslid.tobytes())],
                # The schema knows no kind that would fit BTF; none has to be given.
                "types": [_source("", f"BTF, build id {build_id}", types.blob)],
            },
        },
        "base_types": written.base_types(),
        "user_types": user_types,
        "enums": enums,
        "symbols": _symbols(written, symbols, unslid.tolist(), banner, slide),
    }
    return msgspec.json.encode(document)


def _source(kind: str, name: str, data: bytes) -> dict[str, str]:
    source = {"name": name, "hash_type": "sha256", "hash_value": hashlib.sha256(data).hexdigest()}
    return {"kind": kind, **source} if kind else source


def _symbols(
    types: TypeWriter, symbols: SymbolTable, addresses: list[int], banner: bytes, slide: int
) -> dict[str, msgspec.Raw]:
    """Each symbol with its address, and its type where that is known; of equal names the first counts."""
    functions, variables = types.functions(), types.variables()
    rooms = _rooms(addresses)
    found: dict[str, msgspec.Raw] = {}
    plain = b'{"address":%%d,"type":%b}' % VOID
    code = b'{"address":%%d,"type":%b}' % FUNCTION
    for name, kind, address in zip(symbols.names, symbols.kinds, addresses, strict=True):
        if name in found:
            continue
        if name in functions and kind in "tTwW":
            found[name] = msgspec.Raw(code % address)
            continue
        shape = variables.get(name)
        if shape is None and name in VARIABLES:
            shape = types.shape(VARIABLES[name], rooms.get(address, 0))
        text = plain % address if shape is None else b'{"address":%d,"type":%b}' % (address, shape)
        found[name] = msgspec.Raw(text)
    for name, gva in symbols.parts.items():
        if name not in found:
            shape = types.shape(VARIABLES[name], 0) if name in VARIABLES else None
            found[name] = msgspec.Raw(b'{"address":%d,"type":%b}' % (gva - slide, shape or VOID))
    for name, now in ALIASES.items():
        if now in found and name not in found:
            address = addresses[symbols.names.index(now)]
            shape = types.shape(VARIABLES[name], 0)
            found[name] = msgspec.Raw(b'{"address":%d,"type":%b}' % (address, shape or VOID))
    if "linux_banner" in found:
        constant = base64.b64encode(banner + b"\0")
        text = bytes(found["linux_banner"])[:-1] + b',"constant_data":"%b"}' % constant
        found["linux_banner"] = msgspec.Raw(text)
    return found


def _rooms(addresses: list[int]) -> dict[int, int]:
    """Bytes from each address to the next one."""
    ordered = sorted(set(addresses))
    return {low: high - low for low, high in pairwise(ordered)}


class TypeWriter:
    """The types of one BTF as fragments of an ISF."""

    def __init__(self, types: Btf) -> None:
        self._types = types
        self._bases: dict[str, BaseType] = {
            "void": BaseType(0, False, "void"),
            "pointer": BaseType(8, False, "int"),
            **{name: BaseType(size, signed, "int") for (size, signed), name in INTEGERS.items()},
        }
        self._names = self._name_types()
        self._known: dict[int, bytes] = {0: VOID}
        self._depth = 0
        # Before 6.0 (6089fb325cf7, which brought enum64) no enumeration said whether it is signed.
        self._signs_are_told = any(types.flag(number) for number in self._of(*ENUMERATIONS))

    def _of(self, *wanted: int) -> Iterator[int]:
        """Ids of the types of some kinds."""
        return iter(self._types.of_kind(*wanted))

    def _name_types(self) -> dict[int, str]:
        """A name of its own for each structure, union and enumeration."""
        types = self._types
        typedefs: dict[int, str] = {}
        for number in self._of(kinds.KIND_TYPEDEF):
            typedefs.setdefault(types.target(number), types.name(number))
        named: dict[int, str] = {}
        # Structures and unions share their names, as in C.
        for group in (tuple(COMPOSITE), ENUMERATIONS):
            taken: set[str] = set()
            members = list(self._of(*group))
            later = []
            for number in members:
                name = types.name(number)
                if name and name not in taken:
                    taken.add(name)
                    named[number] = name
                else:
                    later.append(number)
            for number in later:
                name = types.name(number) or typedefs.get(number, "")
                if not name or name in taken:
                    name = f"{name or 'unnamed'}_{number}"
                taken.add(name)
                named[number] = name
        return named

    def descriptor(self, number: int) -> bytes:
        """How a type is referred to."""
        known = self._known.get(number)
        if known is None:
            self._depth += 1
            known = self._describe(number) if self._depth < MAX_DEPTH else VOID
            self._depth -= 1
            if self._depth < MAX_DEPTH // 2:
                # What was cut deep below another type may be whole when asked for alone.
                self._known[number] = known
        return known

    def _describe(self, number: int) -> bytes:
        types = self._types
        try:
            number = types.strip(number)
            kind = types.kind(number)
        except BadStructure:
            return VOID
        found = VOID
        if kind == kinds.KIND_PTR:
            found = OF_POINTER % self.descriptor(types.target(number))
        elif kind == kinds.KIND_ARRAY:
            element, count = types.array(number)
            found = b'{"kind":"array","subtype":%b,"count":%d}' % (self.descriptor(element), count)
        elif kind in COMPOSITE:
            found = _reference(COMPOSITE[kind], self._names[number])
        elif kind in ENUMERATIONS:
            found = _reference("enum", self._names[number])
        elif kind == kinds.KIND_FWD:
            # Of a structure that is only declared nothing is known but its name.
            found = _reference("union" if types.flag(number) else "struct", types.name(number))
        elif kind in (kinds.KIND_FUNC_PROTO, kinds.KIND_FUNC):
            found = FUNCTION
        elif kind in (kinds.KIND_INT, kinds.KIND_FLOAT):
            found = _reference("base", self._base(number, kind))
        return found

    def _base(self, number: int, kind: int) -> str:
        name = self._types.name(number) or f"unnamed_{number}"
        if name not in self._bases:
            size = self._types.size_bytes(number)
            if kind == kinds.KIND_FLOAT:
                self._bases[name] = BaseType(size, True, "float")
            else:
                signed, char, boolean = self._types.encoding(number)
                # GCC's char is one only where BTF says so; pahole up to 1.24 does not.
                of = "bool" if boolean else "char" if char or name == "char" else "int"
                self._bases[name] = BaseType(size, signed or name == "char", of)
        return name

    def base_types(self) -> dict[str, BaseType]:
        """All of them, also those that nothing refers to."""
        for number in self._of(kinds.KIND_INT, kinds.KIND_FLOAT):
            self.descriptor(number)
        return self._bases

    def user_types(self) -> dict[str, dict[str, object]]:
        """Structures and unions, and those that are only declared as empty ones."""
        found: dict[str, dict[str, object]] = {}
        for number in self._of(*COMPOSITE):
            kind, size = COMPOSITE[self._types.kind(number)], self._types.size_bytes(number)
            found[self._names[number]] = {"kind": kind, "size": size, "fields": self._fields(number)}
        for number in self._of(kinds.KIND_FWD):
            kind = "union" if self._types.flag(number) else "struct"
            found.setdefault(self._types.name(number), {"kind": kind, "size": 0, "fields": {}})
        return found

    def _fields(self, number: int) -> dict[str, msgspec.Raw]:
        types = self._types
        fields: dict[str, msgspec.Raw] = {}
        anonymous = 0
        for member in types.members(number):
            descriptor = self.descriptor(member.type_id)
            offset = member.bit_offset // 8
            if member.bit_size:
                # A bit-field lies in a word of its type, aligned as such a word is.
                word_bits = 8 * max(types.size_bytes(member.type_id), 1)
                offset = member.bit_offset // word_bits * (word_bits // 8)
                descriptor = b'{"kind":"bitfield","bit_position":%d,"bit_length":%d,"type":%b}' % (
                    member.bit_offset % word_bits,
                    member.bit_size,
                    descriptor,
                )
            text = b'{"type":%b,"offset":%d' % (descriptor, offset)
            name = member.name
            if not name:
                name, anonymous = f"unnamed_field_{anonymous}", anonymous + 1
                # A bit-field without a name is padding.
                if descriptor.startswith((b'{"kind":"struct"', b'{"kind":"union"')):
                    text += b',"anonymous":true'
            fields.setdefault(name, msgspec.Raw(text + b"}"))
        return fields

    def enums(self) -> dict[str, dict[str, object]]:
        """Enumerations."""
        types = self._types
        found: dict[str, dict[str, object]] = {}
        for number in self._of(*ENUMERATIONS):
            size = types.size_bytes(number)
            values = types.enumerators(number)
            stored = 8 if types.kind(number) == kinds.KIND_ENUM64 else 4
            top = 1 << (8 * stored - 1)
            signed = types.flag(number) if self._signs_are_told else any(v >= top for v in values.values())
            if signed:
                values = {name: value - 2 * top if value >= top else value for name, value in values.items()}
            base = INTEGERS.get((size, signed), "unsigned int")
            found[self._names[number]] = {"size": size, "base": base, "constants": values}
        return found

    def functions(self) -> set[str]:
        """Names of the functions that BTF knows."""
        return {self._types.name(number) for number in self._of(kinds.KIND_FUNC)}

    def variables(self) -> dict[str, bytes]:
        """Types of the variables that BTF knows: per-CPU ones, where pahole wrote any."""
        types = self._types
        return {
            types.name(number): self.descriptor(types.target(number)) for number in self._of(kinds.KIND_VAR)
        }

    def shape(self, shapes: tuple[Shape, ...], room_bytes: int) -> bytes | None:
        """The first of some types that this kernel has; an array without a count fills its room."""
        for shape in shapes:
            found = self._shape(shape)
            if found is None:
                continue
            text, size = found
            for mark in reversed(shape.around):
                if mark == "*":
                    text, size = OF_POINTER % text, 8
                else:
                    count = min(room_bytes // max(size, 1), MAX_ELEMENTS)
                    text = b'{"kind":"array","subtype":%b,"count":%d}' % (text, count)
            return text
        return None

    def _shape(self, shape: Shape) -> tuple[bytes, int] | None:
        types = self._types
        if shape.kind == "function":
            return FUNCTION, 0
        if shape.kind == "base":
            base = self._bases.get(shape.name)
            return None if base is None else (_reference("base", shape.name), base.size)
        if shape.kind == "members":
            wanted = set(shape.name.split())
            for number in self._of(kinds.KIND_STRUCT):
                if not types.name(number) and {member.name for member in types.members(number)} == wanted:
                    return self.descriptor(number), types.size_bytes(number)
            return None
        number_or_none = types.find(shape.name)
        if number_or_none is None:
            return None
        return self.descriptor(number_or_none), types.size_bytes(number_or_none)


def _reference(kind: str, name: str) -> bytes:
    return b'{"kind":"%b","name":%b}' % (kind.encode(), msgspec.json.encode(name))
