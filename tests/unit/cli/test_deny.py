from __future__ import annotations

import pytest

from tests.unit.cli.conftest import Run
from vmon.cli.deny import make_rule
from vmon.core.errors import NotSupported, UsageError
from vmon.core.rules import WRITING, Rule


def test_rules_from_words() -> None:
    assert make_rule("file.open", "/a", error="eacces") == Rule(events=("file.open",), path="/a", errno=13)
    assert make_rule("file.open", "/a", prefix=True, kill=True) == Rule(
        events=("file.open",), path_prefix="/a", action="kill"
    )
    assert make_rule("file.open", "/etc/*.conf", write=True) == Rule(
        events=("file.open",), path_glob="/etc/*.conf", flags=WRITING
    )
    assert make_rule("process.exec", ".sh", suffix=True, uid=33).path_suffix == ".sh"
    for wrong in ({"error": "EFROB"}, {"prefix": True}, {"path": "/a", "prefix": True, "suffix": True}):
        with pytest.raises(UsageError):
            make_rule("file.open", **{"path": None, **wrong})  # type: ignore[arg-type]


def test_what_would_refuse_everything_needs_force(run: Run) -> None:
    with pytest.raises(UsageError, match="init too"):
        run("deny", "x", "file.open")


def test_a_guest_that_can_t_be_written_to(run: Run) -> None:
    with pytest.raises(NotSupported):
        run("deny", "x", "file.open", "/a")
