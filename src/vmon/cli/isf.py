"""`vmon isf`: a symbol file of the guest's kernel for Volatility 3. Reads the guest; writes a file of the host."""

from __future__ import annotations

import time
from pathlib import Path

import click

from vmon.cli.attached import attached, bare_target_argument
from vmon.cli.output import human_size
from vmon.core.text import printable


@click.command()
@bare_target_argument
@click.option(
    "-o",
    "--output",
    "file",
    type=click.Path(path_type=Path, allow_dash=True),
    required=True,
    help="File to write: NAME.json, .json.xz or .json.gz; - is standard output.",
)
@click.option("--force", is_flag=True, help="Replace the file when it is there already.")
def isf(target: str, file: Path, force: bool) -> None:
    """Write a symbol file of the kernel of TARGET for Volatility 3.

    All its types and symbols, from the guest's RAM alone. Volatility finds the file by itself when it lies in a folder
    linux/ of its symbols (vol -s FOLDER -f DUMP linux.pslist); `vmon dump` writes the dump.
    """
    begin = time.monotonic()
    with attached(target) as vm:
        written = vm.write_isf(file, overwrite=force)
    click.echo(
        f"{printable(written.path)}: Linux {printable(written.release)}, {written.symbols:,} symbols, "
        f"{written.types:,} types, {human_size(written.size)} in {time.monotonic() - begin:.1f} s",
        err=written.path == "-",
    )
