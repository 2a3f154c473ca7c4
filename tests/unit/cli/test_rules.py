from __future__ import annotations

import pytest

from tests.unit.cli.conftest import Run
from vmon.cli.rules import fits_everything, make_rule, row
from vmon.core.errors import NotSupported, UsageError
from vmon.core.rules import Rule, RuleRecord


def test_rules_from_words() -> None:
    assert make_rule("file.open", "/a", error="eacces") == Rule(events=("file.open",), path="/a", errno=13)
    assert make_rule("file.open", "/a", prefix=True, kill=True) == Rule(
        events=("file.open",), path_prefix="/a", action="kill"
    )
    assert make_rule("process.exec", ".sh", suffix=True, uid=33).path_suffix == ".sh"
    for wrong in ({"error": "EFROB"}, {"prefix": True}, {"path": "/a", "prefix": True, "suffix": True}):
        with pytest.raises(UsageError):
            make_rule("file.open", **{"path": None, **wrong})  # type: ignore[arg-type]


def test_what_would_refuse_everything_needs_force(run: Run) -> None:
    assert fits_everything(make_rule("file.open", None))
    assert not fits_everything(make_rule("file.open", None, uid=0))
    with pytest.raises(UsageError, match="init too"):
        run("deny", "x", "file.open")


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
    for command in (("rules", "x"), ("remove", "x"), ("deny", "x", "file.open", "/a")):
        with pytest.raises(NotSupported):
            run(*command)
