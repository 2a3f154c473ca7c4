"""Every command's answer goes out through here: a table for people, json, jsonl or csv for programs.

Writes to standard output only. Text of the guest is escaped in tables, and in csv on a terminal; json keeps it, with
bytes that are not UTF-8 written as \\xNN.
"""

from __future__ import annotations

import csv
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import click
import msgspec

from vmon.core.coverage import Answer, GapRecord, said
from vmon.core.text import printable, storable, width
from vmon.export.document import indented, json_bytes

FORMATS = ("table", "json", "jsonl", "csv")
Row = Sequence[object]
R = TypeVar("R", bound=msgspec.Struct)
F = TypeVar("F", bound=Callable[..., object])


def output_option(function: F) -> F:
    """The -o option of every command."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(FORMATS),
        default="table",
        show_default=True,
        help="Form of the answer.",
    )(function)


def watch_option(function: F) -> F:
    """The --watch option of list commands."""
    return click.option(
        "--watch",
        "watch_s",
        type=click.FloatRange(min=0.05),
        metavar="SECONDS",
        help="Repeat every SECONDS until interrupted.",
    )(function)


def repeat(watch_s: float | None, once: Callable[[], None]) -> None:
    """Run once, or again and again; on a terminal each answer replaces the one before."""
    while True:
        if watch_s is not None and sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
            click.clear()
        once()
        if watch_s is None:
            return
        sys.stdout.flush()
        time.sleep(watch_s)


@dataclass(frozen=True, slots=True)
class View(Generic[R]):
    """How a list of records is written: which columns a table shows, and what is said when there are none."""

    of: type[R]
    header: Sequence[str]
    row: Callable[[R], Row]
    nothing: str
    """A sentence for a table that would be empty: absence is said."""


def write_records(records: Sequence[R], output: str, view: View[R]) -> None:
    """Records as a table with chosen columns, or whole in the other forms; what they lack is said with them.

    json is one object of records and coverage. In the other forms a last line on standard error says it.
    """
    coverage = records.coverage if isinstance(records, Answer) else []
    if output == "table":
        write_table(view.header, [view.row(record) for record in records])
        if not records:
            click.echo(view.nothing, err=True)
    elif output == "json":
        whole = {"coverage": coverage, "records": list(records)}
        sys.stdout.write(_json(whole, indent=2) + "\n")
    elif output == "jsonl":
        sys.stdout.writelines(_json(record) + "\n" for record in records)
    else:
        writer = csv.writer(sys.stdout)
        fields = view.of.__struct_fields__
        writer.writerow(fields)
        for record in records:
            writer.writerow([_cell_of_csv(getattr(record, name)) for name in fields])
    if output != "json":
        write_coverage(coverage)


def write_coverage(coverage: Sequence[GapRecord]) -> None:
    """One line on standard error that says what is missing, when something is."""
    if coverage:
        click.echo("not seen: " + "; ".join(printable(said(gap)) for gap in coverage), err=True)


def write_object(record: msgspec.Struct, output: str) -> None:
    """One object as json or jsonl."""
    sys.stdout.write(_json(record, indent=2 if output == "json" else 0) + "\n")


def _json(value: object, indent: int = 0) -> str:
    return indented(value, indent) if indent else json_bytes(value).decode()


def _cell_of_csv(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, list):
        return _json(value)
    if not isinstance(value, str):
        return value
    return printable(value) if sys.stdout.isatty() else storable(value)


def write_table(header: Sequence[str], rows: Sequence[Row]) -> None:
    """Columns as wide as needed, numbers to the right; on a terminal lines are cut at its edge."""
    cells = [[cell(value) for value in row] for row in rows]
    columns = list(zip(*rows, strict=True)) or [()] * len(header)
    right = [
        bool(column) and all(value is None or isinstance(value, int) for value in column)
        for column in columns
    ]
    widths = [max(map(width, texts)) for texts in zip(header, *cells, strict=True)]
    limit = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    head = _line(header, widths, right, limit)
    lines = [click.style(head, bold=True) if limit and decorated() else head]
    lines.extend(_line(row, widths, right, limit) for row in cells)
    sys.stdout.write("\n".join(lines) + "\n")


def decorated() -> bool:
    """Whether text on this terminal may be bold or coloured (no-color.org)."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def cell(value: object) -> str:
    """A value as a table shows it; what is not known is a dash."""
    if value is None:
        return "-"
    if value is True or value is False:
        return "yes" if value else "no"
    return printable(str(value))


def _line(row: Sequence[str], widths: Sequence[int], right: Sequence[bool], limit: int) -> str:
    parts = []
    for text, room, to_right in zip(row, widths, right, strict=True):
        gap = " " * (room - width(text))
        parts.append(gap + text if to_right else text + gap)
    line = "  ".join(parts).rstrip()
    if not limit or width(line) <= limit:
        return line
    while width(line) > limit - 1:
        line = line[: -max(1, (width(line) - limit + 1) // 2)]
    return line + "…"


def human_size(size_bytes: int | None) -> str | None:
    """Bytes for people: 512 B, 3.4 MiB."""
    if size_bytes is None:
        return None
    value = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return None
