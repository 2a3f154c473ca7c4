"""`vmon rules` and `remove`: what is in force in a guest, and out of force again. Changes the guest."""

from __future__ import annotations

import errno

import click

from vmon.cli.attached import attached, target_argument
from vmon.cli.output import View, cell, output_option, write_records
from vmon.core.rules import RuleRecord, conditions

HEADER = ("RULE", "HITS", "ACTION", "ON", "WHERE")


@click.command()
@target_argument
@click.option(
    "--drop", "dropped", type=int, multiple=True, metavar="RULE", help="Take this rule out of force."
)
@click.option("--drop-all", is_flag=True, help="Take all rules out of force.")
@click.option(
    "--enforce/--observe",
    "enforce",
    default=None,
    help="Carry out what the rules say, or only tell what they would do.",
)
@output_option
def rules(target: str, dropped: tuple[int, ...], drop_all: bool, enforce: bool | None, output: str) -> None:
    """List the rules in force in TARGET, and how often each fitted; or change what is in force."""
    with attached(target) as vm:
        if dropped or drop_all:
            vm.drop_rules(*() if drop_all else dropped)
        if enforce is not None:
            vm.enforce(on=enforce)
        write_records(vm.rules(), output, VIEW)
        if not vm.enforcing:
            click.echo("observing: nothing is refused", err=True)


def row(record: RuleRecord) -> tuple[object, ...]:
    """One line of the table."""
    rule = record.rule
    where = [f"{field}={value}" for field, value in conditions(rule).items()]
    action: str = rule.action
    if action in ("deny", "kill"):
        action = f"{action} {errno.errorcode.get(rule.errno, rule.errno)}"
    elif action == "ask":
        action = f"ask, else {rule.fallback}"
    if rule.observe:
        action = f"would {action}"
    return record.number, record.hits, action, " ".join(rule.events), " ".join(where) or "anything"


VIEW = View(RuleRecord, HEADER, row, "no rule is in force")


@click.command()
@target_argument
def remove(target: str) -> None:
    """Take the probe out of TARGET: every changed instruction is as it was, no rule is in force."""
    with attached(target) as vm:
        report = vm.remove_probe()
    if report.patches:
        stood_ms = (report.paused_ns + report.held_ns) / 1e6
        click.echo(
            f"{report.patches} instructions are as they were; the guest stood still for {stood_ms:.1f} ms"
        )
    else:
        click.echo("no probe was active")
    if report.left:
        click.echo(
            f"its page-table entry stays, and the next vmon uses or removes it: {cell(report.left)}", err=True
        )
