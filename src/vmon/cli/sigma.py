"""`vmon sigma`: which Sigma rules of a folder can be put in force, and why the others can't. Needs no guest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click

from vmon.cli.output import View, output_option, write_records
from vmon.core.detection import Severity
from vmon.core.errors import RulesError, UsageError
from vmon.core.records.sigma import SigmaRuleRecord
from vmon.core.text import printable

if TYPE_CHECKING:
    from vmon.monitor.sigma.reading import SigmaRules

F = TypeVar("F", bound=Callable[..., Any])

TOLD = 20
"""Of so many rules that are not in force a watch tells the reason; it may be asked of a folder of thousands."""

VIEW = View(
    of=SigmaRuleRecord,
    header=("RULE", "STATE", "LEVEL", "TITLE", "REASON"),
    row=lambda record: (
        record.source,
        record.state,
        record.severity,
        record.title or None,
        record.reason or None,
    ),
    nothing="every rule is in force",
)


def level_option(function: F) -> F:
    """The option that leaves rules out by how severe they are."""
    return click.option(
        "--sigma-level",
        type=click.Choice(get_args(Severity)),
        metavar="LEVEL",
        help="Only rules of this level or a higher one: informational, low, medium, high, critical.",
    )(function)


def sigma_options(function: F) -> F:
    """--sigma and --sigma-level."""
    function = level_option(function)
    return click.option(
        "--sigma",
        metavar="DIR",
        type=click.Path(path_type=Path),
        help="Show what the Sigma rules of this folder (or file) find, instead of every event.",
    )(function)


@click.command()
@click.argument("path", metavar="DIR", type=click.Path(path_type=Path))
@level_option
@click.option("--all", "everything", is_flag=True, help="List the rules that are in force too.")
@output_option
def sigma(path: Path, sigma_level: Severity | None, everything: bool, output: str) -> None:
    """List the rules of DIR, a folder of Sigma rules or one file, that `vmon watch TARGET --sigma DIR` can't put in
    force, each with the reason. It ends with code 25 where a file is no Sigma rule.

    Judged are rules for Linux about processes that start, files, connections, loaded programs and modules. Needs the
    extra: pip install 'vmon[sigma]'.
    """
    from vmon.monitor.sigma.reading import read_sigma  # noqa: PLC0415 - help needs no pySigma

    found = read_sigma(path, sigma_level)
    records = [record for record in found.records if everything or record.state != "in force"]
    write_records(records, output, VIEW)
    click.echo(f"{printable(str(path))}: {said(found)}", err=True)
    if unreadable := found.count("unreadable"):
        raise RulesError(f"{unreadable:,} of these can't be read as Sigma rules")


def put_in_force(path: Path, level: Severity | None) -> SigmaRules:
    """The rules for a watch; how many are in force is said, and of the others why not. UsageError where none is."""
    from vmon.monitor.sigma.reading import read_sigma  # noqa: PLC0415

    found = read_sigma(path, level)
    click.echo(f"sigma: {said(found)}", err=True)
    left_out = [record for record in found.records if record.state in ("unsupported", "unreadable")]
    for record in left_out[:TOLD]:
        title = f"{printable(record.title)}: " if record.title else ""
        click.echo(f"sigma: {printable(record.source)}: {title}{printable(record.reason)}", err=True)
    if len(left_out) > TOLD:
        more = len(left_out) - TOLD
        click.echo(f"sigma: and {more:,} more: `vmon sigma {printable(str(path))}` tells why", err=True)
    if not found.rules:
        raise UsageError(f"{path}: no rule of it is in force, and nothing would be watched")
    return found


def said(found: SigmaRules) -> str:
    """How many rules there are, and what became of them."""
    counts = (
        (found.count("in force"), "in force"),
        (found.count("unsupported"), "unsupported"),
        (found.count("below level"), "below the level"),
        (found.count("unreadable"), "unreadable"),
    )
    parts = [f"{count:,} {what}" for count, what in counts if count or what in ("in force", "unsupported")]
    total = len(found.records)
    return f"{total:,} rule{'s' if total != 1 else ''}, {', '.join(parts)}"
