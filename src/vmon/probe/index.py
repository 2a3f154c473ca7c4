"""The index of a rule table: a rule is found by one key of its own, so that it costs only the events that share it.

Pure. The hashes are those of the probe (path.c, rules.c); a rule without a key is looked at in turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from vmon.core.errors import UsageError
from vmon.probe.abi import Abi

MIX = 0x9E37_79B9_7F4A_7C15
"""VMON_MIX."""
MASK = (1 << 64) - 1

Key = tuple[str, int]
"""A class of keys, and the value that is hashed."""


def name_hash(name: bytes) -> int:
    """Hash of one name of a path, eight bytes at a time."""
    value = len(name)
    for at in range(0, len(name), 8):
        value = (value ^ int.from_bytes(name[at : at + 8], "little")) * MIX & MASK
        value ^= value >> 32
    return value


def leaf_key(path: bytes) -> Key:
    """The last name of a path."""
    return "NAME", name_hash(path.rpartition(b"/")[2])


def exe_key(path: bytes) -> Key:
    """The last name of a program."""
    return "EXE", name_hash(path.rpartition(b"/")[2])


def folder_key(prefix: bytes) -> Key:
    """The names that the beginning of a path has in full."""
    value = 0
    for name in prefix.split(b"/")[1:-1]:
        value = (value ^ name_hash(name)) * MIX & MASK
    return "FOLDER", value


def words_key(kind: str, data: bytes) -> Key:
    """Sixteen bytes: a comm or an address."""
    low, high = (int.from_bytes(data[at : at + 8], "little") for at in (0, 8))
    return kind, (low * MIX & MASK) ^ high


def entry_hash(number: int, value: int) -> int:
    """What an entry of the index is found by."""
    return ((value ^ (number + 1)) * MIX & MASK) >> 32


def write_index(abi: Abi, table: np.void, keys: Sequence[Key | None]) -> None:
    """Fill buckets, entries, classes and rests of a table whose rules are there. `keys` are those of its rules.

    UsageError when the lists of rules without a key don't fit.
    """
    kinds = table["rules"]["kinds"][: len(keys)]
    buckets, entries = table["buckets"], table["entries"]
    # Backwards, so that each chain goes on in the order of the rules.
    for row in reversed(range(len(keys))):
        key = keys[row]
        if key is None:
            continue
        number = abi.keys[key[0]]
        found = entry_hash(number, key[1])
        bucket = found % len(buckets)
        entries[row] = (found, row, buckets[bucket])
        buckets[bucket] = row + 1
    lists: dict[tuple[int, ...], int] = {}
    used = 0
    for kind in abi.events.values():
        own = np.flatnonzero(kinds & np.uint64(1 << kind)).tolist()
        table["classes"][kind] = _bits(abi.keys[key[0]] for row in own if (key := keys[row]) is not None)
        rest = tuple(row for row in own if keys[row] is None)
        if rest and rest not in lists:
            if used + len(rest) > len(table["rest"]):
                raise UsageError(
                    "too many rules for many events name neither a path, an address, a program nor a process",
                    hint="name fewer events, or narrow the rules",
                )
            table["rest"][used : used + len(rest)] = rest
            lists[rest] = used
            used += len(rest)
        table["rest_at"][kind], table["rest_count"][kind] = lists.get(rest, 0), len(rest)


def _bits(numbers: Iterable[int]) -> int:
    found = 0
    for number in numbers:
        found |= 1 << number
    return found
