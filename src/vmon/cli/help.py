"""`vmon help`: exit codes, and what a command's --help says."""

from __future__ import annotations

import inspect

import click

from vmon.core import errors
from vmon.core.errors import UsageError

PLAIN_CODES = (
    (0, "Done."),
    (1, "A fault of vmon itself: a traceback follows."),
    (2, "Wrong use: an option, an argument, a file of the user's."),
    (130, "Interrupted: Ctrl-C."),
)
"""Those that are no error of vmon.core.errors, or also click's."""


@click.command("help")
@click.argument("topic", nargs=-1)
@click.pass_context
def help_command(context: click.Context, topic: tuple[str, ...]) -> None:
    """Show the help of a command, or exit-codes: what a script can rely on."""
    root = context.find_root()
    if topic == ("exit-codes",):
        click.echo("\n".join(f"{code:>4}  {meaning}" for code, meaning in exit_codes()))
        return
    above, command = root, root.command
    for word in topic:
        below = command.get_command(above, word) if isinstance(command, click.Group) else None
        if below is None:
            raise UsageError(
                f"there is no command {' '.join(topic)!r}",
                hint="`vmon --help` lists them; `vmon help exit-codes`",
            )
        above, command = click.Context(below, info_name=word, parent=above), below
    click.echo(command.get_help(above))


def exit_codes() -> list[tuple[int, str]]:
    """Every code with its meaning: the first line of its error's own description."""
    found = dict(PLAIN_CODES)
    for kind in sorted(_all(errors.VmonError), key=lambda kind: len(kind.__mro__)):
        found.setdefault(kind.exit_code, (inspect.getdoc(kind) or "").split("\n")[0])
    return sorted(found.items())


def _all(kind: type[errors.VmonError]) -> list[type[errors.VmonError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in _all(child))]
