"""`vmon policy`: what a policy means before it is put in force, the ready sets, the schema. Touches no guest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vmon.cli.output import View, cell, output_option, write_records, write_table
from vmon.core.records.policy import PlacedRecord

if TYPE_CHECKING:
    from vmon.policy.plan import Plan

HEADER = ("LINE", "DO", "RUNS", "ON", "TITLE", "WHY NOT IN THE GUEST")


@click.group()
def policy() -> None:
    """Check policies for `vmon guard`; show the ready ones, and what a policy can say."""


@policy.command()
@click.argument("policy", metavar="POLICY")
@click.option("--enforce/--observe", "enforce", default=None, help="As if it were; else the policy's mode.")
@click.option("--force", is_flag=True, help="Also rules that a guest would not survive.")
@output_option
def check(policy: str, enforce: bool | None, force: bool, output: str) -> None:
    """Say whether POLICY, a file or a ready set, makes sense, and where each of its rules runs.

    In the guest: its probe decides before the act, for some hundred nanoseconds, and goes on when vmon is gone. Asked:
    the call waits for the host, some 22 us. After: the host is told, and acts a moment later. Ends with 2 where
    something is wrong, and tells all of it.
    """
    from vmon.cli.guarding import read_file_or_set  # noqa: PLC0415 - help needs no probe
    from vmon.monitor.policies import check_policy  # noqa: PLC0415
    from vmon.policy.file import observing  # noqa: PLC0415
    from vmon.policy.plan import plan_of  # noqa: PLC0415

    found = read_file_or_set(policy)
    check_policy(found, force=force)
    plan = plan_of(observing(found) if enforce is False else found, "enforce" if enforce else None)
    write_records(_placed(plan), output, VIEW)
    for note in plan.notes:
        click.echo(f"note: {cell(note)}", err=True)
    if output == "table":
        count = len(plan.entries)
        click.echo(
            f"{policy}: {len(found.rules)} rules, {plan.mode}; {count:,} of 1,024 in the guest", err=True
        )


def _placed(plan: Plan) -> list[PlacedRecord]:
    return [
        PlacedRecord(
            line=int(rule.info.source.rpartition(":")[2]),
            id=rule.info.id,
            title=rule.info.title,
            severity=rule.info.severity,
            do=rule.verb,
            mode="observe" if rule.observed(plan.mode) else "enforce",
            guest=list(at.guest),
            asked=list(at.asked),
            after=list(at.after),
            why=list(at.why),
            entries=sum(entry.number == number for entry in plan.entries),
        )
        for number, (rule, at) in enumerate(zip(plan.policy.rules, plan.placements, strict=True))
    ]


def _row(record: PlacedRecord) -> tuple[object, ...]:
    where = (("in the guest", record.guest), ("asked", record.asked), ("after", record.after))
    runs = [name for name, events in where if events]
    if record.after and not record.why:
        runs = ["in the guest, done after"]
    do = f"would {record.do}" if record.mode == "observe" and record.do not in ("log", "allow") else record.do
    events = dict.fromkeys([*record.guest, *record.asked, *record.after])
    return record.line, do, " + ".join(runs), " ".join(events), record.title, ", ".join(record.why)


VIEW = View(PlacedRecord, HEADER, _row, "no rules")


@policy.command(name="list")
def list_sets() -> None:
    """List the ready sets: `vmon guard TARGET NAME` puts one in force."""
    from vmon.policy import ready  # noqa: PLC0415

    rows = []
    for name in ready.names():
        found = ready.read(name)
        rows.append((name, len(found.rules), found.mode, found.title))
    write_table(("NAME", "RULES", "MODE", "FOR"), rows)


@policy.command()
@click.argument("name")
def show(name: str) -> None:
    """Print the file of the ready set NAME, to begin with."""
    from vmon.policy import ready  # noqa: PLC0415

    click.echo(ready.text(name), nl=False)


@policy.command()
def schema() -> None:
    """Print the JSON schema of policies, for editors."""
    from vmon.policy import ready  # noqa: PLC0415

    click.echo(ready.schema_text(), nl=False)


@policy.command()
def fields() -> None:
    """List the fields that a rule can compare, and of which events they are."""
    from vmon.policy.fields import EVERY, FIELDS  # noqa: PLC0415

    rows = []
    for name, field in FIELDS.items():
        events = "every event" if field.events == EVERY else " ".join(field.events)
        rows.append((name, field.kind, field.means, events))
    write_table(("FIELD", "IS A", "MEANS", "OF"), rows)
