"""`vmon quarantine` and `release`: a process that may go on computing, and nothing else. Changes the guest."""

from __future__ import annotations

import click

from vmon.cli.attached import attached, target_argument


@click.command()
@target_argument
@click.argument("pid", type=int)
@click.option("--force", is_flag=True, help="Also init, and threads of the kernel.")
def quarantine(target: str, pid: int, force: bool) -> None:
    """Let the process PID of TARGET, and all that it starts, compute and read, and do nothing else.

    No exec, no change of a file, no connection, no tracing, until `vmon release TARGET PID`. What it has open stays
    open. It lasts when this command ends.
    """
    with attached(target) as vm:
        added = vm.quarantine(pid, force=force)
    click.echo(f"process {pid} is in quarantine: rules {', '.join(str(record.number) for record in added)}")


@click.command()
@target_argument
@click.argument("pid", type=int)
def release(target: str, pid: int) -> None:
    """Let the process PID of TARGET out of its quarantine."""
    with attached(target) as vm:
        vm.release(pid)
    click.echo(f"process {pid} is free")
