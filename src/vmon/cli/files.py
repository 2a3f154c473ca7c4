"""`vmon files`: the open files of a process. Reads the guest, changes nothing."""

from __future__ import annotations

import click

from vmon.cli.attached import attached, target_argument
from vmon.cli.output import View, output_option, repeat, watch_option, write_records
from vmon.core.records.process import FileRecord

HEADER = ("FD", "MODE", "TYPE", "POSITION", "SIZE", "INODE", "PATH")


@click.command()
@target_argument
@click.argument("pid", type=int)
@output_option
@watch_option
def files(target: str, pid: int, output: str, watch_s: float | None) -> None:
    """List the open files of process PID in TARGET."""
    with attached(target) as vm:
        repeat(watch_s, lambda: write_records(vm.process(pid).files(), output, VIEW))


def row(record: FileRecord) -> tuple[object, ...]:
    """One line of the table."""
    path = record.path if not record.deleted else f"{record.path} (deleted)"
    return record.fd, record.mode, record.type, record.position, record.size, record.inode, path


VIEW = View(FileRecord, HEADER, row, "no open file: a kernel thread or a zombie has none")
