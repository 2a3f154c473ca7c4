"""The columns of the process table: what each shows, how wide it is, and how it sorts.

Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from vmon.tui.source import Row
from vmon.tui.words import clean, size, span


@dataclass(slots=True)
class Context:
    """What a cell needs beside its process."""

    cpu: dict[str, float] = field(default_factory=dict)
    users: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Column:
    """One column."""

    name: str
    """As --sort takes it."""
    title: str
    width: int
    text: Callable[[Row, Context], str]
    order: Callable[[Row, Context], float | str]
    right: bool = False
    largest_first: bool = False
    least_screen: int = 0
    """Shown on screens that are at least so wide."""


def _cpu(row: Row, context: Context) -> str:
    used = context.cpu.get(row.key)
    return "-" if used is None else f"{used * 100:.1f}" if used < 9.995 else f"{used * 100:.0f}"


def _user(row: Row, context: Context) -> str:
    if row.uid is None:
        return "-"
    # The names of a container's users are in a file of its own.
    name = context.users.get(row.uid) if row.container is None else None
    return clean(name) if name else str(row.uid)


COLUMNS = (
    Column("pid", "PID", 7, lambda r, _: str(r.pid), lambda r, _: r.pid, right=True),
    Column("user", "USER", 8, _user, lambda r, _: -1 if r.uid is None else r.uid),
    Column("state", "S", 1, lambda r, _: clean(r.state), lambda r, _: r.state),
    Column("cpu", "CPU%", 5, _cpu, lambda r, c: c.cpu.get(r.key, 0.0), right=True, largest_first=True),
    Column("mem", "MEM", 5, lambda r, _: size(r.size), lambda r, _: r.size or 0, right=True, largest_first=True),
    Column(
        "threads", "THR", 4, lambda r, _: str(r.threads), lambda r, _: r.threads, right=True, largest_first=True
    ),
    Column(
        "start", "START", 9, lambda r, _: "+" + span(r.start_ns / 1e9), lambda r, _: r.start_ns,
        right=True, largest_first=True,
    ),
    Column(
        "time", "TIME", 8, lambda r, _: span(r.cpu_s), lambda r, _: r.cpu_s, right=True, largest_first=True,
        least_screen=100,
    ),
    Column("container", "CONTAINER", 12, lambda r, _: clean((r.container or "-")[:12]), lambda r, _: r.container or ""),
    Column("name", "NAME", 15, lambda r, _: clean(r.name), lambda r, _: r.name.lower(), least_screen=110),
    Column("command", "COMMAND", 0, lambda r, _: clean(r.command), lambda r, _: r.command.lower()),
)  # fmt: skip
"""The last one takes what is left of the line."""
BY_NAME = {column.name: column for column in COLUMNS}
NAMES = tuple(BY_NAME)


def shown(screen: int, *, containers: bool) -> list[Column]:
    """Those for a screen so wide; containers are shown where there are any."""
    return [
        column
        for column in COLUMNS
        if column.least_screen <= screen and (containers or column.name != "container")
    ]
