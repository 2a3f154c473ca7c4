"""`vmon lab`: boot, list, command and end guests to try vmon on. Thin over vmon.lab.guest.

The lab is imported by the command that needs it: `vmon ps` must not pay for it.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import click

from vmon.cli.lab_host import host

KERNELS = "a series (5.10, 6.1, 6.12, 6.18, 7.2, 7.3) or the path of a vmlinuz"


@click.group()
def lab() -> None:
    """Guests to try vmon on: stock Debian kernels booted in QEMU."""


lab.add_command(host)


@lab.command()
@click.argument("name")
@click.option(
    "--kernel", default="6.1", show_default=True, metavar="KERNEL", help=f"What to boot: {KERNELS}."
)
@click.option("--ram", default="512M", show_default=True, metavar="SIZE", help="RAM, such as 512M or 4G.")
@click.option("--cpus", default=1, show_default=True, metavar="N", help="Number of virtual CPUs.")
@click.option("--cpu", default="", metavar="MODEL", help="QEMU's -cpu instead of the default.")
@click.option("--machine", default="pc", show_default=True, type=click.Choice(["pc", "q35", "microvm"]))
@click.option(
    "--accel",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "kvm", "tcg"]),
    help="auto takes KVM where a trial guest boots under it.",
)
@click.option(
    "--ram-backend",
    default="memfd",
    show_default=True,
    type=click.Choice(["memfd", "anon", "file"]),
    help="How QEMU holds the RAM: shared memfd, private memory, or a shared file.",
)
@click.option(
    "--rootfs",
    default="busybox",
    show_default=True,
    type=click.Choice(["busybox", "debian"]),
    help="busybox in memory, or a minimal Debian on a disk (made once).",
)
@click.option("--disk", is_flag=True, help="A scratch ext4 disk at /mnt.")
@click.option("--nic", is_flag=True, help="A network card; the guest still does not reach the world.")
@click.option("--append", default="", metavar="WORDS", help="More of the kernel's command line.")
@click.option(
    "--overlay",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A folder whose files are laid over the guest's root (with debian: its lab/ alone).",
)
@click.option("--allow-reboot", is_flag=True, help="A reset boots again instead of ending the guest.")
def up(
    name: str,
    kernel: str,
    ram: str,
    cpus: int,
    cpu: str,
    machine: str,
    accel: str,
    ram_backend: str,
    rootfs: str,
    disk: bool,
    nic: bool,
    append: str,
    overlay: Path | None,
    allow_reboot: bool,
) -> None:
    """Boot a guest called NAME and wait until it takes commands."""
    from vmon.lab.guest import LabGuest
    from vmon.lab.qemu import parse_size

    start = time.monotonic()
    guest = LabGuest.up(
        name,
        kernel=kernel,
        ram_bytes=parse_size(ram),
        cpus=cpus,
        cpu=cpu,
        machine=machine,  # type: ignore[arg-type]
        accel=accel,  # type: ignore[arg-type]
        ram_backend=ram_backend,  # type: ignore[arg-type]
        rootfs=rootfs,  # type: ignore[arg-type]
        disk=disk,
        nic=nic,
        append=append,
        overlay=overlay,
        allow_reboot=allow_reboot,
    )
    click.echo(
        f"{name} is up: Linux {guest.record.release}, {guest.record.accel}, pid {guest.pid}, "
        f"in {time.monotonic() - start:.1f} s"
    )


@lab.command()
@click.argument("name", required=False)
@click.option("--all", "everyone", is_flag=True, help="All lab guests of this user.")
def down(name: str | None, everyone: bool) -> None:
    """End the guest NAME and take away its files."""
    from vmon.core.errors import UsageError
    from vmon.lab import guest

    if bool(name) == everyone:
        raise UsageError("say which guest, or --all")
    ended = guest.down_all() if name is None else [name] if guest.down(name) else []
    click.echo("\n".join(f"{one} is down" for one in ended) if ended else "nothing to end")


@lab.command("list")
@click.option("-o", "--output", default="table", show_default=True, type=click.Choice(["table", "json"]))
def list_(output: str) -> None:
    """The lab guests that are running."""
    from vmon.lab.guest import LabGuest

    guests = LabGuest.list()
    if output == "json":
        click.echo(json.dumps([guest.describe() for guest in guests], indent=2))
        return
    rows = [("NAME", "PID", "KERNEL", "RAM", "CPUS", "ACCEL", "MACHINE", "RAM BACKEND", "ROOTFS", "UP")]
    rows += [
        (
            guest.name,
            str(guest.pid),
            guest.record.release,
            f"{guest.record.ram_bytes >> 20}M",
            str(guest.record.cpus),
            guest.record.accel,
            guest.record.machine,
            guest.record.ram_backend,
            guest.record.rootfs,
            f"{time.time() - guest.record.created:.0f} s",
        )
        for guest in guests
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@lab.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("name")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--timeout", default=60.0, show_default=True, metavar="SECONDS", help="Kill it after that.")
@click.pass_context
def run(context: click.Context, name: str, command: tuple[str, ...], timeout: float) -> None:
    """Run COMMAND in the guest NAME as root; its output and exit status become this command's.

    One word is a line of shell, several are the arguments as they are.
    """
    from vmon.core.errors import UsageError
    from vmon.lab.guest import LabGuest

    if command[0] == "--":
        command = command[1:]
    if not command:
        raise UsageError("say what to run")
    done = LabGuest.find(name).run(command[0] if len(command) == 1 else command, timeout_s=timeout)
    sys.stdout.buffer.write(done.out)
    sys.stdout.buffer.flush()
    sys.stderr.buffer.write(done.err)
    sys.stderr.buffer.flush()
    context.exit(done.status)
