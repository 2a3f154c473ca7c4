"""`vmon dump`: a guest's RAM in a file. Reads the guest while it runs; writes a file of the host."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Literal

import click

from vmon.cli.attached import bare_target_argument
from vmon.cli.output import human_size
from vmon.core.text import printable
from vmon.monitor.attach import LONGEST_DUMP_PAUSE_S
from vmon.monitor.attach import dump as write

QUIET_S = 2.0


@click.command()
@bare_target_argument
@click.option("-o", "--output", "file", type=click.Path(path_type=Path), required=True, help="File to write.")
@click.option("--format", "form", type=click.Choice(("raw", "elf", "lime")), default="elf", show_default=True)
@click.option("--force", is_flag=True, help="Replace the file when it is there already.")
@click.option("--paused", is_flag=True, help="Hold the guest still meanwhile: the file is of one moment.")
@click.option(
    "--pause-limit",
    "limit_s",
    type=click.FloatRange(1, 600),
    default=LONGEST_DUMP_PAUSE_S,
    show_default=True,
    metavar="SECONDS",
    help="With --paused: after so long the guest goes on, and no file is kept.",
)
def dump(
    target: str, file: Path, form: Literal["raw", "elf", "lime"], force: bool, paused: bool, limit_s: float
) -> None:
    """Write the RAM of TARGET to a file that vmon, gdb, crash or Volatility can open.

    The guest goes on meanwhile, so the file is not of one moment unless --paused is given. Zero pages become holes.
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

    written = write(target, file, form, progress, overwrite=force, paused=paused, longest_pause_s=limit_s)
    if shown and sys.stderr.isatty():
        click.echo(err=True)
    click.echo(
        f"{printable(str(written.path))}: {human_size(written.ram_bytes)} of RAM as {written.format}, "
        f"{human_size(written.stored_bytes)} not zero, in {time.monotonic() - begin:.1f} s{held(written.paused_ns)}"
    )


def held(paused_ns: int | None) -> str:
    """What it cost the guest."""
    if paused_ns is None:
        return ""
    if not paused_ns:
        return ", while it stood still already"
    return f", while it stood still for {paused_ns / 1e9:.3f} s"
