"""`vmon drgn`: a drgn session, a script or a line of Python on a guest. Reads the guest, changes nothing.

What runs is the user's own Python, in this process; how it ends is how the command ends, as with python itself.
"""

from __future__ import annotations

import runpy
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vmon.cli.attached import attached, target_argument
from vmon.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drgn import Program

OWN_FILES = (__file__, runpy.__file__, "<frozen runpy>")
INTERRUPTED = 128 + signal.SIGINT


@click.command("drgn", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("-c", "code", metavar="PYTHON", help="Run this; it may also stand behind TARGET.")
@target_argument
@click.argument("words", metavar="[SCRIPT] [ARGS]...", nargs=-1, type=click.UNPROCESSED)
def drgn_command(target: str, code: str | None, words: tuple[str, ...]) -> None:
    """Look at any structure of the kernel of TARGET with drgn, without debug information.

    Runs SCRIPT with ARGS; without one it is a session at a terminal, else what comes by standard input (also named -).
    The kernel is `prog`, and drgn's helpers are there, as in drgn's own command. docs/drgn.md tells what does not work
    without debug information.
    """
    if code is None and words[:1] == ("-c",):
        if len(words) == 1:
            raise UsageError("-c needs the Python that is to be run")
        code, words = words[1], words[2:]
    if code is None and words and words[0] != "-" and not Path(words[0]).is_file():
        raise UsageError(f"there is no script {words[0]}", hint="-c PYTHON runs a line of Python")
    with attached(target) as vm:
        prog = vm.drgn_program()
        if code is not None:
            with as_python(["-c", *words]):
                run_text(code, "<string>", prog)
        elif words and words[0] != "-":
            with as_python([*words]):
                run_script(words[0], prog)
        elif words or not sys.stdin.isatty():
            with as_python(["-", *words[1:]]):
                run_text(sys.stdin.read(), "<stdin>", prog)
        else:
            run_session(prog, vm.target)


@contextmanager
def as_python(argv: list[str]) -> Iterator[None]:
    """Run the user's Python inside: its errors are shown without our frames, and end the command with 1."""
    old = sys.argv
    sys.argv = argv
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        show(error)
        raise SystemExit(INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1) from None
    finally:
        sys.argv = old


def show(error: BaseException) -> None:
    """A traceback on standard error that begins in the user's own code."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename in OWN_FILES:
        trace = trace.tb_next
    traceback.print_exception(type(error), error, trace, chain=True)


def run_text(code: str, file: str, prog: Program) -> None:
    """Python with drgn's helpers as globals."""
    names = session_names(prog)
    sys.path.insert(0, "")
    exec(compile(code, file, "exec"), names)


def run_script(path: str, prog: Program) -> None:
    """A script with `prog` as a global; it imports what else it needs, and what lies beside it."""
    import drgn  # noqa: PLC0415 - optional: vm.drgn_program says where it is missing

    drgn.set_default_prog(prog)
    sys.path.insert(0, str(Path(path).resolve().parent))
    runpy.run_path(path, init_globals={"prog": prog}, run_name="__main__")


def run_session(prog: Program, target: str) -> None:
    """drgn's own prompt, with its history and completion."""
    import drgn.cli as prompt  # noqa: PLC0415

    click.echo(
        f"{prompt.version_header()}\n{target}, types from the guest's BTF, symbols from its kallsyms",
        err=True,
    )
    prompt.run_interactive(prog)


def session_names(prog: Program) -> dict[str, Any]:
    """The globals of a session: drgn's functions, its helpers, and the program they work on by default."""
    import drgn  # noqa: PLC0415
    from drgn.cli import default_globals  # noqa: PLC0415

    drgn.set_default_prog(prog)
    names: Callable[[Program], dict[str, Any]] = default_globals
    return names(prog)
