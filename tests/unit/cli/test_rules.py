from __future__ import annotations

import pytest

from tests.unit.cli.conftest import Run
from vmon.cli.rules import row
from vmon.core.errors import NotSupported
from vmon.core.rules import Rule, RuleRecord


def test_a_line_of_the_table() -> None:
    rule = Rule(events=("file.open",), path="/a", unless_exe="/b")
    assert row(RuleRecord(number=1, hits=5, rule=rule)) == (
        1,
        5,
        "deny EPERM",
        "file.open",
        "path=/a unless_exe=/b",
    )
    everything = RuleRecord(number=2, hits=0, rule=Rule(events=("file.open",), action="log"))
    assert row(everything)[2:] == ("log", "file.open", "anything")


def test_a_guest_that_can_t_be_written_to(run: Run) -> None:
    for command in (("rules", "x"), ("remove", "x")):
        with pytest.raises(NotSupported):
            run(*command)
