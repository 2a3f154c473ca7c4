"""`vmon strings`: the texts in the memory of a process. Reads the guest, changes nothing."""

from __future__ import annotations

import click

from vmon.cli.attached import attached, target_argument
from vmon.cli.output import View, output_option, write_records
from vmon.core.records.memory import StringRecord


@click.command()
@target_argument
@click.argument("pid", type=int)
@click.option(
    "-n", "--bytes", "least", type=int, default=4, show_default=True, help="Shortest text, in characters."
)
@click.option("--ascii", "ascii_only", is_flag=True, help="Not those of UTF-16.")
@output_option
def strings(target: str, pid: int, least: int, ascii_only: bool, output: str) -> None:
    """Print the texts in the memory of process PID in TARGET, ASCII and UTF-16."""
    with attached(target) as vm:
        write_records(vm.strings(pid, least, wide=not ascii_only), output, VIEW)


def row(record: StringRecord) -> tuple[object, ...]:
    """One line of the table."""
    kind = "16" if record.encoding == "utf-16-le" else ""
    return f"{record.address:012x}", kind, record.area, record.text


VIEW = View(StringRecord, ("ADDRESS", "", "AREA", "TEXT"), row, "no text of that length")
