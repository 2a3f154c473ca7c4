"""The controlling terminal hangs on signal_struct; its name is the driver's and the index.

Reads tty_struct and tty_driver. Sources: include/linux/tty.h, include/linux/tty_driver.h.
"""

from __future__ import annotations

from vmon.kernel.columns import Column, text_rows
from vmon.kernel.profile import Wants
from vmon.linux.kernel import Kernel, distinct

WANTS = Wants(
    structs={"tty_struct": "name index driver", "tty_driver": "type subtype"},
    enums=("tty_driver_type", "tty_driver_subtype"),
)
# Plain numbers until 6.16, then enumerations with values of their own.
TTY_DRIVER_TYPE_PTY = 4
PTY_TYPE_SLAVE = 2


def read_ttys(kernel: Kernel, ttys: Column) -> list[str | None]:
    """Name under /dev of each terminal: ttyS0, pts/3; None for a null pointer."""
    unique, which = distinct(ttys)
    columns = kernel.read("tty_struct", "name index driver", unique)
    drivers = kernel.read("tty_driver", "type subtype", columns["driver"])
    enums = kernel.profile.enums
    wanted = (
        enums.get("tty_driver_type", {}).get("TTY_DRIVER_TYPE_PTY", TTY_DRIVER_TYPE_PTY),
        enums.get("tty_driver_subtype", {}).get("PTY_TYPE_SLAVE", PTY_TYPE_SLAVE),
    )
    names: list[str] = []
    for name, index, kind, subtype in zip(
        text_rows(columns.raw("name")),
        columns["index"].tolist(),
        (drivers["type"] & 0xFFFF).tolist(),
        (drivers["subtype"] & 0xFFFF).tolist(),
        strict=True,
    ):
        slave = (kind, subtype) == wanted
        names.append(f"pts/{index}" if slave else name.decode("utf-8", "surrogateescape"))
    return [names[number] if number >= 0 else None for number in which.tolist()]
