"""`vmon watch`: what happens in a guest, as it happens. Puts the probe into the guest, and takes it out at the end."""

from __future__ import annotations

import sys

import click

from vmon.cli.attached import attached, target_argument
from vmon.cli.output import cell, write_object
from vmon.core.events import Event, EventCounts


@click.command()
@target_argument
@click.option(
    "--on",
    "events",
    multiple=True,
    metavar="EVENTS",
    help="Only these, as file.open,process.exec; may be repeated.",
)
@click.option("--pid", "pids", type=int, multiple=True, help="Only of this process; may be repeated.")
@click.option("--uid", "uids", type=int, multiple=True, help="Only of this user; may be repeated.")
@click.option("--seconds", type=click.FloatRange(min=0), help="End after so long; else with Ctrl-C.")
@click.option(
    "--ring",
    "ring_kib",
    type=click.IntRange(64, 1024),
    default=1024,
    show_default=True,
    help="KiB of the guest's RAM for events.",
)
@click.option("--keep", is_flag=True, help="Leave the probe in the guest, idle.")
@click.option("-o", "--output", type=click.Choice(("table", "jsonl")), default="table", show_default=True)
def watch(
    target: str,
    events: tuple[str, ...],
    pids: tuple[int, ...],
    uids: tuple[int, ...],
    seconds: float | None,
    ring_kib: int,
    keep: bool,
    output: str,
) -> None:
    """Show what happens in TARGET as it happens: processes, files, connections.

    The probe is put into the guest, which stands still for a few milliseconds, and taken out at the end, unless rules
    are in force or it was there before.
    """
    names = [name.strip() for word in events for name in word.split(",") if name.strip()]
    with attached(target) as vm:
        put_in = vm.install_probe(ring_kib << 10)
        click.echo(
            f"probe: {put_in.sites} instructions changed in {put_in.paused_ms:.1f} ms"
            if put_in.installed
            else "probe: there already",
            err=True,
        )
        try:
            stream = vm.event_stream(*names)
            stream.start()
            try:
                for event in stream.follow(seconds):
                    if (not pids or event.pid in pids) and (not uids or event.uid in uids):
                        show(event, output)
            finally:
                stream.stop()
                for count in stream.counts():
                    tell_lost(count)
        finally:
            if put_in.installed and not keep and not vm.rules():
                report = vm.remove_probe()
                click.echo(f"probe: taken out in {report.paused_ns / 1e6:.1f} ms", err=True)


def show(event: Event, output: str) -> None:
    """One event, at once."""
    if output == "jsonl":
        write_object(event, output)
    else:
        click.echo(line(event))
    sys.stdout.flush()


def tell_lost(count: EventCounts) -> None:
    """Nothing is lost silently."""
    if count.lost:
        click.echo(f"lost: {count.lost:,} of {count.seen:,} {count.event}: the ring was full", err=True)


def line(event: Event) -> str:
    """One event for a person."""
    who = (
        f"{event.time_ns / 1e9:12.6f}  {event.event:<16} {event.pid:>6} {event.uid:>5} {cell(event.name):<15}"
    )
    verdict = "" if event.verdict == "allowed" else f"  {event.verdict.upper()} by rule {event.rule}"
    return f"{who} {detail(event)}{verdict}".rstrip()


def detail(event: Event) -> str:
    """The object of an event."""
    words: list[str] = []
    if event.cmdline:
        words.append(" ".join(event.cmdline))
    elif event.path is not None:
        words.append(event.path)
    if event.new_path is not None:
        words.append(f"-> {event.new_path}")
    if event.address is not None:
        host = f"[{event.address}]" if ":" in event.address else event.address
        words.append(f"{event.protocol} {host}:{event.port}")
    if event.signal is not None:
        words.append(f"signal {event.signal}")
    if event.target_pid is not None:
        words.append(f"pid {event.target_pid}")
    if event.exit_code is not None:
        code, signal = event.exit_code >> 8, event.exit_code & 0x7F
        words.append(f"by signal {signal}" if signal else f"status {code}")
    if event.new_uid is not None and event.event == "process.setuid":
        words.append(f"uid {event.new_uid} euid {event.new_euid}")
    if event.cut:
        words.append("(cut)")
    return cell(" ".join(words))
