"""`vmon lab host`: a host with a stock KVM on machines without one. Thin over vmon.lab.host.

The lab is imported by the command that needs it: `vmon ps` must not pay for it.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

import time

import click


@click.group()
def host() -> None:
    """A Debian host with stock KVM, run in the emulator."""


@host.command()
def up() -> None:
    """Boot the host and wait until it takes commands; makes its root file system the first time."""
    from vmon.lab.host.machine import KvmHost

    start = time.monotonic()
    booted = KvmHost.up().guest
    click.echo(
        f"the KVM host is up: Linux {booted.record.release}, pid {booted.pid}, in {time.monotonic() - start:.1f} s"
    )
    click.echo("try:  vmon lab host run -- vmon lab up try  and  vmon lab host run -- vmon ps try")


@host.command()
def down() -> None:
    """End the host and its guests."""
    from vmon.lab.host import machine

    click.echo("the KVM host is down" if machine.down() else "nothing to end")


@host.command()
def status() -> None:
    """Whether the host runs, and the guests in it; exit status 3 where it does not run."""
    from vmon.lab.host.machine import KvmHost

    running = KvmHost.find()
    record = running.guest.record
    click.echo(
        f"running: Linux {record.release}, pid {record.pid}, {record.cpus} CPUs, {record.ram_bytes >> 20} MiB, "
        f"up for {time.time() - record.created:.0f} s; its guests:"
    )
    running.run(["vmon", "lab", "list"])


@host.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_context
def run(context: click.Context, command: tuple[str, ...]) -> None:
    """Run COMMAND in the host as root, in this checkout; its output and exit status become this command's.

    One word is a line of shell, several are the arguments as they are.
    """
    from vmon.core.errors import UsageError
    from vmon.lab.host.machine import KvmHost

    if command[0] == "--":
        command = command[1:]
    if not command:
        raise UsageError("say what to run")
    context.exit(KvmHost.find().run(command[0] if len(command) == 1 else command))
