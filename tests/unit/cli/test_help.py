from __future__ import annotations

from click.testing import CliRunner

from vmon.cli import cli
from vmon.cli.help import exit_codes
from vmon.core import errors


def test_exit_codes_are_those_of_the_errors() -> None:
    codes = dict(exit_codes())
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.VmonError)
    ]
    assert set(codes) == {0, 1, 2, 130, *(kind.exit_code for kind in kinds)}
    assert codes[20] == "The guest's memory does not make sense where we read it."
    shown = CliRunner().invoke(cli, ["help", "exit-codes"]).output
    assert [int(line.split()[0]) for line in shown.splitlines()] == sorted(codes)
    assert "vmon help exit-codes" in CliRunner().invoke(cli, ["--help"]).output


def test_help_of_a_command_is_its_help() -> None:
    for words in (["ps"], ["lab", "up"], ["lab", "host", "run"]):
        assert (
            CliRunner().invoke(cli, ["help", *words]).output
            == CliRunner().invoke(cli, [*words, "--help"]).output
        )
    assert CliRunner().invoke(cli, ["help"]).output.startswith("Usage: ")


def test_help_of_nothing() -> None:
    done = CliRunner().invoke(cli, ["help", "lab", "nothing"])
    assert isinstance(done.exception, errors.UsageError)
    assert done.exception.hint
