"""`vmon guests`: the QEMU guests of this host. Attaches to none."""

from __future__ import annotations

import click

from vmon.cli.output import View, human_size, output_option, repeat, watch_option, write_records
from vmon.core.records.guest import HostGuestRecord
from vmon.monitor.guests import find_guests

HEADER = ("TARGET", "PID", "NAME", "ACCEL", "RAM", "READ BY", "QMP", "PROBLEM")


@click.command()
@output_option
@watch_option
def guests(output: str, watch_s: float | None) -> None:
    """List the QEMU guests of this host and what can be done to each."""
    repeat(watch_s, lambda: write_records(find_guests(), output, VIEW))


def row(record: HostGuestRecord) -> tuple[object, ...]:
    """One line of the table."""
    states = [text.rsplit("(", 1)[1][:-1] for text in record.qmp]
    qmp = f"{states.count('free')} of {len(states)} free" if states else "none"
    return (
        record.target,
        record.pid,
        record.name,
        record.accel or None,
        human_size(record.ram_size),
        record.ram_access or None,
        qmp,
        record.problem,
    )


VIEW = View(
    HostGuestRecord,
    HEADER,
    row,
    "no QEMU guest runs on this host, or this user may not see it; `vmon lab up NAME` boots one",
)
