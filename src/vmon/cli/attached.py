"""What commands on one guest share: the TARGET argument and attaching to it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from vmon.monitor.attach import attach
from vmon.monitor.machine import VirtualMachine

F = TypeVar("F", bound=Callable[..., Any])


SYMBOLS = "vmon.symbols"


def _keep_symbols(context: click.Context, _: click.Parameter, value: str | None) -> None:
    context.meta[SYMBOLS] = value


def target_argument(function: F) -> F:
    """The TARGET argument of a command that looks into the guest, and --symbols for a guest without types."""
    function = click.option(
        "--symbols",
        metavar="FILE",
        type=click.Path(),
        expose_value=False,
        callback=_keep_symbols,
        help="For a kernel without BTF: its types from a Volatility symbol file or a vmlinux.",
    )(function)
    return bare_target_argument(function)


def bare_target_argument(function: F) -> F:
    """The TARGET argument of a command to which types from a file mean nothing."""
    return click.argument("target", metavar="TARGET")(function)


@contextmanager
def attached(target: str) -> Iterator[VirtualMachine]:
    """An attached guest, let go of at the end; Ctrl-C and SIGTERM end a command quietly."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    symbols = click.get_current_context().meta.get(SYMBOLS)
    with attach(target) if symbols is None else attach(target, symbols=symbols) as vm:
        try:
            yield vm
        except KeyboardInterrupt:
            click.echo(err=True)
