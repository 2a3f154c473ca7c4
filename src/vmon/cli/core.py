"""`vmon core`: a core file of a process. Reads the guest, which goes on; writes a file of the host."""

from __future__ import annotations

from pathlib import Path

import click

from vmon.cli.attached import attached, target_argument
from vmon.cli.output import human_size
from vmon.core.coverage import said
from vmon.core.text import printable


@click.command()
@target_argument
@click.argument("pid", type=int)
@click.option("-o", "--output", "file", type=click.Path(path_type=Path), required=True, help="File to write.")
@click.option("--force", is_flag=True, help="Replace the file when it is there already.")
def core(target: str, pid: int, file: Path, force: bool) -> None:
    """Write the memory and registers of process PID in TARGET to a core file that gdb opens.

    The process goes on meanwhile, so the file is not one moment. Memory that is not there has no bytes in it.
    """
    with attached(target) as vm:
        written = vm.core(pid, file, overwrite=force)
        click.echo(
            f"{printable(written.path)}: {written.threads} threads, {written.segments} segments, "
            f"{human_size(written.stored)} stored of {human_size(written.size)}"
        )
        if written.coverage:
            click.echo("not seen: " + "; ".join(printable(said(gap)) for gap in written.coverage), err=True)
