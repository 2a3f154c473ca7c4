"""`vmon lab`: boot, list, command and end guests to try vmon on."""

from __future__ import annotations

import click


@click.group()
def lab() -> None:
    """Guests to try vmon on: stock Debian kernels booted in QEMU."""
