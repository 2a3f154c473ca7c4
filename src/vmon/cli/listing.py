"""Most commands list one view of a guest: what they share is here, what they show is where they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import click
import msgspec

from vmon.cli.attached import attached, target_argument
from vmon.cli.output import View, output_option, repeat, watch_option, write_records
from vmon.core.coverage import Answer
from vmon.monitor.machine import VirtualMachine

R = TypeVar("R", bound=msgspec.Struct)


def listing(name: str, text: str, view: View[R], ask: Callable[[VirtualMachine], Answer[R]]) -> click.Command:
    """The command `vmon NAME TARGET`, which shows all records of one view; `text` is its help."""

    @click.command(name, help=text)
    @target_argument
    @output_option
    @watch_option
    def command(target: str, output: str, watch_s: float | None) -> None:
        with attached(target) as vm:
            repeat(watch_s, lambda: write_records(ask(vm), output, view))

    return command
