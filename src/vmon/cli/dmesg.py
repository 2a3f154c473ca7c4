"""`vmon dmesg`: what a guest's kernel said. Reads the guest, changes nothing."""

from __future__ import annotations

import time

import click

from vmon.cli.attached import attached, target_argument
from vmon.cli.output import View, output_option, write_records
from vmon.core.coverage import Answer, said
from vmon.core.records.log import LogRecord
from vmon.core.text import printable
from vmon.linux.printk import LEVELS

FOLLOW_S = 0.2
DMESG = View(
    LogRecord,
    ("TIME", "FACILITY", "LEVEL", "CALLER", "TEXT"),
    lambda record: (f"{record.time:.6f}", record.facility, record.level, record.caller, record.text),
    "nothing is in the log",
)


@click.command("dmesg")
@target_argument
@output_option
@click.option(
    "--level",
    type=click.Choice(LEVELS),
    default="debug",
    show_default=True,
    help="Only what is as grave as this, or graver.",
)
@click.option("-w", "--follow", is_flag=True, help="Go on and show what is said, until interrupted.")
def dmesg(target: str, output: str, level: str, follow: bool) -> None:
    """Show the log of the kernel of TARGET, as dmesg does in it.

    With --follow the guest is asked five times a second; what came and was overwritten between is told.
    """
    grave = set(LEVELS[: LEVELS.index(level) + 1])
    with attached(target) as vm:
        answer = vm.dmesg()
        _write(answer, output, grave)
        last = answer[-1].sequence if answer else -1
        while follow:
            time.sleep(FOLLOW_S)
            more = vm.dmesg(after=last)
            if more and more[0].sequence > last + 1:
                lost = more[0].sequence - last - 1
                click.echo(f"not seen: {lost:,} records, overwritten before they were read", err=True)
            _write(more, "jsonl" if output == "json" else output, grave, go_on=True)
            last = more[-1].sequence if more else last


def _write(answer: Answer[LogRecord], output: str, grave: set[str], go_on: bool = False) -> None:
    records = Answer((record for record in answer if record.level in grave), answer.coverage)
    if output != "table":
        if records or not go_on:
            write_records(records, output, DMESG)
        return
    for record in records:
        for line in record.text.split("\n"):
            click.echo(f"{record.facility:6}:{record.level:6}: [{_microseconds(record)}] {printable(line)}")
    if answer.coverage and not go_on:
        click.echo("not seen: " + "; ".join(printable(said(gap)) for gap in answer.coverage), err=True)


def _microseconds(record: LogRecord) -> str:
    """Cut, as dmesg does, not rounded."""
    seconds, rest = divmod(round(record.time * 1e9) // 1000, 10**6)
    return f"{seconds:5}.{rest:06}"
