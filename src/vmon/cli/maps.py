"""`vmon maps`: the address space of a process. Reads the guest, changes nothing."""

from __future__ import annotations

import click

from vmon.cli.attached import attached, target_argument
from vmon.cli.output import View, human_size, output_option, repeat, watch_option, write_records
from vmon.core.records.content import HashedMapRecord
from vmon.core.records.process import MapRecord

HEADER = ("START", "END", "PERM", "SIZE", "OFFSET", "INODE", "PATH")


@click.command()
@target_argument
@click.argument("pid", type=int)
@click.option("--hash", "hashed", is_flag=True, help="Add the sha256 of each file, as it is in memory.")
@output_option
@watch_option
def maps(target: str, pid: int, hashed: bool, output: str, watch_s: float | None) -> None:
    """List the memory areas of process PID in TARGET."""
    with attached(target) as vm:
        if hashed:
            repeat(watch_s, lambda: write_records(vm.hashed_maps(pid), output, HASHED))
        else:
            repeat(watch_s, lambda: write_records(vm.process(pid).maps(), output, VIEW))


def row(record: MapRecord) -> tuple[object, ...]:
    """One line of the table."""
    path = record.path if not record.deleted else f"{record.path} (deleted)"
    return (
        f"{record.start:012x}",
        f"{record.end:012x}",
        record.permissions,
        human_size(record.end - record.start),
        f"{record.offset:x}",
        record.inode,
        path,
    )


VIEW = View(MapRecord, HEADER, row, "no memory area: a kernel thread or a zombie has none")
HASHED = View(
    HashedMapRecord,
    (*HEADER[:-1], "SHA256", HEADER[-1]),
    lambda record: (*row(record)[:-1], record.sha256, row(record)[-1]),
    VIEW.nothing,
)
