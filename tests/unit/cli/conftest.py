from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.unit.linux.scene import Scene
from tests.unit.monitor.connection import FakeConnection
from vmon.cli import attached, cli
from vmon.monitor.machine import VirtualMachine

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `vmon ARGUMENTS`; every target is the fake guest. An error that is not for the user is raised."""
    monkeypatch.setenv("VMON_CACHE_DIR", str(tmp_path))
    connection = FakeConnection(Scene("new").guest)
    monkeypatch.setattr(attached, "attach", lambda target: VirtualMachine(f"lab:{target}", connection))

    def runner(*arguments: str) -> Result:
        return CliRunner().invoke(cli, list(arguments), catch_exceptions=False)

    return runner
