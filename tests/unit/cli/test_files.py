from __future__ import annotations

import pytest

from tests.unit.cli.conftest import Run
from vmon.core.errors import NoSuchProcess


def test_the_table(run: Run) -> None:
    lines = run("files", "x", "42").stdout.splitlines()
    assert lines[0].split() == ["FD", "MODE", "TYPE", "POSITION", "SIZE", "INODE", "PATH"]
    assert lines[1].split() == ["0", "w", "fifo", "0", "0", "4242", "pipe:[4242]"]
    assert lines[3].endswith(
        "/mnt/data/dir/a name that is longer than what fits into a dentry itself, é\\xff"
    )


def test_a_pid_that_is_not_there_or_no_number(run: Run) -> None:
    with pytest.raises(NoSuchProcess):
        run("files", "x", "4711")
    assert run("files", "x", "abc").exit_code == 2
