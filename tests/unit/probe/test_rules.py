from __future__ import annotations

import errno

import pytest

from tests.unit.probe.native import NativeGuest, put
from vmon.core.errors import UsageError
from vmon.core.rules import Rule
from vmon.probe.records import Decoder
from vmon.probe.ring import Ring
from vmon.probe.rules import RuleTable

OPEN = ("file.open",)


def test_the_first_rule_that_fits_decides(native: NativeGuest) -> None:
    file = native.file(b"a")
    table = RuleTable(native.probe())
    put(table, Rule(events=OPEN, path="/a", action="allow"), Rule(events=OPEN, errno=13))
    assert native.hook("FILE", file) == 0
    assert native.hook("FILE", native.file(b"b")) == -13
    assert [record.hits for record in table.read()] == [1, 1]
    table.replace([])
    assert native.hook("FILE", native.file(b"b")) == 0
    assert table.read() == []


def test_observing_and_ending(native: NativeGuest) -> None:
    file = native.file(b"a")
    ring = Ring(native.abi, native.window, 64)
    probe = native.probe()
    table = RuleTable(probe)
    put(table, Rule(events=OPEN, action="kill"))
    probe.put("enforce", 0)
    assert native.hook("FILE", file) == 0
    assert native.word("native_signal") == 0
    probe.put("enforce", 1)
    assert native.hook("FILE", file) == -errno.EPERM
    assert (native.word("native_signal"), native.word("native_signal", 1)) == (9, native.task)
    events = list(Decoder(native.abi).iter_events(ring.take()))
    assert [(event.verdict, event.rule) for event in events] == [("would kill", 1), ("killed", 1)]


def test_numbers_and_hits_stay_with_their_rules(native: NativeGuest) -> None:
    table = RuleTable(native.probe())
    put(table, *[Rule(events=OPEN, path=f"/{name}") for name in "abc"])
    native.hook("FILE", native.file(b"c"))
    table.drop([1])
    assert [(record.number, record.hits) for record in table.read()] == [(2, 0), (3, 1)]
    assert [record.number for record in table.put_first([Rule(events=OPEN, path="/d")])] == [4]
    native.hook("FILE", native.file(b"c"))
    assert [(record.number, record.hits) for record in table.read()] == [(4, 0), (2, 0), (3, 2)]
    with pytest.raises(UsageError, match="no rule 1 "):
        table.drop([1])
    assert len(table.read()) == 3


def test_children_belong_to_the_tree(native: NativeGuest) -> None:
    table = RuleTable(native.probe())
    put(table, Rule(events=OPEN, tree="42@7"))
    file, parent = native.file(b"a"), native.task
    child, stranger = native.process(50, 9, b"child"), native.process(51, 9, b"stranger")
    native.hook("TASK", child)
    for task, refused in ((child, True), (stranger, False), (parent, True)):
        native.run_as(task)
        assert native.hook("FILE", file) == (-errno.EPERM if refused else 0)
    native.run_as(child)
    native.hook("EXIT", child, 1)
    assert native.hook("FILE", file) == 0, "what has ended is forgotten"
