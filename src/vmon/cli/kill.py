"""`vmon kill`, `suspend` and `resume`: a signal from outside, sent by the guest's own kernel. Changes the guest."""

from __future__ import annotations

import signal as signals

import click

from vmon.cli.attached import attached, target_argument
from vmon.core.errors import NoSuchProcess, UsageError
from vmon.core.records.probe import ActRecord
from vmon.core.text import printable


@click.command()
@target_argument
@click.argument("pid", type=int)
@click.option(
    "--signal", "name", default="KILL", show_default=True, metavar="NAME", help="TERM, HUP... or a number."
)
@click.option("--tree", is_flag=True, help="Its descendants too, the process itself first.")
@click.option("--key", default="", metavar="PID@START", help="Only if it is still this very process.")
@click.option("--force", is_flag=True, help="Also init, and threads of the kernel.")
def kill(target: str, pid: int, name: str, tree: bool, key: str, force: bool) -> None:
    """End the process PID of TARGET, or send it another signal.

    The guest's own kernel sends it; a process that has ended, or whose pid is another's by now, is left alone.
    """
    _act(target, pid, _number(name), tree=tree, key=key, force=force)


@click.command()
@target_argument
@click.argument("pid", type=int)
@click.option("--tree", is_flag=True, help="Its descendants too, the process itself first.")
@click.option("--force", is_flag=True, help="Also init.")
def suspend(target: str, pid: int, tree: bool, force: bool) -> None:
    """Stop the process PID of TARGET; `vmon resume` lets it go on."""
    _act(target, pid, int(signals.SIGSTOP), tree=tree, force=force)


@click.command()
@target_argument
@click.argument("pid", type=int)
@click.option("--tree", is_flag=True, help="Its descendants too, the process itself first.")
def resume(target: str, pid: int, tree: bool) -> None:
    """Let the suspended process PID of TARGET go on."""
    _act(target, pid, int(signals.SIGCONT), tree=tree, force=True)


def _number(name: str) -> int:
    if name.isdecimal() and 0 < int(name) < signals.NSIG:
        return int(name)
    try:
        return int(signals.Signals["SIG" + name.upper().removeprefix("SIG")])
    except KeyError:
        raise UsageError(f"{name!r} is no signal", hint="TERM, KILL, HUP, INT, USR1... or a number") from None


def _act(target: str, pid: int, number: int, *, tree: bool, key: str = "", force: bool) -> None:
    with attached(target) as vm:
        below = vm.descendants(pid)[1:] if tree else []
        act = vm.signal(pid, number, key=key, force=force)
        click.echo(sentence(act))
        done = act.done
        for record in below:
            try:
                click.echo(sentence(vm.signal(record.pid, number, key=record.key, force=force)))
            except NoSuchProcess:
                click.echo(f"{printable(record.name)} ({record.pid}): gone already")
    if not done:
        raise NoSuchProcess(f"process {pid} had ended")


def sentence(act: ActRecord) -> str:
    """What happened, and how long it took."""
    return f"{printable(act.name)} ({act.pid}): signal {act.signal} {act.outcome}, {act.took_ms:.1f} ms"
