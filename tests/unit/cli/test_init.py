from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from vmon.cli import COMMANDS, cli, main
from vmon.cli import __name__ as package
from vmon.cli.groups import GROUPS, REST, grouped
from vmon.core import errors


def test_help_lists_every_command_with_its_text_and_imports_none() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from vmon.cli import cli;"
        "out = CliRunner().invoke(cli, ['--help']).output;"
        "print(out);"
        "mine = [m for m in sys.modules if m.startswith('vmon.cli.') and m != 'vmon.cli.groups'];"
        "print(mine + [m for m in sys.modules if m in ('numpy', 'rich', 'qemu')])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for name, (_, _, text) in COMMANDS.items():
        assert any(line.split()[:1] == [name] for line in out.splitlines()), name
        assert text.split()[0] in out
    assert out.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", list(COMMANDS))
def test_the_text_of_a_command_is_that_of_its_own_help(name: str) -> None:
    module, attribute, text = COMMANDS[name]
    command = getattr(importlib.import_module(module), attribute)
    assert isinstance(command, click.Command)
    assert command.name == name
    assert text.endswith(".")
    shown = CliRunner().invoke(cli, [name, "--help"])
    assert shown.exit_code == 0
    assert module.startswith(package)


def outcome(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[object, str, str]:
    monkeypatch.setattr(sys, "argv", ["vmon", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    shown = capsys.readouterr()
    return caught.value.code, shown.out, shown.err


KINDS = [
    kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.VmonError)
]


WITH_A_MESSAGE_OF_THEIR_OWN: dict[type, tuple[Any, ...]] = {
    errors.PhysReadError: (0x1000, 8),
    errors.CodeDiffers: (0x1000, b"a", b"b"),
    errors.PolicyError: (["p.yaml:1: so", "p.yaml:2: so"],),
}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_error_is_a_sentence_a_hint_and_its_exit_code(
    kind: type[errors.VmonError], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    of_values = WITH_A_MESSAGE_OF_THEIR_OWN.get(kind)
    error = kind(*of_values) if of_values else kind("it is \x1b[31mso", hint="do\nthat")

    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(cli, "main", fail)
    code, out, err = outcome([], monkeypatch, capsys)
    assert (code, out) == (kind.exit_code, "")
    if not of_values:
        assert err == "vmon: it is \\x1b[31mso\n      do\\nthat\n"
    assert code not in (0, None)


def test_what_a_console_said_is_shown_line_by_line_and_escaped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = errors.LabError("it ended", hint="look", log=["panic: \x1b[2J", "vmon: a\nforged line"])

    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(cli, "main", fail)
    assert outcome([], monkeypatch, capsys) == (
        30, "", "vmon: it ended\n    | panic: \\x1b[2J\n    | vmon: a\\nforged line\n      look\n",
    )  # fmt: skip
    assert str(error).startswith("it ended\n  | panic")


def test_wrong_use(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["nothing"], ["ps"], ["ps", "x", "--nothing"]):
        code, out, err = outcome(arguments, monkeypatch, capsys)
        assert (code, out) == (2, "")
        assert "Usage:" in err
    code, _, err = outcome(["ps", "no target"], monkeypatch, capsys)
    assert code == 2
    assert "is not a target" in err
    assert "qmp:SOCKET-PATH" in err


def test_help_version_and_interruption(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = outcome(["--version"], monkeypatch, capsys)
    assert code == 0
    assert out.startswith("vmon ")
    assert outcome(["ps", "--help"], monkeypatch, capsys)[0] == 0

    def interrupted(**_: object) -> None:
        raise click.exceptions.Abort

    monkeypatch.setattr(cli, "main", interrupted)
    assert outcome([], monkeypatch, capsys)[0] == 130


def test_a_reader_that_has_enough_is_no_error(tmp_path: Path) -> None:
    """vmon ... | head: the pipe is closed before anything is written."""
    code = "import sys; sys.argv = ['vmon', '--help']; from vmon.cli import main; main()"
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert done.stderr == b""
    assert done.returncode in (0, 1)


def test_a_dump_that_is_not_there_as_a_whole_command(tmp_path: Path) -> None:
    environment = {**os.environ, "VMON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", "from vmon.cli import main; main()", "info", f"dump:{tmp_path}/none"],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == errors.TargetNotFound.exit_code
    assert done.stdout == ""
    assert done.stderr.startswith("vmon: ")
    assert "Traceback" not in done.stderr


def test_every_command_stands_under_one_heading() -> None:
    placed = [name for members in GROUPS.values() for name in members]
    assert sorted(placed) == sorted(COMMANDS), "put it into vmon.cli.groups"
    assert list(grouped(["ps", "new"]).items()) == [("Processes", ["ps"]), (REST, ["new"])]
    shown = CliRunner().invoke(cli, ["--help"]).output
    assert [line[:-1] for line in shown.splitlines() if line.endswith(":") and line[0] != " "][1:] == list(
        GROUPS
    )
