"""`vmon guard`: a policy in force while the command runs, what it decides as it happens. Changes the guest."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import click

from vmon.cli.attached import attached, target_argument
from vmon.cli.live import keep_options, line, live_options, probed, show_kept
from vmon.core.errors import IdentifyError, NotSupported, ProbeTampered, UsageError
from vmon.core.events import Answer, Event
from vmon.monitor.machine import VirtualMachine
from vmon.policy.file import Policy, read_policy

Answers = Literal["prompt", "allow", "deny", "kill"]


@click.command()
@target_argument
@click.argument("policy_file", metavar="POLICY", type=click.Path(path_type=Path))
@click.option("--check", is_flag=True, help="Read the policy, say whether it makes sense, and end.")
@click.option("--dry-run", is_flag=True, help="Refuse nothing: show what would be.")
@click.option(
    "--enforce/--observe",
    "enforce",
    default=None,
    help="Carry it out, or only tell; the policy's mode if not said.",
)
@click.option(
    "--answer",
    type=click.Choice(("prompt", "allow", "deny", "kill")),
    default="prompt",
    show_default=True,
    help="What is said to rules that ask; prompt asks you, on a terminal.",
)
@click.option("--keep", is_flag=True, help="Leave the rules in force at the end.")
@keep_options
@click.option("--force", is_flag=True, help="Also rules that a guest would not survive.")
@live_options
def guard(
    target: str,
    policy_file: Path,
    check: bool,
    dry_run: bool,
    enforce: bool | None,
    answer: Answers,
    keep: bool,
    persist: bool,
    repair: bool,
    force: bool,
    seconds: float | None,
    output: str,
) -> None:
    """Put the rules of POLICY, a YAML file, in force in TARGET, and show what they decide.

    They go when this command ends, unless --keep is given; they stay when it is killed.
    """
    from vmon.monitor.policies import check_policy, rules_on  # noqa: PLC0415 - help needs no probe

    policy = _read(policy_file)
    check_policy(policy, force=force or dry_run)
    if check:
        click.echo(f"{policy_file}: {len(policy.drafts)} rules, {policy.mode}")
        return
    tampered = False
    with attached(target) as vm:
        on = not dry_run and (policy.mode == "enforce" if enforce is None else enforce)
        found = rules_on(vm, policy, observe=not on)
        with probed(vm, keep=keep):
            numbers: list[int] = []

            def put_in() -> None:
                numbers.extend(record.number for record in vm.add_rules(found))
                observing = "" if on and vm.enforcing else ", observing"
                click.echo(f"{len(numbers)} rules are in force{observing}", err=True)

            events = sorted({event for rule in found for event in rule.events})
            try:
                tampered = show_kept(
                    vm,
                    lambda: vm.event_stream(*events, decide=decider(answer)),
                    seconds,
                    output,
                    wanted=lambda event: event.rule != 0,
                    persist=persist,
                    repair=repair,
                    put_in=put_in,
                )
            finally:
                if not keep:
                    drop(vm, numbers)
    if tampered:
        raise ProbeTampered(
            "the guest changed the probe: what was refused since may not be all",
            hint="the lines above tell what; --repair puts it right each time",
        )


def drop(vm: VirtualMachine, numbers: list[int]) -> None:
    """Rules that are still in force; a kernel that is gone took them with it."""
    with contextlib.suppress(NotSupported, IdentifyError):
        there = {record.number for record in vm.rules()}
        if own := [number for number in numbers if number in there]:
            vm.drop_rules(*own)


def _read(path: Path) -> Policy:
    try:
        return read_policy(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: this is no text: byte {error.start} is not UTF-8") from error


def decider(answer: Answers) -> Callable[[Event], Answer] | None:
    """Who answers; None for nobody: the rules' fallbacks decide."""
    if answer != "prompt":
        return lambda _: answer
    return ask_person if sys.stdin.isatty() else None


def ask_person(event: Event) -> Answer:
    """The question, on the terminal; Enter refuses."""
    said = click.prompt(
        f"{line(event)}\n  allow, deny or kill?",
        type=click.Choice(("allow", "deny", "kill", "a", "d", "k")),
        default="deny",
        show_choices=False,
        err=True,
    )
    answers: dict[str, Answer] = {"a": "allow", "k": "kill"}
    return answers.get(said[0], "deny")
