"""BTF is the kernel's own description of its types, in rodata between __start_BTF and __stop_BTF.

Decodes bytes that it is given; reads nothing itself. Lazy: one pass finds where each type starts, and a structure
is decoded when it is asked for. A hostile blob can lie in any size or reference: sizes are bounded before the pass,
references are checked, and the way through anonymous members, arrays and typedefs has an end.
Source: include/uapi/linux/btf.h, Documentation/bpf/btf.rst.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vmon.core.errors import BadStructure

MAGIC = 0xEB9F
HEADER = struct.Struct("<HBBIIIII")
MAX_BTF_BYTES = 64 << 20
MAX_DEPTH = 32
MAX_NAME_BYTES = 512
MAX_MEMBERS = 20_000
"""Members that one look-up of a name goes through; task_struct has some 300."""

KIND_INT, KIND_PTR, KIND_ARRAY, KIND_STRUCT, KIND_UNION, KIND_ENUM = 1, 2, 3, 4, 5, 6
KIND_FWD = 7
KIND_TYPEDEF, KIND_VOLATILE, KIND_CONST, KIND_RESTRICT, KIND_FUNC = 8, 9, 10, 11, 12
KIND_FUNC_PROTO, KIND_VAR, KIND_DATASEC, KIND_FLOAT, KIND_DECL_TAG = 13, 14, 15, 16, 17
KIND_TYPE_TAG, KIND_ENUM64 = 18, 19

# Words that follow the three-word head of a type: (fixed, per element of vlen).
EXTRA_WORDS: dict[int, tuple[int, int]] = {
    KIND_INT: (1, 0),
    KIND_ARRAY: (3, 0),
    KIND_STRUCT: (0, 3),
    KIND_UNION: (0, 3),
    KIND_ENUM: (0, 2),
    KIND_FUNC_PROTO: (0, 2),
    KIND_VAR: (1, 0),
    KIND_DATASEC: (0, 3),
    KIND_DECL_TAG: (1, 0),
    KIND_ENUM64: (0, 3),
}
LAST_KIND = KIND_ENUM64
NAMED_KINDS = (KIND_STRUCT, KIND_UNION, KIND_ENUM, KIND_ENUM64, KIND_TYPEDEF)
TRANSPARENT = {KIND_TYPEDEF, KIND_VOLATILE, KIND_CONST, KIND_RESTRICT, KIND_TYPE_TAG}


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a structure, in bits from its start. `bit_size` is 0 unless it is a bit-field."""

    name: str
    type_id: int
    bit_offset: int
    bit_size: int


class Btf:
    """One BTF blob. Type ids count from 1; 0 is void."""

    def __init__(self, blob: bytes, base: Btf | None = None) -> None:
        """With `base` the blob is a module's: its ids and names go on where those of the kernel proper end."""
        if len(blob) < HEADER.size or len(blob) > MAX_BTF_BYTES:
            raise BadStructure(f"BTF of {len(blob)} bytes", field="btf_header")
        magic, version, _flags, head, type_at, type_size, text_at, text_size = HEADER.unpack_from(blob)
        if magic != MAGIC or version != 1:
            raise BadStructure(f"BTF magic {magic:#x} version {version}", field="btf_header")
        if head < HEADER.size or head + max(type_at + type_size, text_at + text_size) > len(blob):
            raise BadStructure("BTF sections reach beyond the blob", field="btf_header")
        if (head + type_at) % 4 or type_size % 4:
            raise BadStructure("BTF types are not aligned", field="btf_header")
        self.blob = blob
        self._words = np.frombuffer(blob, dtype="<u4", count=type_size // 4, offset=head + type_at)
        self._strings = blob[head + text_at : head + text_at + text_size]
        self._starts = self._walk()
        if base is not None:
            behind = len(base._words)
            self._words = np.concatenate((base._words, self._words))
            self._strings = base._strings + self._strings
            self._starts = base._starts + [behind + start for start in self._starts[1:]]
        self._flat: dict[int, dict[str, Member]] = {}

    def __len__(self) -> int:
        """Number of types, void not counted."""
        return len(self._starts) - 1

    @property
    def text_bytes(self) -> int:
        """Bytes of its names: a module's begin there."""
        return len(self._strings)

    def _walk(self) -> list[int]:
        """Word position of each type; index 0 (void) holds -1."""
        words = self._words.data
        fixed = [3] * 32
        each = [0] * 32
        for kind, (extra, per) in EXTRA_WORDS.items():
            fixed[kind] = 3 + extra
            each[kind] = per
        starts = [-1]
        add = starts.append
        at, end = 0, len(words)
        try:
            while at < end:
                info = words[at + 1]
                kind = (info >> 24) & 0x1F
                add(at)
                at += fixed[kind] + each[kind] * (info & 0xFFFF)
        except IndexError:
            at = end + 1
        if at != end:
            raise BadStructure("BTF types overrun their section", field="btf_type", address=4 * end)
        return starts

    def _head(self, type_id: int) -> tuple[int, int, int, int]:
        """Name offset, info, size-or-type and word position of a type."""
        if not 0 < type_id < len(self._starts):
            raise BadStructure(f"BTF type {type_id} does not exist", field="btf_type")
        at = self._starts[type_id]
        words = self._words
        return int(words[at]), int(words[at + 1]), int(words[at + 2]), at

    def kind(self, type_id: int) -> int:
        """Kind of a type; 0 for void."""
        return (self._head(type_id)[1] >> 24) & 0x1F if type_id else 0

    def of_kind(self, *wanted: int) -> list[int]:
        """Ids of all types of some kinds, rising."""
        found: list[int] = (np.flatnonzero(np.isin(self._kinds, wanted)) + 1).tolist()
        return found

    def flag(self, type_id: int) -> bool:
        """The flag of a kind: an enumeration is signed, a declaration is of a union."""
        return bool(self._head(type_id)[1] >> 31)

    def target(self, type_id: int) -> int:
        """What a pointer points to, a typedef or qualifier stands for, a variable is of, a function returns."""
        return self._head(type_id)[2]

    def encoding(self, type_id: int) -> tuple[bool, bool, bool]:
        """Whether an integer is signed, a character, a truth value."""
        word = int(self._words[self._head(type_id)[3] + 3]) >> 24
        return bool(word & 1), bool(word & 2), bool(word & 4)

    def name(self, type_id: int) -> str:
        """Name of a type, empty when anonymous."""
        return self._text(self._head(type_id)[0])

    def _text(self, at: int) -> str:
        end = self._strings.find(b"\0", at, at + MAX_NAME_BYTES)
        return self._strings[at : end if end >= 0 else at].decode("latin-1")

    @cached_property
    def _by_name(self) -> dict[bytes, list[int]]:
        """Type ids of named structures, unions, enumerations, typedefs: one pass, then no look-up searches."""
        names = self._names
        wanted = np.isin(self._kinds, NAMED_KINDS) & (names != 0)
        strings, find = self._strings, self._strings.find
        table: dict[bytes, list[int]] = {}
        for at, type_id in zip(names[wanted].tolist(), (np.flatnonzero(wanted) + 1).tolist(), strict=True):
            name = strings[at : max(at, find(b"\0", at, at + MAX_NAME_BYTES))]
            table.setdefault(name, []).append(type_id)
        return table

    def all_named(self, name: str, *kinds: int) -> list[int]:
        """Type ids of everything of these kinds that has this name: functions and variables too. 0.2 ms."""
        at = self.find_text(name)
        return [] if at is None else self.named_at(at, *kinds)

    def named_at(self, at: int, *kinds: int) -> list[int]:
        """Type ids of everything of these kinds whose name lies there among the names."""
        return (np.flatnonzero((self._names == at) & np.isin(self._kinds, kinds)) + 1).tolist()

    def find_enumerator(self, name: str) -> tuple[int, int] | None:
        """The enumeration that has a constant of this name, the first of several, and which of its constants it is."""
        at = self.find_text(name)
        names, types, places = self._constants
        if at is None:
            return None
        found = np.flatnonzero(names == at)
        return (int(types[found[0]]), int(places[found[0]])) if found.size else None

    def find_text(self, name: str) -> int | None:
        """Where a name lies among the names; those that write BTF keep each once. None for the empty one."""
        text = name.encode("latin-1", "replace") + b"\0"
        if not name or self._strings.startswith(text):
            return 0 if name else None
        at = self._strings.find(b"\0" + text)
        return at + 1 if at >= 0 else None

    @cached_property
    def _constants(self) -> tuple[NDArray[np.uint32], NDArray[np.int64], NDArray[np.int64]]:
        """Of every enumerator: where its name lies, which type it is of, which one of that type it is."""
        starts = self._at
        parts = []
        for kind, words in ((KIND_ENUM, 2), (KIND_ENUM64, 3)):
            ids = np.flatnonzero(self._kinds == kind)
            counts = (self._words[starts[ids] + 1] & 0xFFFF).astype(np.int64)
            firsts = np.repeat(np.cumsum(counts) - counts, counts)
            places = np.arange(int(counts.sum()), dtype=np.int64) - firsts
            names = self._words[np.repeat(starts[ids], counts) + 3 + words * places]
            parts.append((names, np.repeat(ids + 1, counts), places))
        names, types, places = (np.concatenate(column) for column in zip(*parts, strict=True))
        return names, types, places

    @cached_property
    def _kinds(self) -> NDArray[np.uint32]:
        kinds: NDArray[np.uint32] = (self._words[self._at + 1] >> np.uint32(24)) & np.uint32(0x1F)
        return kinds

    @cached_property
    def _names(self) -> NDArray[np.uint32]:
        return self._words[self._at]

    @cached_property
    def _at(self) -> NDArray[np.int64]:
        return np.array(self._starts[1:], dtype=np.int64)

    def find(self, name: str, *kinds: int) -> int | None:
        """Type id of the first named type of one of `kinds` (default: struct or union); None when absent."""
        accepted = kinds or (KIND_STRUCT, KIND_UNION)
        for type_id in self._by_name.get(name.encode("latin-1"), ()):
            if self.kind(type_id) in accepted:
                return type_id
        return None

    def members(self, type_id: int) -> Iterator[Member]:
        """Members of a structure or union, in order."""
        _, info, _, at = self._head(type_id)
        kind = (info >> 24) & 0x1F
        if kind not in (KIND_STRUCT, KIND_UNION):
            raise BadStructure(f"BTF type {type_id} has no members", field="btf_type")
        with_bits = info >> 31
        count = info & 0xFFFF
        rows = self._words[at + 3 : at + 3 + 3 * count].reshape(count, 3).tolist()
        for name, member_type, offset in rows:
            if with_bits:
                yield Member(self._text(name), member_type, offset & 0xFF_FFFF, offset >> 24)
            else:
                yield Member(self._text(name), member_type, offset, 0)

    def strip(self, type_id: int) -> int:
        """The type behind typedefs and qualifiers."""
        for _ in range(MAX_DEPTH):
            if not type_id or self.kind(type_id) not in TRANSPARENT:
                return type_id
            type_id = self._head(type_id)[2]
        raise BadStructure("BTF typedefs do not end", field="btf_type")

    def size_bytes(self, type_id: int) -> int:
        """Size of a type in bytes; 0 for void, functions and flexible arrays."""
        elements = 1
        for _ in range(MAX_DEPTH):
            type_id = self.strip(type_id)
            kind = self.kind(type_id)
            if kind == KIND_PTR:
                return 8 * elements
            if kind != KIND_ARRAY:
                sized = (KIND_INT, KIND_STRUCT, KIND_UNION, KIND_ENUM, KIND_ENUM64, KIND_FLOAT, KIND_DATASEC)
                return self._head(type_id)[2] * elements if kind in sized else 0
            type_id, count = self.array(type_id)
            elements *= count
        raise BadStructure("BTF arrays nest without end", field="btf_type")

    def array(self, type_id: int) -> tuple[int, int]:
        """Element type and count of an array."""
        _, _, _, at = self._head(type_id)
        return int(self._words[at + 3]), int(self._words[at + 5])

    @cached_property
    def has_kind_flags(self) -> bool:
        """Whether any enumeration is flagged as signed: older tools that write BTF never set that flag."""
        starts = self._at[np.isin(self._kinds, (KIND_ENUM, KIND_ENUM64))]
        return bool((self._words[starts + 1] >> 31).any())

    def parameters(self, type_id: int) -> list[tuple[str, int]]:
        """Names and types of a function prototype's parameters; the last is ("", 0) where more may follow."""
        _, info, _, at = self._head(type_id)
        if (info >> 24) & 0x1F != KIND_FUNC_PROTO:
            raise BadStructure(f"BTF type {type_id} is no function prototype", field="btf_type")
        count = info & 0xFFFF
        rows = self._words[at + 3 : at + 3 + 2 * count].reshape(count, 2).tolist()
        return [(self._text(name), parameter) for name, parameter in rows]

    def enumerators(self, type_id: int) -> dict[str, int]:
        """Names and values of an enumeration."""
        _, info, _, at = self._head(type_id)
        kind, count = (info >> 24) & 0x1F, info & 0xFFFF
        if kind == KIND_ENUM:
            rows = self._words[at + 3 : at + 3 + 2 * count].reshape(count, 2).tolist()
            return {self._text(name): value for name, value in rows}
        if kind == KIND_ENUM64:
            rows = self._words[at + 3 : at + 3 + 3 * count].reshape(count, 3).tolist()
            return {self._text(name): low | high << 32 for name, low, high in rows}
        raise BadStructure(f"BTF type {type_id} is no enumeration", field="btf_type")

    def member(self, type_id: int, name: str) -> Member | None:
        """A member by name, looked for inside anonymous members too; None when absent."""
        known = self._flat.get(type_id)
        if known is None:
            known = self._flat[type_id] = self._flatten(type_id)
        return known.get(name)

    def _flatten(self, type_id: int) -> dict[str, Member]:
        """Every member by name, those of anonymous members too; of equal names the first counts."""
        found: dict[str, Member] = {}
        seen: set[int] = set()
        stack = [(type_id, 0, 0)]
        while stack:
            outer, bits, depth = stack.pop()
            if outer in seen:
                continue
            seen.add(outer)
            anonymous: list[Member] = []
            for member in self.members(outer):
                if member.name:
                    placed = Member(member.name, member.type_id, bits + member.bit_offset, member.bit_size)
                    found.setdefault(member.name, placed)
                else:
                    anonymous.append(member)
            if depth > MAX_DEPTH or len(found) + len(seen) > MAX_MEMBERS:
                raise BadStructure("BTF structures nest without end", field="btf_member")
            for member in reversed(anonymous):
                inner = self.strip(member.type_id)
                if self.kind(inner) in (KIND_STRUCT, KIND_UNION):
                    stack.append((inner, bits + member.bit_offset, depth + 1))
        return found

    def path(self, type_id: int, dotted: str) -> Member | None:
        """A member of a member, `a.b.c`; None when any step is absent. Offsets add up."""
        bits = 0
        member: Member | None = None
        for name in dotted.split("."):
            type_id = self.strip(type_id)
            if self.kind(type_id) not in (KIND_STRUCT, KIND_UNION):
                return None
            member = self.member(type_id, name)
            if member is None:
                return None
            bits += member.bit_offset
            type_id = member.type_id
        assert member is not None
        return Member(dotted, member.type_id, bits, member.bit_size)
