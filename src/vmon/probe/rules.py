"""Rules lie in the guest as a table of records with an index: written beside the one in force, then switched to.

Writes pages that the guest's kernel gave, which it can only read at the probe's address. What is read back is checked:
the guest has those pages in its direct map too, and may write them there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from itertools import count

import numpy as np

from vmon.core.address import PAGE_SIZE_BYTES
from vmon.core.errors import NotSupported, UsageError
from vmon.core.rules import Rule, RuleRecord
from vmon.probe.abi import Abi
from vmon.probe.decode import RuleDecoder
from vmon.probe.encode import RuleEncoder, split_key
from vmon.probe.install import Probe

Key = tuple[int, int]
"""A process: pid and start time."""
Family = Callable[[Key], Iterable[Key]]
"""Who descends from a process by now, itself first."""

READERS_S = 2.0
MOST_ROUNDS = 8
MAX_NUMBER = 0xFFFF
"""Of a rule, as its record has room for."""


def only_itself(root: Key) -> Iterable[Key]:
    """The family of a process that has started nothing yet."""
    return (root,)


class RuleTable:
    """The two tables of a probe. `family` tells who is in a tree when its first rule comes."""

    def __init__(self, probe: Probe, family: Family = only_itself) -> None:
        self._probe = probe
        self._abi: Abi = probe.abi
        self._dtype = self._abi.dtype("table")
        self._encoder = RuleEncoder(self._abi)
        self._decoder = RuleDecoder(self._abi)
        self._family = family

    def add(self, rules: Sequence[Rule]) -> list[RuleRecord]:
        """Put rules behind those in force. UsageError names one that can't be judged, and nothing has changed then."""
        found = self.read()
        new = _numbered(rules, found)
        self.replace([*found, *new])
        return new

    def put_first(self, rules: Sequence[Rule]) -> list[RuleRecord]:
        """Put rules before those in force."""
        found = self.read()
        new = _numbered(rules, found)
        self.replace([*new, *found])
        return new

    def exchange(self, numbers: Sequence[int], rules: Sequence[Rule]) -> list[RuleRecord]:
        """Rules of these numbers give way to others, which come where the first of them was, or last; at once.

        UsageError for a rule that can't be judged, and nothing has changed then.
        """
        found = self.read()
        new = _numbered(rules, found)
        gone = set(numbers)
        at = next((row for row, record in enumerate(found) if record.number in gone), len(found))
        before, after = found[:at], [record for record in found[at:] if record.number not in gone]
        self.replace([*before, *new, *after])
        return new

    def drop(self, numbers: Sequence[int]) -> None:
        """Take rules out of force. UsageError where there is no such rule."""
        found = self.read()
        unknown = set(numbers) - {record.number for record in found}
        if unknown:
            raise UsageError(
                f"there is no rule {min(unknown)} in force", hint="`vmon rules TARGET` lists them"
            )
        self.replace([record for record in found if record.number not in numbers])

    def replace(self, records: Sequence[RuleRecord]) -> None:
        """Put other rules in force, all at once; the guest goes on. Hits are those of the records, counted on."""
        probe = self._probe
        if not records:
            probe.put("table_at", 0)
            probe.put("tags", 0)
            probe.settle()
            return
        before = self._trees()
        tags = self._choose_tags(records, before)
        data = self._encoder.encode(records, tags)
        number = 2 if self._number() == 1 else 1
        self._give(self._abi.sizes["LEDGER_AT"], self._abi.size("ledger"), writable=True)
        self._give(self._at(number), self._abi.size("table"), writable=False)
        # Somebody may still read this table, from before the last switch.
        self.wait_for_readers()
        self._tag({tree: bit for tree, bit in tags.items() if tree not in before})
        probe.window.write(self._at(number), data)
        hits = np.array([record.hits for record in records], dtype="<u8").tobytes()
        probe.window.write(self._hits_at(number), hits.ljust(self._hits_size(), b"\0"))
        probe.put("table_at", self._at(number))
        probe.put("tags", int(bool(tags)))
        probe.settle()

    @property
    def in_force(self) -> bool:
        """Whether there are any rules."""
        return self._number() != 0

    def read(self) -> list[RuleRecord]:
        """The rules in force, with their hits."""
        table = self._in_force()
        if table is None:
            return []
        counts = np.frombuffer(
            self._probe.window.read(self._hits_at(self._number()), self._hits_size()), "<u8"
        )
        return [
            RuleRecord(number=number, hits=int(counts[row]), rule=rule)
            for row, (number, rule) in enumerate(self._decoder.decode(table))
        ]

    def wait_for_readers(self) -> None:
        """Everybody who was in the probe when this was called has left it. NotSupported when somebody never does."""
        probe = self._probe
        offset, size = self._abi.member("state", "in_flight")
        left = np.arange(size // 4)
        deadline = time.monotonic() + READERS_S
        while len(left):
            words = np.frombuffer(probe.window.read(self._abi.sizes["STATE_AT"] + offset, size), "<u4")
            left = left[words[left] != 0]
            if time.monotonic() > deadline:
                raise NotSupported(
                    "somebody does not leave the probe", hint="is the guest paused? `vmon info` tells"
                )

    # Where things lie.

    def _number(self) -> int:
        """Of the table in force; 0 for none."""
        at = self._probe.get("config", "table_at")
        return next((number for number in (1, 2) if at == self._at(number)), 0)

    def _at(self, number: int) -> int:
        return self._abi.sizes["RULES_AT"] + (number - 1) * self._abi.sizes["TABLE"]

    def _hits_size(self) -> int:
        return self._abi.member("ledger", "hits")[1] // 2

    def _hits_at(self, number: int) -> int:
        offset = self._abi.offset("ledger", "hits")
        return self._abi.sizes["LEDGER_AT"] + offset + (number - 1) * self._hits_size()

    def _give(self, at: int, size_bytes: int, *, writable: bool) -> None:
        self._probe.give_pages(at, -(-size_bytes // PAGE_SIZE_BYTES), writable=writable)

    def _in_force(self) -> np.void | None:
        number = self._number()
        if not number:
            return None
        data = self._probe.window.read(self._at(number), self._abi.size("table"))
        table: np.void = np.frombuffer(data, self._dtype)[0]
        return table

    # Trees.

    def _trees(self) -> dict[str, int]:
        """The trees that rules in force speak of, and the tag of each."""
        table = self._in_force()
        return {} if table is None else self._decoder.trees(table)

    def _choose_tags(self, records: Sequence[RuleRecord], before: dict[str, int]) -> dict[str, int]:
        """A tag for each tree: the one that it has, or one that nobody carries."""
        wanted = {
            tree
            for record in records
            for tree in (record.rule.tree, record.rule.unless_tree)
            if tree is not None
        }
        kept = {tree: bit for tree, bit in before.items() if tree in wanted}
        free = [bit for bit in range(32) if bit not in kept.values()]
        new = sorted(wanted - kept.keys())
        if len(new) > len(free):
            raise UsageError(f"rules speak of {len(wanted)} process trees, and a probe knows 32")
        for tree in new:
            split_key(tree)
        return kept | dict(zip(new, free, strict=False))

    def _tag(self, trees: dict[str, int]) -> None:
        """Everybody in these trees carries their tags, and whoever they start from now on."""
        if not trees:
            return
        probe = self._probe
        probe.put("tags", 1)
        probe.switch(on=True)
        probe.mailbox.ask("FORGET", tags=sum(1 << bit for bit in trees.values()))
        for tree, bit in trees.items():
            done: set[Key] = set()
            # Children that were started before their parent had the tag are found by looking again.
            for _ in range(MOST_ROUNDS):
                new = [key for key in self._family(split_key(tree)) if key not in done]
                if not new:
                    break
                self._tag_processes(new, 1 << bit)
                done.update(new)
            else:
                raise NotSupported(f"the processes that {tree} starts are too many to keep up with")

    def _tag_processes(self, keys: Sequence[Key], tags: int) -> None:
        offset, size = self._abi.member("ledger", "batch")
        row = self._abi.dtype("tag")
        for first in range(0, len(keys), size // row.itemsize):
            some = keys[first : first + size // row.itemsize]
            batch = np.zeros(len(some), row)
            batch["pid"] = [pid for pid, _ in some]
            batch["start_ns"] = [start for _, start in some]
            batch["tags"] = tags
            self._probe.window.write(self._abi.sizes["LEDGER_AT"] + offset, batch.tobytes())
            missed = self._probe.mailbox.ask("TAG", order=len(some)).result
            if missed:
                raise NotSupported(f"the probe has no place for {missed} more processes of a tree")


def _numbered(rules: Sequence[Rule], found: Sequence[RuleRecord]) -> list[RuleRecord]:
    """Rules with numbers that none in force has."""
    taken = {record.number for record in found}
    first = max(taken, default=0) + 1
    if first + len(rules) > MAX_NUMBER:
        first = 1
    free = (number for number in count(first) if number not in taken)
    return [RuleRecord(number=number, hits=0, rule=rule) for rule, number in zip(rules, free, strict=False)]
