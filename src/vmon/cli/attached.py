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


def target_argument(function: F) -> F:
    """The TARGET argument."""
    return click.argument("target", metavar="TARGET")(function)


@contextmanager
def attached(target: str) -> Iterator[VirtualMachine]:
    """An attached guest, let go of at the end; Ctrl-C and SIGTERM end a command quietly."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    with attach(target) as vm:
        try:
            yield vm
        except KeyboardInterrupt:
            click.echo(err=True)
