"""`vmon mounts`: what is mounted where in a guest, a namespace after another. Reads the guest, changes nothing."""

from __future__ import annotations

import os

import click

from vmon.cli.attached import attached, target_argument
from vmon.cli.output import View, output_option, repeat, watch_option, write_records
from vmon.core.records.filesystem import MountRecord

HEADER = (
    "NAMESPACE",
    "ID",
    "PARENT",
    "DEVICE",
    "TYPE",
    "SOURCE",
    "ROOT",
    "MOUNT POINT",
    "OPTIONS",
    "PROPAGATION",
)


@click.command()
@target_argument
@click.option("--namespace", type=int, metavar="INUM", help="Only this mount namespace.")
@click.option("--pid", type=int, help="Only the mount namespace of this process.")
@output_option
@watch_option
def mounts(target: str, namespace: int | None, pid: int | None, output: str, watch_s: float | None) -> None:
    """List the mounts of TARGET, of every mount namespace in it."""
    with attached(target) as vm:
        repeat(watch_s, lambda: write_records(vm.mounts(namespace, pid), output, VIEW))


def row(record: MountRecord) -> tuple[object, ...]:
    """One line of the table."""
    return (
        record.namespace,
        record.id,
        record.parent_id,
        f"{os.major(record.device)}:{os.minor(record.device)}",
        record.filesystem,
        record.source,
        record.root + (" (deleted)" if record.root_deleted else ""),
        record.mount_point,
        ",".join(record.options)
        + (",super-ro" if "rw" in record.options and "ro" in record.super_options else ""),
        ",".join(record.propagation) or None,
    )


VIEW = View(MountRecord, HEADER, row, "nothing is mounted")
