"""`vmon check`: where a guest's views of itself disagree. Reads the guest, changes nothing."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from vmon.check.run import SEVERITIES, SUBJECTS
from vmon.cli.attached import attached, target_argument
from vmon.cli.output import View, cell, output_option, write_records
from vmon.core.coverage import Answer
from vmon.core.errors import FindingsReported
from vmon.core.records.finding import FindingRecord

VIEW = View(
    FindingRecord,
    ("SEVERITY", "CHECK", "ATT&CK", "WHAT"),
    lambda record: (record.severity, record.check, " ".join(record.attack), record.said),
    "nothing differs",
)


@click.command()
@target_argument
@click.option("--only", multiple=True, type=click.Choice(SUBJECTS), help="Check this alone; can be repeated.")
@click.option(
    "--expect",
    multiple=True,
    metavar="KIND=NAME",
    help="What should be so: process=NAME runs, seccomp=NAME has a filter, lsm=NAME is active.",
)
@click.option(
    "--least",
    type=click.Choice(SEVERITIES),
    default="info",
    show_default=True,
    help="Leave out what is less.",
)
@click.option(
    "--image",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The vmlinuz or vmlinux of the guest's kernel: its code is compared with it.",
)
@click.option("--brief", is_flag=True, help="A line each, without the evidence.")
@output_option
def check(
    target: str,
    only: tuple[str, ...],
    expect: tuple[str, ...],
    least: str,
    image: Path | None,
    brief: bool,
    output: str,
) -> None:
    """Compare views of TARGET that should agree, and say where they don't.

    Its code is compared with the first check of this boot. Ends with 40 where something was found.
    """
    with attached(target) as vm:
        answer = vm.check(*only, expect=expect, image=image)
    kept = [record for record in answer if SEVERITIES.index(record.severity) >= SEVERITIES.index(least)]
    found = Answer(kept, answer.coverage)
    write_records(found, output, VIEW)
    if output == "table" and not brief:
        for record in found:
            _explain(record)
    if found:
        counts = Counter(record.severity for record in found)
        told = ", ".join(
            f"{counts[severity]} {severity}" for severity in reversed(SEVERITIES) if counts[severity]
        )
        raise FindingsReported(f"{len(found)} findings: {told}")


def _explain(record: FindingRecord) -> None:
    click.echo(f"\n{cell(record.said)}")
    for line in record.evidence:
        click.echo(f"    {cell(line)}")
    click.echo(f"    could also be: {cell(record.could_be)}")
