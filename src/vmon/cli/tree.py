"""`vmon tree`: the processes of a guest by descent. Reads the guest, changes nothing."""

from __future__ import annotations

import sys
from pathlib import PurePosixPath

import click

from vmon.cli.attached import attached, target_argument
from vmon.cli.output import (
    cell,
    human_size,
    output_option,
    repeat,
    watch_option,
    write_coverage,
    write_records,
)
from vmon.cli.ps import VIEW, command
from vmon.core.coverage import Answer
from vmon.core.records.process import ProcessRecord

MAX_COMMAND = 100
MAX_INDENT = 180
"""Sixty generations; deeper ones start at the left again."""


@click.command()
@target_argument
@click.option("--kernel-threads", is_flag=True, help="Show the kernel's own threads too.")
@output_option
@watch_option
def tree(target: str, kernel_threads: bool, output: str, watch_s: float | None) -> None:
    """Show the processes of TARGET as a tree; in the other forms, as `vmon ps` has them, parents first."""
    with attached(target) as vm:

        def once() -> None:
            processes = vm.processes()
            records = [p.record() for p in processes if kernel_threads or not p.kernel_thread]
            if output == "table":
                sys.stdout.writelines(line + "\n" for line in draw(records))
                write_coverage(processes.coverage)
            else:
                ordered = [record for record, _, _ in descend(records)]
                write_records(Answer(ordered, processes.coverage), output, VIEW)

        repeat(watch_s, once)


def draw(records: list[ProcessRecord]) -> list[str]:
    """Lines of the tree."""
    return [
        indent + label(record) + ("  (its chain of parents is a loop)" if looped else "")
        for record, indent, looped in descend(records)
    ]


def descend(records: list[ProcessRecord]) -> list[tuple[ProcessRecord, str, bool]]:
    """Processes, each after its parent, with what is drawn before it and whether its parents are a loop.

    A process whose parent is not among them is a root. Loops of a lying guest are cut.
    """
    children: dict[str | None, list[ProcessRecord]] = {}
    keys = {record.key for record in records}
    for record in records:
        parent = record.parent_key if record.parent_key in keys and record.parent_key != record.key else None
        children.setdefault(parent, []).append(record)
    found: list[tuple[ProcessRecord, str, bool]] = []
    seen: set[str] = set()
    stack = [(record, "", "") for record in reversed(children.get(None, []))]
    while stack:
        record, first, rest = stack.pop()
        if record.key in seen:
            continue
        seen.add(record.key)
        found.append((record, first, False))
        below = children.get(record.key, [])
        if len(rest) > MAX_INDENT:
            rest = "…  "
        for at, child in reversed(list(enumerate(below))):
            last = at == len(below) - 1
            stack.append((child, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  ")))
    found.extend((record, "", True) for record in records if record.key not in seen)
    return found


def label(record: ProcessRecord) -> str:
    """One process in a line: name, command, executable where the command does not say it, user, memory."""
    words = cell(command(record))
    parts = [f"{record.pid} {words if len(words) <= MAX_COMMAND else words[:MAX_COMMAND] + '…'}"]
    first = record.cmdline[0] if record.cmdline else ""
    if first and PurePosixPath(first).name[:15] != record.name:
        parts.append(f"name {cell(record.name)}")
    if record.exe is not None and (record.exe_deleted or first != record.exe):
        parts.append(f"exe {cell(record.exe)}{' (deleted)' if record.exe_deleted else ''}")
    parts.append(f"uid {cell(record.uid)}")
    if record.resident_size is not None:
        parts.append(human_size(record.resident_size) or "")
    if record.threads > 1:
        parts.append(f"{record.threads} threads")
    if record.container_id:
        parts.append(f"container {cell(record.container_id[:12])}")
    return "  ".join(parts)
