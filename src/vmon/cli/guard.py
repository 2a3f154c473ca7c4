"""`vmon guard`: a policy in force while the command runs, what it finds as it happens. Changes the guest."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import Literal

import click

from vmon.cli.attached import attached, target_argument
from vmon.cli.guarding import Guarding
from vmon.cli.live import keep_options, line, live_options, probed
from vmon.core.errors import IdentifyError, NotSupported, ProbeTampered
from vmon.core.events import Answer, Event
from vmon.monitor.machine import VirtualMachine

Answers = Literal["prompt", "allow", "deny", "kill"]


@click.command()
@target_argument
@click.argument("policy", metavar="POLICY")
@click.option("--dry-run", is_flag=True, help="Refuse nothing and end nothing: show what would be.")
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
@click.option("--keep", is_flag=True, help="Leave the rules that the guest judges in force at the end.")
@keep_options
@click.option("--force", is_flag=True, help="Also rules that a guest would not survive.")
@live_options
def guard(
    target: str,
    policy: str,
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
    """Put POLICY in force in TARGET, and show what its rules find.

    POLICY is a YAML file, or the name of a ready set (`vmon policy list`). A file that changes is read again (at once
    on SIGHUP), and the new rules go in as the old ones go out; one with a mistake in it changes nothing, and that is
    said. Rules go when this command ends, unless --keep is given; those that the guest judges stay when it is killed.
    """
    guarding = Guarding(policy, target, enforce=False if dry_run else enforce, force=force or dry_run)
    tampered = False
    with attached(target) as vm, probed(vm, keep=keep):
        enforcer = guarding.on(vm, decider(answer))
        try:
            tampered = guarding.run(seconds, output, persist=persist, repair=repair)
        finally:
            if not keep:
                drop(vm, enforcer.numbers)
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
