from __future__ import annotations

import subprocess
import sys

import pytest

from tests.unit.tui.fake import FakeSource
from vmon.core.errors import NotSupported
from vmon.tui import show
from vmon.tui.arrange import View


def test_textual_that_is_not_there_is_said_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "vmon.tui.app", raising=False)
    monkeypatch.setitem(sys.modules, "textual.app", None)
    monkeypatch.setitem(sys.modules, "vmon.tui.app", None)
    error = ModuleNotFoundError("No module named 'textual'", name="textual")

    def find(*_: object) -> None:
        raise error

    monkeypatch.delitem(sys.modules, "vmon.tui.app")
    monkeypatch.setattr("importlib._bootstrap._find_and_load_unlocked", find)
    with pytest.raises(NotSupported, match="textual") as caught:
        show(FakeSource(), View(), interval_s=1, read_only=True, events=False, say=lambda _: "")
    assert caught.value.hint == "pip install 'vmon[tui]'"


def test_the_door_costs_nothing_until_it_is_opened() -> None:
    code = "import sys, vmon.tui.arrange, vmon.cli.top; print([m for m in sys.modules if m in ('textual', 'rich')])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "[]\n"
    )
