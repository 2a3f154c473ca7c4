"""Every example of --help and the manual is a command line that its command takes."""

from __future__ import annotations

import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tests.house.sources import ROOT
from vmon.cli import cli
from vmon.cli.examples import EXAMPLES, epilog

LINES = [(path, line) for path, examples in EXAMPLES.items() for line, _ in examples]


def leaves(command: click.Command, context: click.Context, path: str) -> list[str]:
    if not isinstance(command, click.Group):
        return [path]
    found = []
    for name in command.list_commands(context):
        below = command.get_command(context, name)
        assert below is not None
        found += leaves(below, context, f"{path} {name}".strip())
    return found


def test_every_command_has_examples_and_no_other() -> None:
    assert set(leaves(cli, click.Context(cli, info_name="vmon"), "")) == set(EXAMPLES), "see cli/examples.py"


def parsed(words: list[str]) -> str:
    """Let each command take its words, without running it; the path of the last."""
    context = cli.make_context("vmon", words)
    command: click.Command = cli
    path = []
    while isinstance(command, click.Group):
        name, below, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        assert name is not None
        assert below is not None
        path.append(name)
        command, context = below, below.make_context(name, rest, parent=context)
    return " ".join(path)


@pytest.mark.parametrize(("path", "line"), LINES, ids=[line for _, line in LINES])
def test_an_example_is_taken_by_its_command(path: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    line = line.removeprefix('eval "$(').removesuffix(')"').partition(" > ")[0]
    words = shlex.split(line)
    assert words[0] == "vmon"
    assert parsed(words[1:]) == path


@pytest.mark.parametrize("path", list(EXAMPLES))
def test_help_shows_them(path: str) -> None:
    shown = CliRunner().invoke(cli, [*path.split(), "--help"])
    assert shown.exit_code == 0
    assert "Examples:" in shown.output
    for line, text in EXAMPLES[path]:
        assert line in shown.output
        assert text in shown.output
    assert max(map(len, shown.output.splitlines())) <= 100


def test_examples_that_are_wide_have_their_text_below() -> None:
    assert epilog((("vmon a", "b"),)) == "\b\nExamples:\n  vmon a   b"
    assert epilog((("vmon " + "x" * 50, "b"),)).endswith("\n      b")


def test_files_that_are_named_are_there() -> None:
    named = [word for _, line in LINES for word in shlex.split(line) if word.startswith("examples/")]
    assert named
    assert all((Path(ROOT) / word).exists() for word in named)
