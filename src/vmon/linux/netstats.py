"""An interface counts what it sends and receives in its net_device, or for each CPU apart, or its driver does.

Reads net_device.stats and per-CPU counters, where the kernel's own code would. A hostile guest decides the numbers, not
how many CPUs are asked. The counters move while they are read: each is right, their sum is of about one moment.
Sources: net/core/dev.c dev_get_stats, drivers/net/loopback.c, drivers/net/dummy.c, include/linux/netdevice.h.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vmon.core.coverage import Gaps
from vmon.core.errors import GuestDataError
from vmon.kernel.columns import Column
from vmon.kernel.profile import Wants
from vmon.linux.kernel import Kernel
from vmon.linux.mm import read_percpu_offsets

NAMES = "rx_bytes rx_packets tx_bytes tx_packets"
OWN = " ".join(f"stats.{name}" for name in NAMES.split())
# lstats, tstats and dstats are one pointer; which it is, is said by pcpu_stat_type since 6.7 (34d21de99cea).
WANTS = Wants(
    symbols=("__per_cpu_offset", "nr_cpu_ids", "dev_get_tstats64", "loopback_get_stats64"),
    structs={
        "net_device": f"{OWN} netdev_ops lstats pcpu_stat_type",
        "net_device_ops": "ndo_get_stats64 ndo_get_stats",
        "pcpu_lstats": "packets bytes",
        "pcpu_sw_netstats": NAMES,
        "pcpu_dstats": NAMES,
    },
    enums=("netdev_stat_type",),
)
EACH_CPU = {"NETDEV_PCPU_STAT_TSTATS": "pcpu_sw_netstats", "NETDEV_PCPU_STAT_DSTATS": "pcpu_dstats"}


class Counters(NamedTuple):
    """Of one interface; None where they are not known."""

    rx_bytes: int | None = None
    rx_packets: int | None = None
    tx_bytes: int | None = None
    tx_packets: int | None = None


def read_counters(kernel: Kernel, devices: Column, kinds: Sequence[str | None], gaps: Gaps) -> list[Counters]:
    """Counters of each net_device; `kinds` is what makes each."""
    columns = kernel.read("net_device", f"{OWN} netdev_ops lstats pcpu_stat_type", devices)
    ops = kernel.read("net_device_ops", "ndo_get_stats64 ndo_get_stats", columns["netdev_ops"])
    own = [[int(columns[name][row]) for name in OWN.split()] for row in range(len(devices))]
    types = {number: EACH_CPU.get(name, "") for name, number in _stat_types(kernel).items()}
    said = columns["pcpu_stat_type"].tolist() if "pcpu_stat_type" in columns else [0] * len(devices)
    tunnel, loopback = (
        int(kernel.symbol(name)) if kernel.has_symbol(name) else -1
        for name in ("dev_get_tstats64", "loopback_get_stats64")
    )
    offsets = _cpu_offsets(kernel, gaps)
    result = []
    for row, (asked, older, area) in enumerate(
        zip(
            ops["ndo_get_stats64"].tolist(),
            ops["ndo_get_stats"].tolist(),
            columns["lstats"].tolist(),
            strict=True,
        )
    ):
        kind = kinds[row]
        if asked == loopback or (kind == "dummy" and asked):
            packets, sent = _sum(kernel, "pcpu_lstats", "packets bytes", area, offsets)
            received = (sent, packets) if asked == loopback else (0, 0)
            result.append(Counters(*received, sent, packets))
        elif asked == tunnel or not (asked or older):
            struct = "pcpu_sw_netstats" if asked == tunnel else types.get(said[row], "")
            more = _sum(kernel, struct, NAMES, area, offsets) if struct and area else [0] * 4
            result.append(Counters(*(one + other for one, other in zip(own[row], more, strict=True))))
        else:
            gaps.add("counters", "not looked for", f"a driver's own: {kind or 'hardware'}")
            result.append(Counters())
    return result


def _stat_types(kernel: Kernel) -> dict[str, int]:
    return kernel.profile.enums.get("netdev_stat_type", {})


def _cpu_offsets(kernel: Kernel, gaps: Gaps) -> Column:
    try:
        return np.array(read_percpu_offsets(kernel), dtype=np.uint64)
    except GuestDataError as error:
        gaps.add("counters", "unreadable", error.message)
        return np.zeros(0, dtype=np.uint64)


def _sum(kernel: Kernel, struct: str, fields: str, area: int, offsets: Column) -> list[int]:
    """The sum of each field over all CPUs. Unsigned, as the counters are: it wraps."""
    columns = kernel.read(struct, fields, offsets + np.uint64(area))
    return [int(columns[field].sum(dtype=np.uint64)) for field in fields.split()]
