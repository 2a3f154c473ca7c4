"""`vmon env`: the environment of a process, as laid out at exec. Reads the guest, changes nothing."""

from __future__ import annotations

import sys

import click

from vmon.cli.attached import attached, target_argument
from vmon.cli.output import View, cell, output_option, write_records
from vmon.core.errors import NotMapped
from vmon.core.records.process import EnvRecord

HEADER = ("NAME", "VALUE")


@click.command()
@target_argument
@click.argument("pid", type=int)
@output_option
def env(target: str, pid: int, output: str) -> None:
    """Show the environment of process PID in TARGET."""
    with attached(target) as vm:
        records = vm.process(pid).environ()
        if records is None:
            raise NotMapped(
                f"the environment of process {pid} is not in memory",
                hint="its pages are swapped out or were never read in",
            )
        if output == "table" and records:
            sys.stdout.writelines(f"{cell(item.name)}={cell(item.value)}\n" for item in records)
        else:
            write_records(records, output, VIEW)


def row(record: EnvRecord) -> tuple[object, ...]:
    """One line of the table."""
    return record.name, record.value


VIEW = View(EnvRecord, HEADER, row, "no environment: a kernel thread or a zombie has none")
