"""`vmon schema`: the JSON schemas of vmon's own JSON lines, as they are published."""

from __future__ import annotations

import sys

import click

from vmon.export.schemas import TYPES, published


@click.command()
@click.argument("name", type=click.Choice(tuple(TYPES)), required=False)
def schema(name: str | None) -> None:
    """Print the JSON schema of one kind of line that `-o jsonl` writes: an event, a detection, a notice.

    Each line's member `record` says which it is. Without NAME the kinds are listed.
    """
    if name is None:
        for kind, line in TYPES.items():
            click.echo(f"{kind:<10}  {(line.__doc__ or '').strip()}")
        return
    sys.stdout.write(published(name))
