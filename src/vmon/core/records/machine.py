"""The guest's memory and CPUs as its kernel counts them. Pure data."""

from __future__ import annotations

import msgspec


class MemoryRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One line of /proc/meminfo."""

    name: str
    """As there: MemTotal, MemFree, Cached, SReclaimable..."""
    size: int
    """Bytes."""


class CpuRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One CPU that is present, with the times of /proc/stat since boot in seconds."""

    cpu: int
    online: bool
    user: float
    nice: float
    system: float
    idle: float
    """Without the time since an idle CPU last fell idle, which the kernel adds when it is asked."""
    iowait: float
    irq: float
    softirq: float
    steal: float
    guest: float
    """Part of user."""
    guest_nice: float
    """Part of nice."""
    vendor: str
    model_name: str
    family: int | None
    model: int | None
    stepping: int | None
    microcode: int | None


class LoadRecord(msgspec.Struct, frozen=True, kw_only=True):
    """How busy the guest is. What could not be read is None, and in the coverage."""

    uptime_ns: int | None
    """Since it booted, by its own clock, which an idle guest moves on at least once a second."""
    load_1: float | None
    """Load average of a minute, as /proc/loadavg has it."""
    load_5: float | None
    load_15: float | None
    cpus: list[int]
    """Numbers of the CPUs that are online."""
    busy: list[float]
    """Seconds that each of them was not idle since boot."""
