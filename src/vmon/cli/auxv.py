"""`vmon auxv`: what the kernel told a program at its start. Reads the guest, changes nothing."""

from __future__ import annotations

import click

from vmon.cli.attached import attached, target_argument
from vmon.cli.output import View, output_option, write_records
from vmon.core.records.memory import AuxRecord

DECIMAL = frozenset(
    {"AT_PHENT", "AT_PHNUM", "AT_PAGESZ", "AT_UID", "AT_EUID", "AT_GID", "AT_EGID", "AT_CLKTCK", "AT_SECURE",
     "AT_MINSIGSTKSZ", "AT_RSEQ_FEATURE_SIZE", "AT_RSEQ_ALIGN"}
)  # fmt: skip


@click.command()
@target_argument
@click.argument("pid", type=int)
@output_option
def auxv(target: str, pid: int, output: str) -> None:
    """Show the auxiliary vector of process PID in TARGET, as LD_SHOW_AUXV does."""
    with attached(target) as vm:
        write_records(vm.auxv(pid), output, VIEW)


def row(record: AuxRecord) -> tuple[object, ...]:
    """One line of the table."""
    value = str(record.value) if record.name in DECIMAL else f"{record.value:#x}"
    return record.name, value, record.text


VIEW = View(AuxRecord, ("NAME", "VALUE", "TEXT"), row, "no auxiliary vector: it is empty")
