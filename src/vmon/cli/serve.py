"""`vmon serve`: vmon over HTTP, with a web page. Changes a guest only when an operator's request asks for it."""

from __future__ import annotations

from pathlib import Path

import click

from vmon.core.errors import UsageError


@click.command()
@click.argument("targets", metavar="[TARGET]...", nargs=-1)
@click.option(
    "--listen",
    default="",
    metavar="unix:PATH|HOST:PORT",
    help="Where; serve.sock in the run folder if not said.",
)
@click.option(
    "--socket-mode", default="600", show_default=True, metavar="OCTAL", help="Permissions of the socket file."
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Who may come in, as operator:TOKEN and viewer:TOKEN; a network address needs it.",
)
@click.option(
    "--new-token-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Make a token file with new tokens, and end.",
)
@click.option(
    "--allow-host",
    "hosts",
    multiple=True,
    metavar="NAME",
    help="Another name by which browsers call this server; may be repeated.",
)
@click.option(
    "--policy",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Put this policy in force in the TARGETs; it stays when the server ends.",
)
@click.option("--read-only", is_flag=True, help="Refuse everything that changes a guest.")
def serve(
    targets: tuple[str, ...],
    listen: str,
    socket_mode: str,
    token_file: Path | None,
    new_token_file: Path | None,
    hosts: tuple[str, ...],
    policy: Path | None,
    read_only: bool,
) -> None:
    """Answer over HTTP for the guests TARGET..., or for every guest of this host that can be read.

    docs/http.md has the routes. On a socket file, whoever may open it is an operator; on a network address a token
    says who is.
    """
    from vmon.api.door import Wanted, serve  # noqa: PLC0415 - help needs no server
    from vmon.api.tokens import write_tokens  # noqa: PLC0415

    if new_token_file is not None:
        write_tokens(new_token_file)
        click.echo(
            f"{new_token_file}: a token for operator and one for viewer; yours alone to read", err=True
        )
        return
    wanted = Wanted(
        targets=targets,
        listen=listen,
        socket_mode=_mode(socket_mode),
        token_file=token_file,
        hosts=hosts,
        read_only=read_only,
        policy=policy,
    )
    serve(wanted, lambda said: click.echo(said, err=True))


def _mode(text: str) -> int:
    if len(text) in (3, 4) and all(char in "01234567" for char in text):
        mode = int(text, 8)
        if not mode & ~0o777:
            return mode
    raise UsageError(f"{text!r} are no permissions", hint="600, or 660 for a group")
