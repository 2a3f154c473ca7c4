"""What the guest's kernel said: the records of its log. Pure data."""

from __future__ import annotations

import msgspec


class LogRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One record of the kernel's log, as /dev/kmsg has it."""

    sequence: int
    """Counts from 0 at boot; a number that is left out was overwritten, or could not be read."""
    time: float
    """Seconds since boot by the log's own clock, which stands still while the guest sleeps."""
    facility: str
    """kern, user, daemon...: who said it. The kernel says kern; user is written to /dev/kmsg by programs."""
    level: str
    """emerg, alert, crit, err, warn, notice, info, debug."""
    text: str
    """May have several lines."""
    caller: str | None
    """T and the pid of the thread that said it, or C and the CPU where it was an interrupt.

    None where the kernel keeps neither.
    """
    process: str | None
    """Name of that thread; None where the kernel keeps none (Linux 6.18 and older, and others built so)."""
    subsystem: str | None
    """Of a message about a device."""
    device: str | None
    """`+pci:0000:00:01.0`, `b8:0`, `c1:3`, `n2`; of a message about a device."""
