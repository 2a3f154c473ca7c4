"""`vmon watch`: what happens in a guest, as it happens. Puts the probe into the guest, and takes it out at the end."""

from __future__ import annotations

import click

from vmon.cli.attached import attached, target_argument
from vmon.cli.live import keep_options, live_options, probed, show_kept
from vmon.core.errors import ProbeTampered, UsageError
from vmon.monitor.only import Only


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
    """
    if persist and tree_pid is not None:
        raise UsageError("a process tree does not outlive a reboot: --tree and --persist exclude each other")
    names = [name.strip() for word in events for name in word.split(",") if name.strip()]
    tampered = False
    with attached(target) as vm:
        tree = None if tree_pid is None else {record.key for record in vm.descendants(tree_pid)}
        only = Only(frozenset(pids), frozenset(uids), containers, tree)
        ring_bytes = ring_kib << 10
        with probed(vm, ring_bytes=ring_bytes, keep=keep):
            tampered = show_kept(
                vm,
                lambda: vm.event_stream(*names, only=only, ring_bytes=ring_bytes),
                seconds,
                output,
                ring_bytes=ring_bytes,
                persist=persist,
                repair=repair,
            )
    if tampered:
        raise ProbeTampered(
            "the guest changed the probe: what was seen and refused since may not be all",
            hint="the lines above tell what; --repair puts it right each time",
        )
