"""`vmon journal`: verify and show a hash-chained journal of this host. Reads files of the host; asks no guest."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from vmon.cli.output import cell
from vmon.core.errors import JournalBroken, UsageError
from vmon.export.chain import read_line, verify
from vmon.sinks.places import read_key

F = TypeVar("F", bound=Callable[..., Any])
MAX_LINE_BYTES = 1 << 20


@click.group()
def journal() -> None:
    """Journals that `vmon watch --to journal:FILE` writes: each line names the hash of the one before."""


def _file_and_key(function: F) -> F:
    function = click.option(
        "--key",
        "key_file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="The key it was written with.",
    )(function)
    return click.argument("file", type=click.Path(path_type=Path))(function)


@journal.command("verify")
@_file_and_key
@click.option("--head", metavar="HASH", help="A head that was noted: nothing up to it may be missing.")
def verify_command(file: Path, key_file: Path | None, head: str | None) -> None:
    """Say whether FILE is as vmon wrote it; else name the first line that is not, and exit with 27.

    A change, a removal, an insertion or another order of lines is found. That lines were cut off at the end is found
    with --head, or told by the missing last line where vmon ended in order. Who can write FILE and knows that no key
    and no head exists can make all of it anew.
    """
    key = None if key_file is None else read_key(key_file)
    try:
        found = verify(_lines(file), key, head)
    except JournalBroken as error:
        raise JournalBroken(f"{file}: {error.message}", hint=error.hint) from error
    if not found.lines:
        raise JournalBroken(f"{file}: it is empty: a journal has a first line", hint="all of it was cut off")
    click.echo(f"{file}: {found.lines} lines follow one another, {found.records} of them records")
    click.echo(f"head {found.head}" + ("" if found.keyed else " (no key: keep this elsewhere)"))
    if found.head_at:
        click.echo(f"the head asked for is that of line {found.head_at}: all up to it is there")
    for number in found.torn:
        click.echo(f"line {number} was cut off as it was written: vmon or its host ended there", err=True)
    if not found.closed:
        click.echo(
            "its last line does not close it: vmon writes it still, was killed, or lines are missing",
            err=True,
        )


@journal.command("show")
@_file_and_key
@click.option(
    "-o", "--output", type=click.Choice(("table", "jsonl")), default="table", show_default=True, help="Form."
)
def show_command(file: Path, key_file: Path | None, output: str) -> None:
    """Show what FILE holds, a line each; lines that are not as they were written are marked."""
    key = None if key_file is None else read_key(key_file)
    bad = 0
    for number, data in enumerate(_lines(file), 1):
        line = read_line(data.rstrip(b"\n"), key)
        if line is None:
            bad += 1
            click.echo(f"line {number}: not as it was written", err=True)
        elif output == "jsonl":
            if "journal" not in line.entry:
                sys.stdout.write(msgspec.json.encode(line.entry).decode() + "\n")
        else:
            click.echo(f"{line.seq:>8}  {line.at}  {cell(_said(line.entry))}")
    if bad:
        raise JournalBroken(
            f"{file}: {bad} lines are not as they were written", hint=f"vmon journal verify {file}"
        )


def _said(entry: dict[str, Any]) -> str:
    if "journal" in entry:
        return f"journal {entry['journal']}" + (", after a line that was cut off" if "torn" in entry else "")
    if "message" in entry or "output" in entry:
        return str(entry.get("message") or entry.get("output"))
    event = entry.get("event")
    if isinstance(event, dict):
        rule = entry.get("rule", {})
        return f"{rule.get('title', '')}: {_event(event)}"
    return str(entry.get("said") or _event(entry))


def _event(event: dict[str, Any]) -> str:
    words = [event.get("event"), event.get("pid"), event.get("name"), " ".join(event.get("cmdline") or ())]
    words += [event.get("path"), event.get("address"), event.get("verdict")]
    return " ".join(str(word) for word in words if word)


def _lines(path: Path) -> Iterator[bytes]:
    """Lines with their ends; one that is longer than any that vmon writes is given in pieces."""
    try:
        with path.open("rb") as file:
            while line := file.readline(MAX_LINE_BYTES):
                yield line
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
