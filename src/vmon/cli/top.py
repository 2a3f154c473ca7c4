"""`vmon top`: the processes of a guest on a terminal. Reads; changes the guest only after a question there."""

from __future__ import annotations

import os
import sys

import click

from vmon.cli.attached import SYMBOLS, target_argument
from vmon.cli.live import detail
from vmon.core.errors import NotSupported, UsageError
from vmon.tui.columns import NAMES

DUMB = ("", "dumb", "unknown")


@click.command()
@target_argument
@click.option(
    "--interval",
    "interval_s",
    type=click.FloatRange(0.1, 3600),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Time between two looks at the guest.",
)
@click.option("--tree", is_flag=True, help="Begin with the tree.")
@click.option("--kernel-threads", is_flag=True, help="Begin with threads of the kernel shown.")
@click.option(
    "--sort", type=click.Choice(NAMES), default="cpu", show_default=True, help="Begin sorted by this."
)
@click.option("--filter", "filter_text", default="", metavar="TEXT", help="Begin with what fits these words.")
@click.option(
    "--events", is_flag=True, help="Follow events from the beginning: puts the probe into the guest."
)
@click.option("--read-only", is_flag=True, help="Change nothing in the guest, whatever is pressed.")
def top(
    target: str,
    interval_s: float,
    tree: bool,
    kernel_threads: bool,
    sort: str,
    filter_text: str,
    events: bool,
    read_only: bool,
) -> None:
    """Watch the processes of TARGET on the terminal; ? shows the keys.

    The guest is only read, until a key asks for more (events, kill, suspend, quarantine) and the question that follows
    is answered with y. The probe that this puts in is taken out at the end, unless rules are in force.
    """
    if events and read_only:
        raise UsageError(
            "--events puts a probe into the guest, --read-only forbids it", hint="leave one of them out"
        )
    require_terminal()
    from vmon.monitor.attach import attach  # noqa: PLC0415
    from vmon.tui import show  # noqa: PLC0415 - the terminal is looked at first
    from vmon.tui.arrange import View  # noqa: PLC0415
    from vmon.tui.live import LiveSource  # noqa: PLC0415

    symbols = click.get_current_context().meta.get(SYMBOLS)
    source = LiveSource(lambda: attach(target, symbols=symbols))
    said = ""
    try:
        view = View(sort=sort, tree=tree, kernel_threads=kernel_threads, filter=filter_text)
        show(source, view, interval_s=interval_s, read_only=read_only, events=events, say=detail)
    finally:
        said = source.close()
    if said:
        click.echo(said, err=True)


def require_terminal() -> None:
    """NotSupported where no screen can be drawn."""
    term = os.environ.get("TERM", "")
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        why = "vmon top needs a terminal, and this is none"
    elif term in DUMB:
        why = f"this terminal can't show a screen: TERM is {term or 'not set'}"
    else:
        return
    raise NotSupported(why, hint="vmon ps TARGET --watch 1 needs none")
