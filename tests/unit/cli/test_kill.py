from __future__ import annotations

import pytest

from tests.unit.cli.conftest import Run
from vmon.cli.kill import _number, sentence
from vmon.core.errors import NoSuchProcess, NotSupported, UsageError
from vmon.core.records.probe import ActRecord


def test_signals_by_name_and_number() -> None:
    assert [_number(name) for name in ("KILL", "term", "SIGHUP", "12")] == [9, 15, 1, 12]
    for wrong in ("FOO", "0", "99", "-9", ""):
        with pytest.raises(UsageError):
            _number(wrong)


def test_a_sentence_never_carries_control_characters() -> None:
    act = ActRecord(key="7@1", pid=7, name="a\x1b", signal=9, done=True, outcome="sent", took_ms=1.25)
    assert sentence(act) == "a\\x1b (7): signal 9 sent, 1.2 ms"


def test_no_such_process_and_no_way_to_write(run: Run) -> None:
    with pytest.raises(NoSuchProcess):
        run("kill", "x", "4000")
    for command in ("kill", "suspend", "resume"):
        with pytest.raises(NotSupported):
            run(command, "x", "42")
