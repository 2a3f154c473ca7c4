"""`vmon memory`: bytes of a process's memory, as a hex dump or into a file. Reads the guest, changes nothing."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from vmon.cli.attached import attached, target_argument
from vmon.cli.output import human_size
from vmon.core.coverage import Gaps, said
from vmon.core.records.memory import Memory
from vmon.core.text import printable
from vmon.transport.newfile import new_file

LINE_BYTES = 16
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


class Number(click.ParamType[int]):
    """0x7ffc1000, 4096, 64K, 2M, 1G."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number, or click's error."""
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"(0x[0-9a-f]+|\d+)([kmg]?)", value.strip(), re.IGNORECASE)
        if match is None:
            self.fail(f"{value!r} is not a number: 0x7ffc1000, 4096, 64K, 2M", param, ctx)
        return int(match[1], 0 if match[1][:2].lower() == "0x" else 10) * UNITS[match[2].upper()]


@click.command()
@target_argument
@click.argument("pid", type=int)
@click.argument("address", type=Number())
@click.argument("size", type=Number())
@click.option(
    "-o", "--output", "file", type=click.Path(path_type=Path), help="Write the bytes to FILE instead."
)
@click.option("--force", is_flag=True, help="Replace the file when it is there already.")
def memory(target: str, pid: int, address: int, size: int, file: Path | None, force: bool) -> None:
    """Show SIZE bytes at ADDRESS of process PID in TARGET.

    ADDRESS and SIZE are decimal or 0x...; SIZE may end in K, M or G. What is not in memory is shown as ?? and
    written as zeros; why, is said at the end.
    """
    with attached(target) as vm:
        pieces = vm.process(pid).iter_memory(address, size)
        gaps = Gaps()
        if file is None:
            for piece in pieces:
                note(gaps, piece)
                sys.stdout.writelines(f"{line}\n" for line in hex_lines(piece))
        else:
            write(pieces, gaps, file, size, force)
        if coverage := gaps.records():
            click.echo("not seen: " + "; ".join(printable(said(gap)) for gap in coverage), err=True)


def note(gaps: Gaps, piece: Memory) -> None:
    """Add what a piece lacks."""
    for gap in piece.coverage:
        gaps.add(gap.what, gap.reason, gap.detail, gap.count)


def write(pieces: Iterator[Memory], gaps: Gaps, file: Path, size: int, force: bool) -> None:
    """Write pieces to a file of exactly `size` bytes."""
    with new_file(file, overwrite=force) as stream:
        for piece in pieces:
            stream.write(piece)
            note(gaps, piece)
    click.echo(f"{printable(str(file))}: {human_size(size)}")


def hex_lines(piece: Memory) -> Iterator[str]:
    """Lines as of xxd; ?? for what could not be read."""
    unknown = bytearray(len(piece))
    for part in piece.missing:
        start = part.address - piece.address
        unknown[start : start + part.size] = b"\1" * part.size
    for at in range(0, len(piece), LINE_BYTES):
        data, hidden = piece[at : at + LINE_BYTES], unknown[at : at + LINE_BYTES]
        pairs = ["??" if gone else f"{byte:02x}" for byte, gone in zip(data, hidden, strict=True)]
        words = " ".join("".join(pairs[place : place + 2]) for place in range(0, len(pairs), 2))
        text = "".join(
            "?" if gone else chr(byte) if 0x20 <= byte < 0x7F else "."
            for byte, gone in zip(data, hidden, strict=True)
        )
        yield f"{piece.address + at:016x}: {words:<39}  {text}"
