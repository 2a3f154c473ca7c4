from __future__ import annotations

import json

import pytest

from tests.unit.cli.conftest import Run
from tests.unit.linux.scene import Scene
from tests.unit.monitor.connection import FakeConnection
from vmon.cli import attached
from vmon.core.errors import NotMapped
from vmon.monitor.machine import VirtualMachine


def test_names_and_values(run: Run) -> None:
    assert run("env", "x", "1").stdout.splitlines() == ["HOME=/", "TERM=linux", "EMPTY=", "=odd"]
    assert json.loads(run("env", "x", "42", "-o", "json").stdout)["records"] == [
        {"pid": 42, "name": "A", "value": "1"}
    ]


def test_pages_that_are_not_in_memory_are_an_error_and_not_an_empty_list(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Scene("new")
    made.guest.set(made.worker_mm, "mm_struct", {"pgd": 0})
    connection = FakeConnection(made.guest)
    monkeypatch.setattr(attached, "attach", lambda target: VirtualMachine(target, connection))
    with pytest.raises(NotMapped) as caught:
        run("env", "x", "42")
    assert caught.value.hint
