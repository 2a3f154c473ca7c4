from __future__ import annotations

import pytest

from tests.unit.cli.conftest import Run
from vmon.core.errors import NoSuchProcess, NotSupported, UsageError


def test_who_is_not_there_or_protected(run: Run) -> None:
    with pytest.raises(NoSuchProcess):
        run("quarantine", "x", "99999")
    with pytest.raises(UsageError, match="init"):
        run("quarantine", "x", "1")
    with pytest.raises(NotSupported):
        run("quarantine", "x", "1", "--force")
    with pytest.raises(NoSuchProcess):
        run("release", "x", "99999")
