"""`vmon watch`: what happens in a guest, as it happens. Puts the probe into the guest, and takes it out at the end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vmon.cli.attached import attached, target_argument
from vmon.cli.live import Shown, keep_options, live_options, probed, show_kept
from vmon.cli.sigma import put_in_force, sigma_options
from vmon.core.detection import Severity
from vmon.core.errors import ProbeTampered, UsageError
from vmon.core.events import Event
from vmon.monitor.only import Only

if TYPE_CHECKING:
    from vmon.monitor.machine import VirtualMachine
    from vmon.monitor.sigma.reading import SigmaRules
    from vmon.monitor.stream import EventStream

    Way = tuple[Callable[[], EventStream], Callable[[Shown, Event], None]]
    """How a stream is come by, and what is shown of an event of it."""


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
@click.option("--uid", "--user", "uids", type=int, multiple=True, help="Only of this user; may be repeated.")
@click.option("--tree", "tree_pid", type=int, metavar="PID", help="Only of this process and its descendants.")
@click.option(
    "--container",
    "containers",
    multiple=True,
    metavar="ID",
    help="Only of this container; the beginning is enough.",
)
@sigma_options
@click.option(
    "--ring",
    "ring_kib",
    type=click.IntRange(64, 1024),
    default=1024,
    show_default=True,
    help="KiB of the guest's RAM for events.",
)
@click.option("--keep", is_flag=True, help="Leave the probe in the guest, idle.")
@keep_options
@live_options
def watch(
    target: str,
    events: tuple[str, ...],
    pids: tuple[int, ...],
    uids: tuple[int, ...],
    tree_pid: int | None,
    containers: tuple[str, ...],
    sigma: Path | None,
    sigma_level: Severity | None,
    seconds: float | None,
    ring_kib: int,
    keep: bool,
    persist: bool,
    repair: bool,
    output: str,
) -> None:
    """Show what happens in TARGET as it happens: processes, files, connections.

    The probe is put into the guest, which stands still for a few milliseconds, and taken out at the end, unless rules
    are in force or it was there before. What the guest changes about the probe is noticed within a second and told.

    With --sigma only what the rules find is shown, a line (or a record) for each rule that an event fits. Which rules
    can't be judged is said at the start; `vmon sigma DIR` tells all of it.
    """
    if sigma is not None and events:
        raise UsageError("the rules say themselves which events: --on and --sigma exclude each other")
    if sigma is None and sigma_level is not None:
        raise UsageError("--sigma-level is about the rules of --sigma")
    if persist and tree_pid is not None:
        raise UsageError("a process tree does not outlive a reboot: --tree and --persist exclude each other")
    names = [name.strip() for word in events for name in word.split(",") if name.strip()]
    rules = None if sigma is None else put_in_force(sigma, sigma_level)
    tampered = False
    with attached(target) as vm:
        tree = None if tree_pid is None else {record.key for record in vm.descendants(tree_pid)}
        only = Only(frozenset(pids), frozenset(uids), containers, tree)
        ring_bytes = ring_kib << 10
        with probed(vm, ring_bytes=ring_bytes, keep=keep):
            stream_of, show = _all_events(vm, names, only, ring_bytes)
            if rules is not None:
                stream_of, show = _detections(vm, rules, only, ring_bytes)
            tampered = show_kept(
                vm,
                stream_of,
                seconds,
                output,
                show=show,
                ring_bytes=ring_bytes,
                persist=persist,
                repair=repair,
            )
    if tampered:
        raise ProbeTampered(
            "the guest changed the probe: what was seen and refused since may not be all",
            hint="the lines above tell what; --repair puts it right each time",
        )


def _all_events(vm: VirtualMachine, names: list[str], only: Only, ring_bytes: int) -> Way:
    return lambda: vm.event_stream(*names, only=only, ring_bytes=ring_bytes), Shown.event


def _detections(vm: VirtualMachine, rules: SigmaRules, only: Only, ring_bytes: int) -> Way:
    from vmon.monitor.sigma.detecting import SigmaWatch  # noqa: PLC0415 - only where there are rules

    watch = SigmaWatch(vm, rules, only, lambda said: click.echo(f"sigma: {said}", err=True))

    def show(out: Shown, event: Event) -> None:
        for detection in watch.detections(event):
            out.detection(detection)

    return lambda: watch.stream(ring_bytes), show
