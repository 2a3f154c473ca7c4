"""`vmon ps`: the processes of a guest. Reads the guest, changes nothing."""

from __future__ import annotations

import click

from vmon.cli.attached import attached, target_argument
from vmon.cli.output import View, human_size, output_option, repeat, watch_option, write_records
from vmon.core.coverage import Answer, Gaps
from vmon.core.records.content import HashedProcessRecord
from vmon.core.records.process import ProcessRecord
from vmon.monitor.process import Process

HEADER = ("PID", "PPID", "UID", "STATE", "THREADS", "RSS", "TTY", "STARTED", "NAME", "COMMAND")


@click.command()
@target_argument
@click.option("--user-only", is_flag=True, help="Leave out the kernel's own threads.")
@click.option("--pid", "pids", type=int, multiple=True, help="Only this process; may be repeated.")
@click.option("--hash", "hashed", is_flag=True, help="Add the sha256 of each executable, as it is in memory.")
@output_option
@watch_option
def ps(
    target: str, user_only: bool, pids: tuple[int, ...], hashed: bool, output: str, watch_s: float | None
) -> None:
    """List the processes of TARGET."""
    with attached(target) as vm:

        def once() -> None:
            if hashed:
                found = vm.hashed_processes(pids or None)
                kept = [record for record in found if not (user_only and record.kernel_thread)]
                write_records(Answer(kept, found.coverage), output, HASHED)
                return
            chosen = [vm.process(pid) for pid in pids] if pids else vm.processes()
            records = [p.record() for p in chosen if not (user_only and p.kernel_thread)]
            write_records(Answer(records, coverage(chosen)), output, VIEW)

        repeat(watch_s, once)


def coverage(chosen: Answer[Process] | list[Process]) -> Gaps:
    """What the records made of these lack. Those asked for one by one are each of a snapshot of its own."""
    gaps = Gaps()
    for found in [chosen] if isinstance(chosen, Answer) else chosen:
        gaps.add_all(found.coverage)
    return gaps


def row(record: ProcessRecord) -> tuple[object, ...]:
    """One line of the table."""
    return (
        record.pid,
        record.ppid,
        record.uid,
        record.state,
        record.threads,
        human_size(record.resident_size),
        record.tty,
        started(record.start_boottime_ns),
        record.name,
        command(record),
    )


def started(boottime_ns: int) -> str:
    """When it started, as time since the guest booted."""
    seconds = boottime_ns / 1e9
    if seconds < 60:
        return f"+{seconds:.1f}s"
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"+{hours}:{minutes:02}:{seconds:02}" if hours else f"+{minutes}:{seconds:02}"


def command(record: ProcessRecord) -> str:
    """The command line; the name in brackets for a kernel thread or a zombie, as ps writes it."""
    if record.cmdline is None:
        return f"({record.name}: arguments not in memory)"
    if not record.cmdline:
        return f"[{record.name}]" + (" <defunct>" if record.state == "Z" else "")
    return " ".join(record.cmdline)


VIEW = View(ProcessRecord, HEADER, row, "no process fits")
HASHED = View(
    HashedProcessRecord,
    (*HEADER[:-1], "SHA256", HEADER[-1]),
    lambda record: (*row(record)[:-1], record.sha256, row(record)[-1]),
    "no process fits",
)
