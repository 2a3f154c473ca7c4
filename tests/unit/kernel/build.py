"""Builders of what a kernel image holds: symbol tables of the five layouts, BTF, notes, page tables."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from vmon.kernel import btf as kinds

TEXT_GVA = 0xFFFF_FFFF_8100_0000

# kallsyms


@dataclass(frozen=True)
class Layout:
    """One way in which kernels lay out their symbol table."""

    name: str
    offsets_first: bool
    rule: str
    seqs: str = ""
    """Where seqs_of_names lies: "", "before tokens", "last"."""
    gap: int = 8
    """From num_syms to the names."""


LAYOUTS = (
    Layout("5.10", True, "absolute-percpu"),
    Layout("6.1 of Debian", True, "absolute-percpu", "before tokens"),
    Layout("6.12", False, "absolute-percpu", "last"),
    Layout("6.18", False, "base-relative", "last"),
    Layout("7.2", False, "place-relative", "last", 4),
)
PIECES = [b"__x64_sys_", b"_init", b"tcp_", b"vfs_", b"task_", b"_lock", b"filler_", b"ct", b"re", b"__"]


def make_tokens(names: Iterable[bytes]) -> list[bytes]:
    """256 tokens: each letter in use at its own place, as scripts/kallsyms.c does, and a few longer ones."""
    tokens = [b""] * 256
    for letter in set(b"".join(names)) | set(b"0123456789"):
        tokens[letter] = bytes([letter])
    free = [number for number in range(255, 0, -1) if not tokens[number]]
    for piece in PIECES:
        if all(tokens[letter] for letter in piece):
            tokens[free.pop()] = piece
    return tokens


def encode_name(text: bytes, tokens: Sequence[bytes], compress: bool = True) -> bytes:
    """Length (one or two bytes of ULEB128) and token numbers."""
    by_text = {token: number for number, token in enumerate(tokens) if token}
    out = bytearray()
    at = 0
    longest = sorted((p for p in PIECES if p in by_text), key=len, reverse=True) if compress else []
    while at < len(text):
        for piece in longest:
            if text.startswith(piece, at):
                break
        else:
            piece = text[at : at + 1]
        out.append(by_text[piece])
        at += len(piece)
    size = len(out)
    head = bytes([size]) if size < 0x80 else bytes([0x80 | size & 0x7F, size >> 7])
    return head + bytes(out)


def _pad(data: bytearray, align: int = 8) -> None:
    data.extend(b"\0" * (-len(data) % align))


def kallsyms(
    symbols: Sequence[tuple[str, int]], layout: Layout, at: int = 0, image_gva: int = 0
) -> tuple[bytes, int]:
    """The table of (type letter + name, address) to be put `at` bytes into an image that starts at `image_gva`.

    Gives the table and the address that its relative base stands for. `at` is a multiple of 8.
    """
    assert at % 8 == 0
    encoded = [text.encode("latin-1") for text, _ in symbols]
    tokens = make_tokens(encoded)
    names = bytearray()
    markers = []
    for number, text in enumerate(encoded):
        if number % 256 == 0:
            markers.append(len(names))
        names += encode_name(text, tokens)
    base = min(address for _, address in symbols if address >= 0xFFFF_FFFF_8000_0000) & ~0xFFF

    def offsets(position: int) -> bytes:
        out = []
        for number, (_, address) in enumerate(symbols):
            if layout.rule == "place-relative":
                value = address - (image_gva + at + position + 4 * number)
            elif layout.rule == "base-relative":
                value = address - base
            else:
                value = base - 1 - address if address >= base else address
            out.append(value & 0xFFFF_FFFF)
        return struct.pack(f"<{len(out)}I", *out)

    blob = bytearray()
    if layout.offsets_first:
        blob += offsets(0)
        _pad(blob)
        blob += struct.pack("<Q", base)
    blob += struct.pack("<I", len(symbols))
    if layout.gap == 8:
        _pad(blob)
    blob += names
    _pad(blob)
    blob += struct.pack(f"<{len(markers)}I", *markers)
    _pad(blob)
    seqs = b"".join((number % 0xFFFFFF).to_bytes(3, "big") for number in range(len(symbols)))
    if layout.seqs == "before tokens":
        blob += seqs
        _pad(blob)
    positions = []
    start = len(blob)
    for token in tokens:
        positions.append(len(blob) - start)
        blob += token + b"\0"
    _pad(blob)
    blob += struct.pack("<256H", *positions)
    if not layout.offsets_first:
        _pad(blob)
        blob += offsets(len(blob))
        if layout.rule != "place-relative":
            _pad(blob)
            blob += struct.pack("<Q", base)
    if layout.seqs == "last":
        blob += seqs
    _pad(blob)
    return bytes(blob), base


def filler_symbols(count: int, start: int = TEXT_GVA) -> list[tuple[str, int]]:
    """Symbols to make a table large enough to be one: real ones have a hundred thousand."""
    return [(f"tfiller_{number:x}", start + 16 * number) for number in range(count)]


# BTF


class BtfBuilder:
    """Adds types one by one; each `add` gives the new type's id."""

    def __init__(self) -> None:
        self._strings = bytearray(b"\0")
        self._known: dict[str, int] = {"": 0}
        self._types = bytearray()
        self.count = 0

    def text(self, name: str) -> int:
        if name not in self._known:
            self._known[name] = len(self._strings)
            self._strings += name.encode() + b"\0"
        return self._known[name]

    def add(
        self, kind: int, name: str, third: int, extra: Sequence[int] = (), vlen: int = 0, flag: bool = False
    ) -> int:
        info = kind << 24 | vlen | flag << 31
        self._types += struct.pack(f"<{3 + len(extra)}I", self.text(name), info, third, *extra)
        self.count += 1
        return self.count

    def integer(self, name: str, size: int) -> int:
        return self.add(kinds.KIND_INT, name, size, [size * 8])

    def pointer(self, to: int = 0) -> int:
        return self.add(kinds.KIND_PTR, "", to)

    def array(self, of: int, count: int) -> int:
        return self.add(kinds.KIND_ARRAY, "", 0, [of, 0, count])

    def composite(
        self, name: str, size: int, members: Sequence[tuple[str, int, int, int]], union: bool = False
    ) -> int:
        """Members are (name, type, bit offset, bit-field width or 0)."""
        flag = any(bits for *_, bits in members)
        extra: list[int] = []
        for member, type_id, offset, bits in members:
            extra += [self.text(member), type_id, offset | bits << 24 if flag else offset]
        kind = kinds.KIND_UNION if union else kinds.KIND_STRUCT
        return self.add(kind, name, size, extra, len(members), flag)

    def enum(self, name: str, values: dict[str, int]) -> int:
        extra = [word for item, value in values.items() for word in (self.text(item), value)]
        return self.add(kinds.KIND_ENUM, name, 4, extra, len(values))

    def enum64(self, name: str, values: dict[str, int]) -> int:
        extra = []
        for item, value in values.items():
            extra += [self.text(item), value & 0xFFFF_FFFF, value >> 32]
        return self.add(kinds.KIND_ENUM64, name, 8, extra, len(values))

    def blob(self) -> bytes:
        head = kinds.HEADER.pack(
            kinds.MAGIC, 1, 0, 24, 0, len(self._types), len(self._types), len(self._strings)
        )
        return head + bytes(self._types) + bytes(self._strings)


SCALARS = {"char": 1, "u8": 1, "u16": 2, "u32": 4, "s32": 4, "u64": 8, "s64": 8, "p": 8}


class CModel:
    """Structures in a shorthand, laid out as a C compiler does: "pid:s32 comm:char*16 tasks:list_head :anon".

    A type is a scalar, a structure declared before, or either with *COUNT; no name makes an anonymous member.
    A scalar with /BITS is a bit-field: those that follow one another share a scalar while there is room.
    """

    def __init__(self) -> None:
        self.btf = BtfBuilder()
        self._types: dict[str, tuple[int, int, int]] = {}
        for name, size in SCALARS.items():
            type_id = self.btf.pointer() if name == "p" else self.btf.integer(name, size)
            self._types[name] = type_id, size, size

    def known(self) -> set[str]:
        return set(self._types)

    def declare(self, name: str, fields: str, union: bool = False) -> None:
        members: list[tuple[str, int, int, int]] = []
        at = align = 0
        taken = 0
        for word in fields.split():
            member, _, type_name = word.partition(":")
            base, star, count_text = type_name.partition("*")
            base, _, bits_text = base.partition("/")
            type_id, size, alignment = self._types[base]
            if bits_text:
                bits = int(bits_text)
                if taken and taken + bits <= 8 * size:
                    at -= size
                else:
                    taken = 0
                    at += -at % alignment
                members.append((member, type_id, 8 * at + taken, bits))
                at, taken = at + size, taken + bits
                align = max(align, alignment)
                continue
            taken = 0
            if star:
                type_id = self.btf.array(type_id, int(count_text))
                size *= int(count_text)
            place = 0 if union else at + -at % alignment
            members.append((member, type_id, 8 * place, 0))
            at = max(at, place + size)
            align = max(align, alignment)
        size = at + -at % max(align, 1)
        self._types[name] = self.btf.composite(name, size, members, union), size, max(align, 1)


# Notes


def note(name: bytes, kind: int, description: bytes) -> bytes:
    """One ELF note."""
    out = struct.pack("<III", len(name), len(description), kind)
    return out + name + b"\0" * (-len(name) % 4) + description + b"\0" * (-len(description) % 4)


# Page tables

PRESENT, WRITABLE, USER, HUGE, NX = 1, 2, 4, 0x80, 1 << 63
SHIFTS = {4096: 12, 2 << 20: 21, 1 << 30: 30}


class PageTables:
    """Makes page tables in memory that `peek` and `poke` reach; `new_page` gives zeroed pages."""

    def __init__(
        self,
        root: int,
        la57: bool,
        peek: Callable[[int], int],
        poke: Callable[[int, int], None],
        new_page: Callable[[], int],
    ) -> None:
        self.root = root
        self.shifts = [48, 39, 30, 21, 12] if la57 else [39, 30, 21, 12]
        self._peek, self._poke, self._new_page = peek, poke, new_page

    def map(self, gva: int, gpa: int, size: int = 4096, flags: int = WRITABLE | USER) -> int:
        """Map one page; gives the place of its entry."""
        table = self.root
        for shift in self.shifts:
            place = table + 8 * (gva >> shift & 0x1FF)
            if shift == SHIFTS[size]:
                self._poke(place, gpa | flags | PRESENT | (HUGE if shift > 12 else 0))
                return place
            entry = self._peek(place)
            if not entry & PRESENT:
                entry = self._new_page() | PRESENT | WRITABLE | USER
                self._poke(place, entry)
            table = entry & 0x000F_FFFF_FFFF_F000
        raise AssertionError("unreachable")
