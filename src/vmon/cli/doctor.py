"""`vmon doctor`: what vmon could do to a guest and what keeps it from that. Reads the guest, changes nothing."""

from __future__ import annotations

import sys

import click

from vmon.cli.attached import attached, target_argument
from vmon.cli.output import cell, human_size, write_object, write_table
from vmon.core.address import PAGE_SIZE_BYTES
from vmon.core.records.probe import DoctorRecord, HookRecord

HEADER = ("EVENT", "HOW", "SITES", "CAN", "CALLERS", "FUNCTIONS")


@click.command()
@target_argument
@click.option("-o", "--output", type=click.Choice(("table", "json")), default="table", show_default=True)
def doctor(target: str, output: str) -> None:
    """Say what vmon could do to TARGET: see and refuse which events, by a probe that would live where.

    Only reads: the guest is not changed, and no probe is installed.
    """
    with attached(target) as vm:
        found = vm.doctor()
    if output == "json":
        write_object(found, output)
        return
    sys.stdout.writelines(line + "\n" for line in describe(found))
    write_table(HEADER, [row(hook) for hook in (*found.events, *found.ticks)])
    sys.stdout.writelines(line + "\n" for line in remarks(found))


def describe(found: DoctorRecord) -> list[str]:
    """What stands above the table of events."""
    usable = [run for run in found.page_runs if not run.why]
    size = human_size(found.pages * PAGE_SIZE_BYTES)
    entry = "not found" if found.slot_entry_gpa is None else f"entry at {found.slot_entry_gpa:#x}"
    lines = [
        f"guest    Linux {cell(found.release)}, {cell(found.hypervisor)}",
        f"build    {found.build_id}: identified",
        "abilities",
        *(f"  {'yes' if it.available else 'no '} {it.name:<10} {cell(it.detail)}" for it in found.abilities),
        "place for a probe",
        f"  memory   {found.pages} pages ({size}): "
        + (", ".join(f"{run.pages} at {run.gpa:#x}" for run in usable) or "none"),
        f"  address  {found.slot_address:#x}, page-table {entry}",
        "in the way",
        *(f"  {cell(text)}" for text in found.obstacles or ["nothing"]),
    ]
    return [*lines, ""]


def row(hook: HookRecord) -> tuple[object, ...]:
    """One line of the table."""
    can = None if hook.why else "deny" if hook.deny else "observe"
    return (
        hook.event,
        hook.how,
        hook.sites or None,
        can,
        hook.context or None,
        ", ".join(hook.functions) or None,
    )


def remarks(found: DoctorRecord) -> list[str]:
    """What stands below: reasons, notes, and that nothing happened."""
    lines = [""]
    for hook in (*found.events, *found.ticks):
        texts = [hook.why, *hook.notes] if hook.why else hook.notes
        lines.extend(f"{hook.event}: {cell(text)}" for text in texts)
    lines.extend(cell(text) for text in found.notes)
    lines.append("nothing of the guest was changed")
    return lines
