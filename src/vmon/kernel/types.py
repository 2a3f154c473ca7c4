"""What is asked of types, wherever they come from: the kernel's own BTF, a symbol file, debug information.

Pure. Kinds are those of BTF. Type ids mean something to who gave them out, and to nobody else; 0 is void.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from vmon.core.errors import BadStructure
from vmon.kernel import btf as kinds
from vmon.kernel.btf import Member

MAX_DEPTH = 32
Kind = Literal["struct", "union", "enum", "base", "pointer", "array", "function", "void"]
KINDS: dict[Kind, int] = {
    "struct": kinds.KIND_STRUCT,
    "union": kinds.KIND_UNION,
    "enum": kinds.KIND_ENUM,
    "base": kinds.KIND_INT,
    "pointer": kinds.KIND_PTR,
    "array": kinds.KIND_ARRAY,
    "function": kinds.KIND_FUNC_PROTO,
    "void": 0,
}


class Types(Protocol):
    """Types by number. BadStructure where they contradict themselves."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def find(self, name: str, *kinds: int) -> int | None:
        """Id of the first type of that name of one of `kinds` (default: struct or union); None when absent."""
        ...

    def kind(self, type_id: int) -> int:
        """Kind of a type; 0 for void."""
        ...

    def strip(self, type_id: int) -> int:
        """The type behind typedefs and qualifiers."""
        ...

    def size_bytes(self, type_id: int) -> int:
        """Size of a type in bytes; 0 for void, functions and flexible arrays."""
        ...

    def array(self, type_id: int) -> tuple[int, int]:
        """Element type and count of an array."""
        ...

    def path(self, type_id: int, dotted: str) -> Member | None:
        """A member of a member, `a.b.c`, also inside anonymous members; None when any step is absent."""
        ...

    def enumerators(self, type_id: int) -> dict[str, int]:
        """Names and values of an enumeration."""
        ...


@dataclass(frozen=True, slots=True)
class TypeName:
    """How a type is referred to, in a world where what has members has a name."""

    kind: Kind
    name: str = ""
    """Of a structure, union, enumeration or base type."""
    of: TypeName | None = None
    """Of an array or pointer; None is void."""
    count: int = 0
    """Of an array."""


@dataclass(frozen=True, slots=True)
class Field:
    """A member of a structure."""

    name: str
    """Empty where its own members count as the structure's."""
    type: TypeName
    bit_offset: int
    bit_size: int = 0
    """0 unless it is a bit-field."""


@dataclass(frozen=True, slots=True)
class Composite:
    """A structure or union."""

    kind: Kind
    size_bytes: int
    fields: tuple[Field, ...]


class NamedTypes(ABC):
    """Types over descriptions by name: who has these becomes Types by three answers."""

    def __init__(self) -> None:
        self._known: list[TypeName] = []
        self._ids: dict[TypeName, int] = {}
        self._flat: dict[str, dict[str, Field]] = {}

    @abstractmethod
    def __len__(self) -> int:
        """How many types there are."""

    @abstractmethod
    def composite(self, name: str) -> Composite | None:
        """A structure or union; None when there is none."""

    @abstractmethod
    def enumeration(self, name: str) -> tuple[int, dict[str, int]] | None:
        """Size in bytes, and the values; None when there is none."""

    @abstractmethod
    def base_size_bytes(self, name: str) -> int:
        """Size of a base type; 0 when it is not known."""

    def _id(self, named: TypeName | None) -> int:
        if named is None or named.kind == "void":
            return 0
        if named not in self._ids:
            self._known.append(named)
            self._ids[named] = len(self._known)
        return self._ids[named]

    def _named(self, type_id: int) -> TypeName:
        if not 0 < type_id <= len(self._known):
            raise BadStructure(f"type {type_id} does not exist", field="type")
        return self._known[type_id - 1]

    def find(self, name: str, *wanted: int) -> int | None:
        """See Types."""
        accepted = wanted or (kinds.KIND_STRUCT, kinds.KIND_UNION)
        if {kinds.KIND_STRUCT, kinds.KIND_UNION} & set(accepted):
            found = self.composite(name)
            if found is not None and KINDS[found.kind] in accepted:
                return self._id(TypeName(found.kind, name))
        if {kinds.KIND_ENUM, kinds.KIND_ENUM64} & set(accepted) and self.enumeration(name) is not None:
            return self._id(TypeName("enum", name))
        return None

    def kind(self, type_id: int) -> int:
        """See Types."""
        return KINDS[self._named(type_id).kind] if type_id else 0

    def strip(self, type_id: int) -> int:
        """See Types. What has a name here is no typedef."""
        return type_id

    def array(self, type_id: int) -> tuple[int, int]:
        """See Types."""
        named = self._named(type_id)
        return self._id(named.of), named.count

    def size_bytes(self, type_id: int) -> int:
        """See Types."""
        return self._size_bytes(self._named(type_id)) if type_id else 0

    def _size_bytes(self, named: TypeName) -> int:
        elements = 1
        for _ in range(MAX_DEPTH):
            if named.kind != "array":
                break
            elements *= named.count
            if named.of is None:
                return 0
            named = named.of
        else:
            raise BadStructure("arrays nest without end", field=named.name or "type")
        size = 0
        if named.kind == "pointer":
            size = 8
        elif named.kind in ("struct", "union"):
            composite = self.composite(named.name)
            size = composite.size_bytes if composite is not None else 0
        elif named.kind == "enum":
            found = self.enumeration(named.name)
            size = found[0] if found is not None else 0
        elif named.kind == "base":
            size = self.base_size_bytes(named.name)
        return size * elements

    def enumerators(self, type_id: int) -> dict[str, int]:
        """See Types."""
        found = self.enumeration(self._named(type_id).name)
        if found is None:
            raise BadStructure(f"type {type_id} is no enumeration", field="type")
        return found[1]

    def path(self, type_id: int, dotted: str) -> Member | None:
        """See Types."""
        named: TypeName | None = self._named(type_id)
        bits = 0
        field: Field | None = None
        for name in dotted.split("."):
            if named is None or named.kind not in ("struct", "union"):
                return None
            field = self._members(named.name).get(name)
            if field is None:
                return None
            bits += field.bit_offset
            named = field.type
        assert field is not None
        return Member(dotted, self._id(field.type), bits, field.bit_size)

    def _members(self, name: str) -> dict[str, Field]:
        """Every member by name, those of anonymous members too; of equal names the first counts."""
        if name not in self._flat:
            found: dict[str, Field] = {}
            self._flatten(name, 0, found, MAX_DEPTH)
            self._flat[name] = found
        return self._flat[name]

    def _flatten(self, name: str, bits: int, found: dict[str, Field], depth: int) -> None:
        if depth < 0:
            raise BadStructure("structures nest without end", field=name)
        composite = self.composite(name)
        for field in composite.fields if composite is not None else ():
            if field.name:
                placed = Field(field.name, field.type, bits + field.bit_offset, field.bit_size)
                found.setdefault(field.name, placed)
            elif field.type.kind in ("struct", "union"):
                self._flatten(field.type.name, bits + field.bit_offset, found, depth - 1)


class FindSymbols(Protocol):
    """Symbols by name."""

    def find_symbols(self, names: Iterable[str]) -> Mapping[str, int]:
        """Addresses of those that are there, as the kernel is linked."""
        ...
