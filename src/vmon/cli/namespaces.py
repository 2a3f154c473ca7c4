"""Options that choose network namespaces, the same for every command that shows what is in one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import click

F = TypeVar("F", bound=Callable[..., object])


def namespace_option(function: F) -> F:
    """The --namespace option."""
    return click.option(
        "--namespace",
        type=int,
        metavar="INUM",
        help="Only the network namespace of this inode number, as in /proc/PID/ns/net.",
    )(function)


def all_namespaces_option(function: F) -> F:
    """The --all-namespaces option, of commands that look at the first one else."""
    return click.option("--all-namespaces", "every", is_flag=True, help="Those of every network namespace.")(
        function
    )
