from __future__ import annotations

import pytest

from tests.unit.cli.conftest import Run
from vmon.core.errors import NoSuchProcess, NotSupported, UsageError


def test_a_guest_that_can_t_be_written_to(run: Run) -> None:
    with pytest.raises(NotSupported):
        run("watch", "x")


def test_a_tree_does_not_outlive_a_reboot(run: Run) -> None:
    with pytest.raises(UsageError):
        run("watch", "x", "--tree", "1", "--persist")


def test_a_tree_that_is_not_there(run: Run) -> None:
    with pytest.raises(NoSuchProcess):
        run("watch", "x", "--tree", "99999")


def test_rules_say_themselves_which_events(run: Run) -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        run("watch", "x", "--sigma", "rules", "--on", "file.open")
    with pytest.raises(UsageError, match="about the rules of --sigma"):
        run("watch", "x", "--sigma-level", "high")
    with pytest.raises(UsageError, match="no such file or folder"):
        run("watch", "x", "--sigma", "/nowhere/at/all")
