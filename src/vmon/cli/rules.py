"""`vmon deny`, `rules` and `remove`: what the probe refuses. Changes the guest."""

from __future__ import annotations

import errno

import click

from vmon.cli.attached import attached, target_argument
from vmon.cli.output import View, output_option, write_records
from vmon.core.errors import UsageError
from vmon.core.rules import Rule, RuleRecord, conditions

HEADER = ("RULE", "HITS", "ACTION", "ON", "WHERE")


@click.command()
@target_argument
@click.argument("event")
@click.argument("path", required=False)
@click.option("--prefix", is_flag=True, help="PATH is the beginning of a path.")
@click.option("--suffix", is_flag=True, help="PATH is the end of a path.")
@click.option("--exe", help="Only of processes that run this program.")
@click.option("--unless-exe", help="Only of processes that do not run this program.")
@click.option("--name", help="Only of processes of this name (comm).")
@click.option("--uid", type=int, help="Only of this user.")
@click.option("--port", type=click.IntRange(0, 65535), help="Only to or at this port.")
@click.option("--address", help="Only this address or network, as 10.0.0.0/8.")
@click.option("--errno", "error", default="EPERM", show_default=True, help="What the refused call gets.")
@click.option("--kill", is_flag=True, help="End the process as well.")
@click.option("--observe", is_flag=True, help="Refuse nothing: tell what would have been refused.")
@click.option("--force", is_flag=True, help="Also a rule that fits everything.")
def deny(
    target: str, event: str, path: str | None, *, kill: bool, observe: bool, force: bool, **options: object
) -> None:
    """Refuse EVENT (file.open, process.exec, net.connect...) in TARGET before it happens, from now on.

    The rule is put behind those in force, and stays in force when this command ends, until `vmon remove TARGET`.
    """
    rule = make_rule(event, path, kill=kill, **options)  # type: ignore[arg-type]
    if not force and not observe and fits_everything(rule):
        raise UsageError(
            f"this refuses {event} to every process, init too: the guest may not survive it",
            hint="narrow it (PATH, --exe, --uid...), try it with --observe, or --force it",
        )
    with attached(target) as vm:
        (added,) = vm.add_rules([rule], enforce=not observe)
    click.echo(f"rule {added.number} is in force" + (", observing" if observe else ""))


def make_rule(
    event: str,
    path: str | None,
    *,
    prefix: bool = False,
    suffix: bool = False,
    error: str = "EPERM",
    kill: bool = False,
    **more: object,
) -> Rule:
    """A rule from the words of the command line. UsageError."""
    number = getattr(errno, error.upper(), None)
    if not isinstance(number, int):
        raise UsageError(f"{error!r} is no errno", hint="EPERM, EACCES, ENOENT, ECONNREFUSED...")
    if path is None and (prefix or suffix):
        raise UsageError("--prefix and --suffix speak of a PATH")
    if prefix and suffix:
        raise UsageError("a rule has one of --prefix and --suffix")
    places = (
        {"path_prefix" if prefix else "path_suffix" if suffix else "path": path} if path is not None else {}
    )
    return Rule(events=(event,), action="kill" if kill else "deny", errno=number, **places, **more)  # type: ignore[arg-type]


def fits_everything(rule: Rule) -> bool:
    """Whether nothing narrows it."""
    return not conditions(rule)


@click.command()
@target_argument
@output_option
def rules(target: str, output: str) -> None:
    """List the rules in force in TARGET, and how often each fitted."""
    with attached(target) as vm:
        write_records(vm.rules(), output, VIEW)


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
        click.echo(
            f"{report.patches} instructions are as they were; the guest stood still for {report.paused_ns / 1e6:.1f} ms"
        )
    else:
        click.echo("no probe was active")
