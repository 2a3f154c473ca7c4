"""`vmon scan`: YARA rules over the memory of a guest. Reads the guest, changes nothing."""

from __future__ import annotations

from pathlib import Path

import click

from vmon.cli.attached import attached, target_argument
from vmon.cli.output import View, output_option, write_records
from vmon.core.records.memory import ScanRecord
from vmon.monitor.views.memory import PARTS, Part


@click.command()
@target_argument
@click.argument("rules", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--pid", "pids", type=int, multiple=True, help="This process alone; may be given several times."
)
@click.option(
    "--in",
    "parts",
    type=click.Choice(PARTS),
    multiple=True,
    default=PARTS[:1],
    show_default=True,
    help="What is searched; may be given several times.",
)
@output_option
def scan(
    target: str, rules: tuple[Path, ...], pids: tuple[int, ...], parts: tuple[Part, ...], output: str
) -> None:
    """Search the memory of TARGET by files of YARA RULES.

    A rule is applied to each piece of memory that hangs together (the parts of a mapped file as one). Needs the
    extra: pip install 'vmon[yara]'.
    """
    with attached(target) as vm:
        write_records(vm.scan(rules, pids=pids, parts=parts), output, VIEW)


def row(record: ScanRecord) -> tuple[object, ...]:
    """One line of the table."""
    return (
        record.rule,
        record.technique,
        record.pid,
        record.process,
        f"{record.address:012x}",
        record.area or None,
        record.permissions or None,
        record.pattern or None,
        record.data,
    )


VIEW = View(
    ScanRecord,
    ("RULE", "TECHNIQUE", "PID", "PROCESS", "ADDRESS", "AREA", "PERM", "PATTERN", "DATA"),
    row,
    "no rule matches",
)
