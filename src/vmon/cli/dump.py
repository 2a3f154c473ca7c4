"""`vmon dump`: a guest's RAM in a file. Reads the guest while it runs; writes a file of the host."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Literal

import click

from vmon.cli.attached import target_argument
from vmon.cli.output import human_size
from vmon.core.text import printable
from vmon.monitor.attach import dump as write

QUIET_S = 2.0


@click.command()
@target_argument
@click.option("-o", "--output", "file", type=click.Path(path_type=Path), required=True, help="File to write.")
@click.option("--format", "form", type=click.Choice(("raw", "elf", "lime")), default="elf", show_default=True)
@click.option("--force", is_flag=True, help="Replace the file when it is there already.")
def dump(target: str, file: Path, form: Literal["raw", "elf", "lime"], force: bool) -> None:
    """Write the RAM of TARGET to a file that vmon, gdb, crash or Volatility can open.

    The guest goes on meanwhile, so the file is not one moment. Zero pages become holes.
    """
    begin = time.monotonic()
    shown = False

    def progress(done_bytes: int, all_bytes: int) -> None:
        nonlocal shown
        if time.monotonic() - begin > QUIET_S:
            shown = True
            text = f"{human_size(done_bytes)} of {human_size(all_bytes)}"
            click.echo(
                f"\r\x1b[K{text}" if sys.stderr.isatty() else text, err=True, nl=not sys.stderr.isatty()
            )

    written = write(target, file, form, progress, overwrite=force)
    if shown and sys.stderr.isatty():
        click.echo(err=True)
    click.echo(
        f"{printable(str(written.path))}: {human_size(written.ram_bytes)} of RAM as {written.format}, "
        f"{human_size(written.stored_bytes)} not zero, in {time.monotonic() - begin:.1f} s"
    )
