"""kallsyms is the kernel's own symbol table, compressed, in rodata: five layouts from 5.10 to 7.3.

Decodes bytes of the kernel image that it is given; reads nothing itself. The layout is found by trying what the
data allows, never by a version: distributions backport. A hostile image can lie in any count; every count is
bounded before it sizes anything, and a table is accepted only when its parts agree with each other.
Sources: scripts/kallsyms.c and kernel/kallsyms.c of 5.10, 6.1, 6.12, 6.18, 7.2.

    names first     offsets, relative_base, num_syms, names, markers, [seqs_of_names,] token_table, token_index
    names last      num_syms, names, markers, token_table, token_index, offsets, [relative_base,] [seqs_of_names]
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vmon.core.errors import BadStructure

MAX_SYMBOLS = 2_000_000
MAX_NAMES_BYTES = 16 << 20
MAX_SYMBOL_LENGTH = 1024
MAX_EXPANDED_BYTES = 64 << 20
EXPAND_AT_ONCE = 8192
SYMBOLS_PER_MARKER = 256
# A real image holds "0".."9" some six times and needs one or two attempts at each of the others: what a hostile
# one may make us try is bounded, or it could keep us busy for hours.
MAX_TOKEN_PLACES = 64
MAX_MARKER_RUNS = 64
MAX_ATTEMPTS = 256
MARKER_REACHES_BYTES = (1 << 20, 4 * MAX_SYMBOLS)
INDEX_BYTES = 512
DIGITS = b"".join(b"%d\0" % digit for digit in range(10))

AddressRule = Literal["absolute-percpu", "base-relative", "place-relative"]


@dataclass(frozen=True, slots=True)
class TokenTable:
    """The 256 strings that symbol names are made of."""

    start: int
    end: int
    tokens: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Kallsyms:
    """A located table. Positions are offsets into the image bytes that were searched."""

    image: bytes
    count: int
    tokens: tuple[bytes, ...]
    starts: NDArray[np.int64]
    """Position of each symbol's first token."""
    lengths: NDArray[np.int64]
    """Number of tokens of each symbol."""
    offsets_at: int
    """Position of the offsets array."""
    relative_base: int | None
    """Base of the offsets as stored, already slid; None where they are relative to their own place."""
    rule: AddressRule
    layout: str
    tables: tuple[int, int]
    """Where the token table and its index start and end."""
    head: tuple[int, int, int]
    """Where the count of symbols, the names and the markers start."""

    def parts(self) -> dict[str, int]:
        """Position of each part by the name of its symbol, which the table itself leaves out."""
        num_syms, names, markers = self.head
        found = {
            "kallsyms_num_syms": num_syms,
            "kallsyms_names": names,
            "kallsyms_markers": markers,
            "kallsyms_token_table": self.tables[0],
            "kallsyms_token_index": self.tables[1] - INDEX_BYTES,
            "kallsyms_offsets": self.offsets_at,
        }
        if self.relative_base is not None:
            found["kallsyms_relative_base"] = _align(self.offsets_at + 4 * self.count, 8)
        return found

    def spans(self) -> list[tuple[int, int]]:
        """Where the table's parts lie that are the same in every boot: (position, size) of names, tokens, offsets."""
        first, last = int(self.starts[0]) - 1, int(self.starts[-1] + self.lengths[-1])
        tables = (self.tables[0], self.tables[1] - self.tables[0])
        return [(first, last - first), tables, (self.offsets_at, 4 * self.count)]

    def addresses(self, image_gva: int = 0) -> NDArray[np.uint64]:
        """Address of every symbol; `image_gva` is where the searched bytes start, used by place-relative tables."""
        raw = np.frombuffer(self.image, dtype="<i4", count=self.count, offset=self.offsets_at).astype(
            np.int64
        )
        if self.rule == "place-relative":
            places = _signed(image_gva) + self.offsets_at + 4 * np.arange(self.count, dtype=np.int64)
            return (raw + _wrap(places)).view(np.uint64)
        assert self.relative_base is not None
        base = np.int64(_signed(self.relative_base))
        if self.rule == "absolute-percpu":
            return np.where(raw < 0, base - 1 - raw, raw).view(np.uint64)
        return (base + (raw & 0xFFFF_FFFF)).view(np.uint64)

    def name(self, index: int) -> str:
        """Type letter and name of one symbol, as in /proc/kallsyms without the blank between."""
        at = int(self.starts[index])
        tokens = self.tokens
        text = b"".join([tokens[byte] for byte in self.image[at : at + int(self.lengths[index])]])
        return text.decode("latin-1")

    def expand(self) -> list[str]:
        """Type letter and name of every symbol, in the table's order: 60 to 150 ms for 90,000 to 190,000."""
        # Each token's text lies behind the one before; a newline, which no name has, ends each symbol.
        sizes = np.array([len(token) for token in self.tokens], dtype=np.int32)
        letters = np.frombuffer(b"".join(self.tokens), dtype=np.uint8)
        begins = np.concatenate(([0], np.cumsum(sizes)[:-1])).astype(np.int32)
        names: list[str] = []
        left = MAX_EXPANDED_BYTES
        # A piece at a time: arrays that stay in the cache are several times faster than those of all at once.
        for first in range(0, self.count, EXPAND_AT_ONCE):
            piece = self._expand(slice(first, first + EXPAND_AT_ONCE), sizes, begins, letters, left)
            left -= len(piece)
            found = piece.decode("latin-1").split("\n")
            names += found[:-1]
        if len(names) != self.count:
            raise BadStructure("a symbol name with a line break", field="kallsyms_names")
        return names

    def _expand(
        self,
        rows: slice,
        sizes: NDArray[np.int32],
        begins: NDArray[np.int32],
        letters: NDArray[np.uint8],
        limit: int,
    ) -> bytes:
        lengths = self.lengths[rows]
        ends = np.cumsum(lengths)
        places = np.repeat(self.starts[rows] - (ends - lengths), lengths) + np.arange(int(ends[-1]))
        used = np.frombuffer(self.image, dtype=np.uint8)[places]
        counts = sizes[used]
        inner = np.cumsum(counts)
        total = int(inner[-1])
        if total + lengths.size > limit:
            raise BadStructure(
                f"symbol names of more than {MAX_EXPANDED_BYTES:,} bytes", field="kallsyms_names"
            )
        text = letters[np.repeat(begins[used] - (inner - counts), counts) + np.arange(total)]
        return np.insert(text, inner[ends - 1], ord("\n")).tobytes()

    def find(self, names: Iterable[str]) -> dict[str, int]:
        """Index of each wanted name that exists; the first of equals.

        Expands only symbols whose length, first and last letter fit a wanted name.
        """
        wanted = set(names)
        if not wanted:
            return {}
        hits = self._candidates(wanted)
        found: dict[str, int] = {}
        for index in hits.tolist():
            name = self.name(index)[1:]
            if name in wanted and name not in found:
                found[name] = index
        return found

    def _candidates(self, wanted: set[str]) -> NDArray[np.int64]:
        """Indices of symbols whose first letter, last letter and length are those of a wanted name."""
        data = np.frombuffer(self.image, dtype=np.uint8)
        sizes = np.array([len(token) for token in self.tokens], dtype=np.int64)
        firsts = np.array([token[0] if token else 0 for token in self.tokens], dtype=np.uint16)
        seconds = np.array([token[1] if len(token) > 1 else 0 for token in self.tokens], dtype=np.uint16)
        lasts = np.array([token[-1] if token else 0 for token in self.tokens], dtype=np.uint16)
        first_token = data[self.starts]
        second_token = data[np.minimum(self.starts + 1, len(data) - 1)]
        # The first letter of the expanded text is the symbol's type; the name starts with the second.
        first = np.where(sizes[first_token] > 1, seconds[first_token], firsts[second_token])
        last = lasts[data[self.starts + self.lengths - 1]]
        ends = np.zeros(1 << 16, dtype=bool)
        ends[[ord(name[0]) << 8 | ord(name[-1]) for name in wanted]] = True
        hits = np.flatnonzero(ends[first << 8 | last])
        # Lengths of those that are left: one running sum over their tokens, laid end to end.
        counts = self.lengths[hits]
        stops = np.cumsum(counts)
        places = np.repeat(self.starts[hits] - (stops - counts), counts) + np.arange(int(counts.sum()))
        running = np.concatenate(([0], np.cumsum(sizes[data[places]])))
        expanded = running[stops] - running[stops - counts] - 1
        keys = expanded << 16 | first[hits].astype(np.int64) << 8 | last[hits]
        known = [len(name) << 16 | ord(name[0]) << 8 | ord(name[-1]) for name in wanted]
        fitting: NDArray[np.int64] = hits[np.isin(keys, known)]
        return fitting


def locate_kallsyms(image: bytes) -> Kallsyms:
    """Find the table in the bytes of a kernel image (from __start_rodata on); BadStructure when there is none."""
    reason = "no token table"
    attempts = 0
    for table in _token_tables(image):
        for markers_at, markers in islice(_marker_runs(image, table.start), MAX_MARKER_RUNS):
            for names_at, count, num_syms_at in _names_before(image, markers_at, markers):
                attempts += 1
                if attempts > MAX_ATTEMPTS:
                    raise BadStructure("kallsyms: too many places look like one", field="kallsyms_names")
                try:
                    starts, lengths = _positions(image, names_at, markers, count, markers_at)
                except BadStructure as error:
                    reason = error.message
                    continue
                placed = _place_offsets(image, num_syms_at, table.end, count)
                if placed is None:
                    reason = "no offsets array beside the names"
                    continue
                offsets_at, relative_base, rule, layout = placed
                return Kallsyms(
                    image,
                    count,
                    table.tokens,
                    starts,
                    lengths,
                    offsets_at,
                    relative_base,
                    rule,
                    layout,
                    (table.start, table.end),
                    (num_syms_at, names_at, markers_at),
                )
            reason = "no symbol count before the names"
    raise BadStructure(f"kallsyms: {reason}", field="kallsyms")


def _token_tables(image: bytes) -> Iterator[TokenTable]:
    """Every place where 256 NUL-ended strings are followed by exactly their own index."""
    at = image.find(DIGITS)
    for _ in range(MAX_TOKEN_PLACES):
        if at < 0:
            return
        # "0" is token 48: forty-eight strings end before it. Token 0 starts after the byte that ends padding
        # or the table before, which need not be NUL, so every 4-aligned start within reach is tried.
        end_of_first = at
        for _ in range(48):
            end_of_first = image.rfind(b"\0", max(0, at - 16384), end_of_first)
            if end_of_first < 0:
                break
        if end_of_first > 0:
            for start in range(end_of_first & ~3, max(-1, end_of_first - 64), -4):
                table = _read_tokens(image, start)
                if table is not None:
                    yield table
                    break
        at = image.find(DIGITS, at + 1)


def _read_tokens(image: bytes, start: int) -> TokenTable | None:
    parts = image[start : start + 32768].split(b"\0", 256)
    if len(parts) < 257:
        return None
    tokens = parts[:256]
    positions = np.zeros(256, dtype="<u2")
    sizes = np.array([len(token) + 1 for token in tokens], dtype=np.int64)
    total = int(sizes.sum())
    if total > 0xFFFF or tokens[48] != b"0":
        return None
    positions[1:] = np.cumsum(sizes)[:-1]
    index = positions.tobytes()
    for align in (8, 4):
        index_at = _align(start + total, align)
        if image[index_at : index_at + INDEX_BYTES] == index:
            return TokenTable(start, index_at + INDEX_BYTES, tuple(tokens))
    return None


def _marker_runs(image: bytes, end: int) -> Iterator[tuple[int, NDArray[np.uint32]]]:
    """Runs of u32 that start at 0 and rise by what 256 names can take, nearest to the token table first."""
    # Between markers and token table lies at most seqs_of_names, three bytes a symbol: mostly under a MiB.
    for reach in MARKER_REACHES_BYTES:
        begin = max(0, end - reach) & ~3
        words = np.frombuffer(image, dtype="<u4", count=((end & ~3) - begin) // 4, offset=begin)
        yield from _rising_runs(words, begin)


def _rising_runs(words: NDArray[np.uint32], begin: int) -> Iterator[tuple[int, NDArray[np.uint32]]]:
    if words.size < 2:
        return
    # Unsigned differences wrap, so one comparison tells what is too small, too large, or falls.
    steps = words[1:] - words[:-1]
    steps -= np.uint32(SYMBOLS_PER_MARKER)
    good = steps <= np.uint32(SYMBOLS_PER_MARKER * 129)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], good.view(np.int8), [0]))))
    runs = edges.reshape(-1, 2)
    runs = runs[(runs[:, 1] - runs[:, 0]) >= 16]
    for first, last in runs[::-1].tolist():
        # The zero that opens the run may follow padding zeros: the run of steps starts at it.
        if words[first] == 0:
            yield begin + 4 * first, words[first : last + 1]


def _names_before(
    image: bytes, markers_at: int, markers: NDArray[np.uint32]
) -> Iterator[tuple[int, int, int]]:
    """Where the names can start: the count of symbols lies 4 or 8 bytes before and fits the markers."""
    tail = int(markers[-1])
    if tail > MAX_NAMES_BYTES:
        return
    high = markers_at - tail
    low = max(8, high - SYMBOLS_PER_MARKER * 130 - 8) & ~3
    if high <= low:
        return
    words = np.frombuffer(image, dtype="<u4", count=(high - low) // 4, offset=low)
    fits = np.flatnonzero(
        (words.astype(np.int64) + SYMBOLS_PER_MARKER - 1) // SYMBOLS_PER_MARKER == len(markers)
    )
    for word in fits.tolist():
        at = low + 4 * word
        count = int(words[word])
        if count > MAX_SYMBOLS:
            continue
        for gap in (4, 8):
            yield at + gap, count, at


def _positions(
    image: bytes, names_at: int, markers: NDArray[np.uint32], count: int, limit: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Start and length of every name: all marker blocks walk forward together, 256 steps."""
    data = np.frombuffer(image, dtype=np.uint8)
    cursor = markers.astype(np.int64) + names_at
    blocks = len(markers)
    starts = np.zeros((SYMBOLS_PER_MARKER, blocks), dtype=np.int64)
    lengths = np.zeros((SYMBOLS_PER_MARKER, blocks), dtype=np.int64)
    last_block = count - (blocks - 1) * SYMBOLS_PER_MARKER
    for step in range(SYMBOLS_PER_MARKER):
        active = blocks if step < last_block else blocks - 1
        here = cursor[:active]
        if int(here.max(initial=0)) + 2 >= limit:
            raise BadStructure("names run over their end", field="kallsyms_names")
        size = data[here].astype(np.int64)
        # ULEB128 of two bytes since 6.1 (73bbb94466fd), for names of more than 127 tokens.
        long = size >= 0x80
        size = np.where(long, (size & 0x7F) | (data[here + 1].astype(np.int64) << 7), size)
        begin = here + 1 + long
        if int(size.min(initial=1)) == 0 or int(size.max(initial=0)) > MAX_SYMBOL_LENGTH:
            raise BadStructure("a name of impossible length", field="kallsyms_names")
        starts[step, :active] = begin
        lengths[step, :active] = size
        cursor[:active] = begin + size
    if not np.array_equal(cursor[:-1], markers[1:].astype(np.int64) + names_at):
        raise BadStructure("names and markers disagree", field="kallsyms_markers")
    if _align(int(cursor[-1]), 8) != limit and _align(int(cursor[-1]), 4) != limit:
        raise BadStructure("names do not end at the markers", field="kallsyms_names")
    return starts.T.reshape(-1)[:count], lengths.T.reshape(-1)[:count]


def _place_offsets(
    image: bytes, num_syms_at: int, tables_end: int, count: int
) -> tuple[int, int | None, AddressRule, str] | None:
    """Offsets lie right before num_syms (to 6.4 or so) or right after token_index (6.5 and later)."""
    size = 4 * count
    for pad in (0, 4):
        base_at = num_syms_at - 8 - pad
        start = base_at - _align(size, 8)
        if start >= 0 and base_at % 8 == 0 and _is_text_address(_u64(image, base_at)):
            return start, _u64(image, base_at), _rule(image, start, count), "offsets before names"
    start = _align(tables_end, 4)
    if start + size + 8 > len(image):
        return None
    base_at = _align(start + size, 8)
    base = _u64(image, base_at)
    if _is_text_address(base):
        return start, base, _rule(image, start, count), "offsets after names"
    return start, None, "place-relative", "offsets after names, place-relative"


def _rule(image: bytes, at: int, count: int) -> AddressRule:
    raw = np.frombuffer(image, dtype="<i4", count=count, offset=at)
    # With absolute-percpu almost every kernel symbol is stored as a negative number.
    return "absolute-percpu" if int((raw < 0).sum()) * 2 > count else "base-relative"


def _is_text_address(value: int) -> bool:
    return value >= 0xFFFF_FFFF_8000_0000 and value & 0xFFF == 0


def _align(value: int, size: int) -> int:
    return (value + size - 1) & ~(size - 1)


def _u64(image: bytes, at: int) -> int:
    return int.from_bytes(image[at : at + 8], "little")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _wrap(values: NDArray[np.int64] | int) -> NDArray[np.int64]:
    return np.asarray(values, dtype=np.int64)
