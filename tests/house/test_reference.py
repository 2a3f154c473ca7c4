"""The generated reference is what the program says of itself today."""

from __future__ import annotations

from docs import api
from docs.generate import CHECKS, MAN, PAGE, checks, manual, reference

from vmon.monitor.machine import VirtualMachine
from vmon.monitor.process import Process


def test_reference_is_fresh() -> None:
    assert PAGE.read_text() == reference(), "run ./dev docs"


def test_the_table_of_checks_is_fresh() -> None:
    assert CHECKS.read_text() == checks(), "run ./dev docs"


def test_the_manual_is_fresh() -> None:
    assert {path.name: path.read_text() for path in MAN.glob("*")} == manual(), "run ./dev docs"


def test_the_python_reference_is_fresh_and_whole() -> None:
    page = api.PAGE.read_text()
    assert page == api.api(), "run ./dev docs"
    for kind in (VirtualMachine, Process):
        calls = [name for name in dir(kind) if not name.startswith("_") and name != "rules_written"]
        assert not [name for name in calls if f"`{name}" not in page]
