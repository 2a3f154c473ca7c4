"""`vmon cat` and `vmon exe`: a file's content out of the guest's page cache. Reads the guest, changes nothing there."""

from __future__ import annotations

import codecs
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, TypeVar

import click

from vmon.cli.attached import attached, target_argument
from vmon.cli.output import human_size
from vmon.core.errors import NotResident, UsageError
from vmon.core.text import UNSAFE, printable
from vmon.linux.content import FileContent
from vmon.transport.newfile import new_file

SHOWN_HOLES = 10
TEXT_MARKS = frozenset("\n\t")
F = TypeVar("F", bound=Callable[..., object])


def content_options(function: F) -> F:
    """What both commands do with what is not in memory, and with a file that is there already."""
    function = click.option(
        "--holes",
        type=click.Choice(("zero", "fail")),
        default="zero",
        show_default=True,
        help="Write what is not in memory as zeros, or fail before anything is written.",
    )(function)
    return click.option("--force", is_flag=True, help="Replace FILE when it is there already.")(function)


@click.command()
@target_argument
@click.argument("what", metavar="PID:FD|PATH")
@click.option(
    "-o", "--output", "file", type=click.Path(path_type=Path), help="File to write.", metavar="FILE"
)
@click.option("--pid", type=int, default=1, show_default=True, help="Take PATH as this process sees it.")
@content_options
def cat(target: str, what: str, file: Path | None, pid: int, holes: str, force: bool) -> None:
    """Write a file of TARGET, as far as the guest has it in memory, to standard output or to FILE.

    PID:FD is what a process has open, PATH an absolute path. What is not in memory is written as zeros, and told.
    """
    with attached(target) as vm:
        write_content(vm.read_file(what, pid), file, holes, force)


@click.command()
@target_argument
@click.argument("pid", type=int)
@click.option(
    "-o",
    "--output",
    "file",
    type=click.Path(path_type=Path),
    required=True,
    help="File to write.",
    metavar="FILE",
)
@content_options
def exe(target: str, pid: int, file: Path, holes: str, force: bool) -> None:
    """Write the executable of process PID in TARGET to FILE, also one that was deleted or never had a name.

    FILE is not made executable: what runs in a guest is not to be run by mistake.
    """
    with attached(target) as vm:
        write_content(vm.read_exe(pid), file, holes, force)


def write_content(content: FileContent, file: Path | None, holes: str, force: bool) -> None:
    """All of it to a file, or to standard output, and what it lacks to standard error.

    NotResident where it has holes that it shall not have; UsageError for what a terminal should not get.
    """
    if holes == "fail" and content.holes:
        raise NotResident(
            f"{content.path}: {content.missing_pages:,} pages are not in memory: {_said(content)}",
            hint="without --holes fail they are written as zeros",
        )
    if file is not None:
        _to_file(content, file, force)
    elif sys.stdout.isatty():
        _to_terminal(content)
    else:
        sys.stdout.flush()
        for piece in content.chunks():
            sys.stdout.buffer.write(piece.data)
        sys.stdout.buffer.flush()
    if holes == "fail" and content.holes:
        raise NotResident(f"{content.path}: the guest moved pages while they were read: {_said(content)}")
    if content.holes:
        click.echo(f"not seen, zeros instead: {_said(content)}", err=True)
    if file is not None:
        click.echo(f"{printable(str(file))}: {content.size:,} bytes of {printable(content.path)}", err=True)


def _said(content: FileContent) -> str:
    """Holes in words: ranges, and why."""
    shown = [f"{hole.start:#x}-{hole.end:#x} {hole.reason}" for hole in content.holes[:SHOWN_HOLES]]
    more = len(content.holes) - len(shown)
    if more > 0:
        shown.append(f"and {more:,} more")
    lost = sum(hole.end - hole.start for hole in content.holes)
    return f"{human_size(lost)} of {human_size(content.size)}: {', '.join(shown)}"


def _to_file(content: FileContent, file: Path, force: bool) -> None:
    """Zeros become holes of the file, which is made anew."""
    with new_file(file, overwrite=force) as out:
        _write_sparse(content, out)


def _write_sparse(content: FileContent, out: IO[bytes]) -> None:
    for piece in content.chunks():
        if piece.any():
            out.write(piece.data)
        else:
            out.seek(piece.size, os.SEEK_CUR)
    out.truncate(content.size)


def _to_terminal(content: FileContent) -> None:
    """Text alone: nothing of a guest may steer a terminal."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    done = 0
    for piece in content.chunks():
        done += piece.size
        try:
            text = decoder.decode(piece.tobytes(), final=done == content.size)
        except UnicodeDecodeError:
            text = "\0"
        if any(char not in TEXT_MARKS for char in UNSAFE.findall(text)):
            where = "" if done == piece.size else " from here on"
            raise UsageError(
                f"{content.path} is no plain text{where}: it is not written to a terminal",
                hint="use -o FILE, or a pipe",
            )
        sys.stdout.write(text)
    sys.stdout.flush()
