"""`vmon timers`, `vmon workqueues`: what a guest's kernel will do later. Reads the guest, changes nothing."""

from __future__ import annotations

import click

from vmon.cli.attached import attached, target_argument
from vmon.cli.listing import listing
from vmon.cli.output import View, output_option, write_records
from vmon.core.records.deferred import TimerRecord, WorkerPoolRecord, WorkqueueRecord

TIMERS = View(
    TimerRecord,
    ("KIND", "CPU", "CLOCK", "EXPIRES", "FUNCTION", "WORK", "PID", "STATE"),
    lambda record: (
        record.kind,
        record.cpu,
        record.clock,
        record.expires,
        record.function,
        record.work,
        record.pid,
        " ".join(record.state) or None,
    ),
    "no timer is set",
)
timers = listing(
    "timers",
    "List the timers that are set in the kernel of TARGET. EXPIRES is in nanoseconds by its clock, or jiffies.",
    TIMERS,
    lambda vm: vm.timers(),
)
QUEUES = View(
    WorkqueueRecord,
    ("WORKQUEUE", "FLAGS", "MAX", "ACTIVE", "RESCUER", "POOLS"),
    lambda record: (
        record.name,
        " ".join(record.flags) or None,
        record.max_active,
        record.active,
        record.rescuer_pid,
        ",".join(map(str, record.pools)) or None,
    ),
    "there is no workqueue",
)
POOLS = View(
    WorkerPoolRecord,
    ("POOL", "CPU", "NICE", "WORKERS", "IDLE", "PENDING", "PIDS", "RUNNING"),
    lambda record: (
        record.id,
        record.cpu,
        record.nice,
        record.workers,
        record.idle,
        record.pending,
        ",".join(map(str, record.worker_pids)) or None,
        ", ".join(record.running) or None,
    ),
    "there is no pool of workers",
)


@click.command("workqueues")
@target_argument
@click.option("--pools", is_flag=True, help="List the pools of workers instead.")
@output_option
def workqueues(target: str, pools: bool, output: str) -> None:
    """List the workqueues of the kernel of TARGET, or with --pools the kworker threads that serve them."""
    with attached(target) as vm:
        if pools:
            write_records(vm.worker_pools(), output, POOLS)
        else:
            write_records(vm.workqueues(), output, QUEUES)
