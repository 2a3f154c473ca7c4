"""`vmon stack`: where the threads of a process are. Reads the guest, changes nothing."""

from __future__ import annotations

import click

from vmon.cli.attached import attached, target_argument
from vmon.cli.output import View, cell, output_option, write_records
from vmon.core.coverage import said
from vmon.core.records.memory import FrameRecord, StackRecord
from vmon.core.text import printable

IN_A_ROW = 4


@click.command()
@target_argument
@click.argument("pid", type=int)
@click.option("--thread", "tid", type=int, help="This thread alone.")
@output_option
def stack(target: str, pid: int, tid: int | None, output: str) -> None:
    """Show where the threads of process PID in TARGET are: registers in user space, functions in the kernel.

    A ? marks a frame that is a guess.
    """
    with attached(target) as vm:
        records = vm.stack(pid, tid)
        if output != "table":
            write_records(records, output, VIEW)
            return
        for record in records:
            click.echo("\n".join(thread_lines(record)))
        if records.coverage:
            click.echo("not seen: " + "; ".join(printable(said(gap)) for gap in records.coverage), err=True)


def thread_lines(record: StackRecord) -> list[str]:
    """One thread in words."""
    where = f" on CPU {record.on_cpu}" if record.on_cpu is not None else ""
    call = f", system call {record.syscall}" if record.syscall is not None else ""
    lines = [f"thread {record.tid} {cell(record.name)}: {record.state}{where}{call}"]
    registers = list((record.registers or {}).items())
    for at in range(0, len(registers), IN_A_ROW):
        row = registers[at : at + IN_A_ROW]
        lines.append("    " + "  ".join(f"{name:>8}={value:016x}" for name, value in row))
    lines += [f"  {'' if frame.sure else '? '}{frame_text(frame)}" for frame in record.frames]
    return lines


def frame_text(frame: FrameRecord) -> str:
    """As in an oops: name+0x1a, and the module in brackets."""
    module = f" [{cell(frame.module)}]" if frame.module else ""
    name = f"{cell(frame.symbol)}+{frame.offset:#x}" if frame.symbol else f"{frame.address:#x}"
    return name + module


VIEW = View(StackRecord, ("TID", "NAME", "STATE"), lambda record: (record.tid, record.name, record.state), "")
