from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from vmon.cli import COMMANDS, cli
from vmon.cli.man import escape, pages

ROOT = click.Context(cli, info_name="vmon")


def test_there_is_a_page_for_each_command() -> None:
    found = pages(ROOT)
    assert {"vmon.1", "vmon-lab-host-up.1"} | {f"vmon-{name}.1" for name in COMMANDS} <= set(found)
    assert ".SS Watch and control" in found["vmon.1"]
    assert ".SH EXIT STATUS" in found["vmon.1"]
    assert "vmon deny web1 file.open /etc/shadow" in found["vmon-deny.1"].replace("\\", "")


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="mandoc is not installed")
def test_mandoc_finds_nothing(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["man", "-o", str(tmp_path / "man1")])
    assert done.exit_code == 0
    files = sorted((tmp_path / "man1").iterdir())
    assert done.output == f"{len(files)} pages in {tmp_path / 'man1'}\n"
    lint = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", *files], capture_output=True, text=True, check=False
    )
    # Pages without a date are the same whenever they are written.
    assert [line for line in lint.stdout.splitlines() if "missing date" not in line] == []


def test_texts_are_no_commands_of_roff() -> None:
    assert escape(".so /etc/passwd") == "\\&.so /etc/passwd"
    assert escape("'br a-b \\fB") == "\\(aqbr a\\-b \\efB"
    assert escape("see `vmon ps`") == "see \\fIvmon ps\\fR"


def test_a_folder_that_can_not_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = CliRunner().invoke(cli, ["man", "-o", str(tmp_path / "file" / "below")])
    assert "file" in str(done.exception)
