"""`vmon deny`: one rule, put in force from the command line. Changes the guest."""

from __future__ import annotations

import click
import msgspec

from vmon.cli.attached import attached, target_argument
from vmon.cli.live import live_options, probed, shown, started
from vmon.core.errors import UsageError
from vmon.core.rules import WRITING, Rule, errno_of
from vmon.monitor.machine import VirtualMachine
from vmon.policy.file import path_fields
from vmon.policy.safety import refuses_everything


@click.command()
@target_argument
@click.argument("event")
@click.argument("path", required=False)
@click.option("--prefix", is_flag=True, help="PATH is the beginning of a path.")
@click.option("--suffix", is_flag=True, help="PATH is the end of a path.")
@click.option("--write", is_flag=True, help="Only an open that may write.")
@click.option("--port", type=click.IntRange(0, 65535), help="Only to or at this port.")
@click.option("--address", help="Only this address or network, as 10.0.0.0/8.")
@click.option("--exe", help="Only of processes that run this program.")
@click.option("--unless-exe", help="Only of processes that do not run this program.")
@click.option("--name", help="Only of processes of this name (comm).")
@click.option("--unless-name", help="Only of processes of other names.")
@click.option("--uid", type=int, help="Only of this user.")
@click.option("--unless-uid", type=int, help="Only of other users.")
@click.option("--pid", type=int, help="Only of this process.")
@click.option("--tree", "tree_pid", type=int, metavar="PID", help="Only of this process and its descendants.")
@click.option("--container", metavar="ID", help="Only of this container; the beginning of its id is enough.")
@click.option("--errno", "error", default="EPERM", show_default=True, help="What the refused call gets.")
@click.option("--kill", is_flag=True, help="End the process as well.")
@click.option("--observe", is_flag=True, help="Refuse nothing: tell what would have been refused.")
@click.option(
    "--dry-run", is_flag=True, help="Show what would be refused until interrupted; nothing stays in force."
)
@click.option("--force", is_flag=True, help="Also a rule that a guest would not survive.")
@live_options
def deny(
    target: str,
    event: str,
    path: str | None,
    *,
    pid: int | None,
    tree_pid: int | None,
    container: str | None,
    observe: bool,
    dry_run: bool,
    force: bool,
    seconds: float | None,
    output: str,
    **options: object,
) -> None:
    """Refuse EVENT (file.open, process.exec, net.connect...) in TARGET before it happens, from now on.

    PATH is a whole path in the guest, or a pattern with one * (no slash) or one ** (anything) in it. The rule is put
    behind those in force, and stays in force when this command ends, until `vmon rules TARGET --drop N` or `vmon remove
    TARGET`.
    """
    rule = make_rule(event, path, observe=observe or dry_run, **options)  # type: ignore[arg-type]
    with attached(target) as vm:
        rule = msgspec.structs.replace(
            rule,
            key=None if pid is None else vm.process(pid).key,
            tree=None if tree_pid is None else vm.process(tree_pid).key,
            cgroup_id=None if container is None else vm.cgroup_of(container),
        )
        if not force and refuses_everything(rule):
            raise UsageError(
                f"this refuses {event} to every process, init too: the guest may not survive it",
                hint="narrow it (PATH, --exe, --uid...), try it with --dry-run, or --force it",
            )
        if dry_run:
            show_what_would_be(vm, rule, seconds, output)
            return
        (added,) = vm.add_rules([rule])
        observing = observe or not vm.enforcing
    click.echo(f"rule {added.number} is in force" + (", observing" if observing else ""))


def show_what_would_be(vm: VirtualMachine, rule: Rule, seconds: float | None, output: str) -> None:
    """Put a rule in that only observes, show what it finds, and take it out again."""
    # Somebody listens before the rule finds anything.
    with probed(vm), shown(output) as out, started(vm.event_stream(rule.events[0])) as stream:
        (added,) = vm.add_rules([rule])
        try:
            for event in stream.follow(seconds):
                if event.rule == added.number:
                    out.event(event)
        finally:
            vm.drop_rules(added.number)


def make_rule(
    event: str,
    path: str | None,
    *,
    prefix: bool = False,
    suffix: bool = False,
    write: bool = False,
    error: str = "EPERM",
    kill: bool = False,
    **more: object,
) -> Rule:
    """A rule from the words of the command line. UsageError."""
    number = errno_of(error)
    if number is None:
        raise UsageError(f"{error!r} is no errno", hint="EPERM, EACCES, ENOENT, ECONNREFUSED...")
    if path is None and (prefix or suffix):
        raise UsageError("--prefix and --suffix speak of a PATH")
    if prefix and suffix:
        raise UsageError("a rule has one of --prefix and --suffix")
    if path is not None and (prefix or suffix):
        places = {"path_prefix" if prefix else "path_suffix": path}
    else:
        places = path_fields(path)
    return Rule(
        events=(event,),
        action="kill" if kill else "deny",
        errno=number,
        flags=WRITING if write else None,
        **places,  # type: ignore[arg-type]
        **more,  # type: ignore[arg-type]
    )
