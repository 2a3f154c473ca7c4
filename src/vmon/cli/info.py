"""`vmon info`: which kernel runs in a guest and how vmon knows. Reads the guest, changes nothing."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

import click

from vmon.cli.attached import attached, target_argument
from vmon.cli.output import cell, human_size, write_object
from vmon.core.records.guest import GuestRecord


@click.command()
@target_argument
@click.option("-o", "--output", type=click.Choice(("table", "json")), default="table", show_default=True)
def info(target: str, output: str) -> None:
    """Say which kernel runs in TARGET, and how vmon knows."""
    with attached(target) as vm:
        guest = vm.guest
    if output == "json":
        write_object(guest, output)
    else:
        sys.stdout.writelines(line + "\n" for line in describe(guest))


def describe(guest: GuestRecord) -> list[str]:
    """The answer for a person."""
    boot = datetime.fromtimestamp(guest.boot_time, UTC).isoformat(" ", "seconds") if guest.boot_time else None
    how = "a known build" if guest.profile_from_cache else "a build never met before"
    rows: list[tuple[str, object]] = [
        ("release", f"{guest.os} {guest.release}"),
        ("version", guest.version),
        ("build id", guest.build_id),
        ("hostname", guest.hostname),
        ("booted", boot),
        ("architecture", f"{guest.architecture}, {guest.paging_levels}-level paging"),
        ("CPUs online", guest.cpus_online),
        ("memory", f"{human_size(guest.memory_total)} managed of {human_size(guest.ram_size)} RAM"),
        ("modules", guest.modules),
        ("command line", guest.command_line),
        ("kernel text", f"{guest.text_address:#x}, KASLR slide {guest.kaslr_slide:#x}"),
        ("hypervisor", f"{guest.hypervisor}, RAM by {guest.ram_access}"),
        (
            "identified",
            f"in {guest.identified_ms:.1f} ms: {how}, {guest.symbols:,} symbols, {guest.types:,} types",
        ),
    ]
    lines = [f"{name:<13} {cell(value)}" for name, value in rows]
    lines.append("evidence")
    lines.extend(
        f"  {'ok ' if item.passed else 'NO '} {item.check:<13} {cell(item.detail)}" for item in guest.evidence
    )
    lines.append("not seen")
    lines.extend(f"  {cell(text)}" for text in guest.coverage)
    return lines
