from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from vmon.cli import cli
from vmon.core.errors import NotSupported, UsageError
from vmon.tui.columns import NAMES


def test_no_terminal_is_said_before_anything_is_attached_to() -> None:
    done = CliRunner().invoke(cli, ["top", "nothing"])
    assert isinstance(done.exception, NotSupported)
    assert "needs a terminal" in done.exception.message
    assert "vmon ps" in done.exception.hint


@pytest.mark.parametrize("term", ["dumb", ""])
def test_a_terminal_without_a_screen(term: str, tmp_path: Path) -> None:
    master, slave = pty.openpty()
    code = "import sys; sys.argv = ['vmon', 'top', 'nothing']; from vmon.cli import main; main()"
    environment = {**os.environ, "TERM": term, "VMON_RUN_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        stdin=slave,
        stdout=slave,
        stderr=subprocess.PIPE,
        env=environment,
        check=False,
    )
    os.close(master)
    os.close(slave)
    assert done.returncode == NotSupported.exit_code
    assert done.stderr.decode() == (
        f"vmon: this terminal can't show a screen: TERM is {term or 'not set'}\n"
        "      vmon ps TARGET --watch 1 needs none\n"
    )


def test_wrong_use() -> None:
    done = CliRunner().invoke(cli, ["top", "x", "--events", "--read-only"])
    assert isinstance(done.exception, UsageError)
    shown = CliRunner().invoke(cli, ["top", "--help"]).output
    assert all(name in shown for name in NAMES)
    assert CliRunner().invoke(cli, ["top", "x", "--interval", "0"]).exit_code == 2
