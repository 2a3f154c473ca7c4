"""`vmon tree`: the processes of a guest by descent. Reads the guest, changes nothing."""

from __future__ import annotations

import sys

import click

from vmon.cli.attached import attached, target_argument
from vmon.cli.output import cell, human_size, repeat, watch_option
from vmon.cli.ps import command
from vmon.core.records import ProcessRecord


@click.command()
@target_argument
@click.option("--kernel-threads", is_flag=True, help="Show the kernel's own threads too.")
@watch_option
def tree(target: str, kernel_threads: bool, watch_s: float | None) -> None:
    """Show the processes of TARGET as a tree."""
    with attached(target) as vm:

        def once() -> None:
            records = [p.record() for p in vm.processes() if kernel_threads or not p.kernel_thread]
            sys.stdout.writelines(line + "\n" for line in draw(records))

        repeat(watch_s, once)


def draw(records: list[ProcessRecord]) -> list[str]:
    """Lines of the tree; a process whose parent is not shown is a root. Loops of a lying guest are cut."""
    children: dict[str | None, list[ProcessRecord]] = {}
    keys = {record.key for record in records}
    for record in records:
        parent = record.parent_key if record.parent_key in keys and record.parent_key != record.key else None
        children.setdefault(parent, []).append(record)
    lines: list[str] = []
    seen: set[str] = set()
    stack = [(record, "", "") for record in reversed(children.get(None, []))]
    while stack:
        record, first, rest = stack.pop()
        if record.key in seen:
            continue
        seen.add(record.key)
        lines.append(first + label(record))
        below = children.get(record.key, [])
        for at, child in reversed(list(enumerate(below))):
            last = at == len(below) - 1
            stack.append((child, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  ")))
    lines.extend(
        label(record) + "  (its chain of parents is a loop)" for record in records if record.key not in seen
    )
    return lines


def label(record: ProcessRecord) -> str:
    """One process in a line."""
    size = f"  {human_size(record.resident_size)}" if record.resident_size is not None else ""
    threads = f"  {record.threads} threads" if record.threads > 1 else ""
    return f"{record.pid} {cell(command(record))}  uid {record.uid}{size}{threads}"
