"""The main job in one go: boot a stock Debian guest, and see from outside which kernel and which processes it runs.

`./dev demo` runs this. Everything is done through vmon's public API; the lab only boots the guest and runs a
command in it, as its user would.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time

import click

import vmon
from vmon.cli import sockets
from vmon.cli.info import describe
from vmon.cli.output import cell, write_table
from vmon.cli.tree import draw
from vmon.core.errors import NoSuchProcess
from vmon.lab.guest import LabGuest

NAME = f"demo-{os.getpid()}"


def say(text: str) -> None:
    """A heading."""
    click.echo("\n" + click.style(f"== {text}", bold=True))


def main() -> None:
    """Boot, identify, list, watch, end."""
    begin = time.monotonic()
    say("a stock Debian guest boots in QEMU; nothing of vmon is in it")
    with LabGuest.up(NAME, kernel=sys.argv[1] if len(sys.argv) > 1 else "6.1") as guest:
        click.echo(f"QEMU process {guest.pid}, ready after {time.monotonic() - begin:.1f} s")
        with vmon.attach(NAME) as vm:
            look(vm, guest)
    click.echo(f"\nThe guest has been shut down. All of it took {time.monotonic() - begin:.1f} s.")
    click.echo(
        "Try next:  .venv/bin/vmon lab up web1  and then  .venv/bin/vmon ps web1  (tree, files, sockets, info)"
    )


def look(vm: vmon.VirtualMachine, guest: LabGuest) -> None:
    """What vmon sees of a guest that it has never met."""
    say("which kernel is this? read from its RAM alone")
    for line in describe(vm.guest):
        click.echo(line)

    start = time.perf_counter()
    processes = vm.processes()
    records = [process.record() for process in processes if not process.kernel_thread]
    took_ms = (time.perf_counter() - start) * 1e3
    say(
        f"its process tree: {len(processes)} processes, kernel threads left out here, read in {took_ms:.1f} ms"
    )
    for line in draw(records):
        click.echo(line)

    say("open files and sockets of the interesting ones")
    interesting = [process for process in processes if process.sockets() or len(process.files()) > 3]
    write_table(
        ("PID", "NAME", "FD", "MODE", "PATH"),
        [
            (file.pid, process.name, file.fd, file.mode, file.path)
            for process in interesting[:4]
            for file in process.files()
        ],
    )
    click.echo()
    write_table(sockets.HEADER, [sockets.row(socket) for socket in vm.sockets()])

    say("somebody in the guest opens a port: vmon sees it from outside")
    inside = "su -s /bin/sh alice -c 'timeout 1 nc -l -p 4444'"
    click.echo(f"inside:  {inside}")
    guest.run(f"(sleep 0.2; {inside}) >/dev/null 2>&1 &")
    started = time.monotonic()
    for change in vmon.sweep(vm, interval_s=0.02, timeout_s=6):
        command = " ".join(change.record.cmdline or [change.record.name])
        click.echo(
            f"outside, {time.monotonic() - started:4.2f} s: {change.kind:7} pid {change.record.pid} "
            f"uid {change.record.uid} {cell(command)}"
        )
        if change.record.name != "nc":
            continue
        if change.kind == "ended":
            break
        show_port(vm, change.process)


def show_port(vm: vmon.VirtualMachine, process: vmon.Process) -> None:
    """The port that a process opens, as soon as it has."""
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        sockets_now = []
        with contextlib.suppress(NoSuchProcess):
            sockets_now = vm.process(process.pid).sockets()
        for socket in sockets_now:
            if socket.state == "LISTEN":
                click.echo(
                    f"         it is on {socket.protocol} {socket.local_address}:{socket.local_port}, LISTEN"
                )
                return
        time.sleep(0.02)


if __name__ == "__main__":
    main()
