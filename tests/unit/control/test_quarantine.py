from __future__ import annotations

import errno
import os

from tests.unit.probe.native import NativeGuest, put
from vmon.control.quarantine import holds, rules_for
from vmon.core.rules import Rule
from vmon.probe.hooks import EVENTS
from vmon.probe.rules import RuleTable


def test_it_may_read_and_compute_and_start_what_is_like_it(native: NativeGuest) -> None:
    put(RuleTable(native.probe()), *rules_for("42@7"))
    reading, writing = native.file(b"a"), native.file(b"a", flags=os.O_WRONLY)
    child = native.process(50, 9, b"child")
    native.hook("TASK", child)
    for task in (native.task, child):
        native.run_as(task)
        assert native.hook("FILE", reading) == 0
        assert native.hook("FILE", writing) == -errno.EPERM
        assert native.hook("BPRM", native.new(bprm_file=reading)) == -errno.EPERM
    native.run_as(native.process(51, 9, b"other"))
    assert native.hook("FILE", writing) == 0


def test_its_rules_are_known_again(native: NativeGuest) -> None:
    table = RuleTable(native.probe())
    put(table, *rules_for("42@7"), Rule(events=("process.exec",), tree="42@7"))
    assert [holds(record.rule, "42@7") for record in table.read()] == [True, True, False]
    assert not holds(table.read()[0].rule, "42@8")


def test_every_event_that_changes_something_is_forbidden() -> None:
    forbidden = {event for rule in rules_for("1@1") for event in rule.events}
    harmless = {"process.fork", "process.exit", "process.signal", "file.mmap_exec"}
    assert {event.name for event in EVENTS} - forbidden == harmless
