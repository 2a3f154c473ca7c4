"""A route leads to one or several nexthops: its own, or those of a nexthop object that routes share.

Reads fib_nh_common, nexthop, nh_info, nh_group. A hostile guest can claim any number of them: bounded. A nexthop that
is freed meanwhile shows what came after it. Sources: include/net/ip_fib.h, include/net/nexthop.h, net/ipv4/nexthop.c.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from vmon.core.coverage import Gaps
from vmon.kernel.columns import Column
from vmon.kernel.profile import Wants
from vmon.linux.inet import AF_INET, AF_INET6
from vmon.linux.kernel import Kernel
from vmon.linux.netdevice import read_device_names
from vmon.linux.socket import address_text

MAX_WAYS = 1024
MAX_ALL_WAYS = 1_000_000
FIELDS = "nhc_dev nhc_gw_family nhc_gw nhc_weight nhc_flags"
OBJECT_FIELDS = "is_group nh_info"
WANTS = Wants(
    structs={
        "fib_nh_common": FIELDS,
        "nexthop": OBJECT_FIELDS,
        "nh_info": "fib_nhc",
        "nh_group": "num_nh nh_entries",
        "nh_grp_entry": "nh weight",
    }
)
SIZES = {AF_INET: 4, AF_INET6: 16}
FLAG_NAMES = ("dead", "pervasive", "onlink", "offload", "linkdown", "unresolved", "trap")
"""RTNH_F_..., lowest bit first."""


class Way(NamedTuple):
    """One nexthop."""

    interface: str | None
    gateway: str | None
    weight: int
    flags: list[str]


def find_ways(
    kernel: Kernel, first: Column, counts: Column, stride: int, objects: Column, gaps: Gaps
) -> Iterator[tuple[Way, int]]:
    """Every way of many routes, each with the number of its route.

    A route has `counts` ways from `first` on, `stride` bytes apart, or those of a nexthop object.
    """
    counts = np.where(objects == 0, counts, 0).astype(np.int64)
    if (counts > MAX_WAYS).any() or int(counts.sum()) > MAX_ALL_WAYS:
        gaps.add("nexthops", "bounded", f"routes that claim more than {MAX_WAYS:,}")
        counts = np.minimum(counts, 1)
    which = np.repeat(np.arange(counts.size), counts)
    places = np.arange(which.size) - np.repeat(np.cumsum(counts) - counts, counts)
    commons = first[which] + places.astype(np.uint64) * np.uint64(stride)
    yield from zip(_read_ways(kernel, commons), which.tolist(), strict=True)
    shared = np.flatnonzero(objects != 0)
    for way, row in _of_objects(kernel, objects[shared], gaps):
        yield way, int(shared[row])


def _read_ways(kernel: Kernel, commons: Column) -> list[Way]:
    """What each fib_nh_common says."""
    columns = kernel.read("fib_nh_common", FIELDS, commons)
    names = read_device_names(kernel, columns["nhc_dev"])
    gateways = columns.raw("nhc_gw", 16)
    result = []
    for row, (family, weight, flags) in enumerate(
        zip(
            columns["nhc_gw_family"].tolist(),
            columns["nhc_weight"].tolist(),
            columns["nhc_flags"].tolist(),
            strict=True,
        )
    ):
        size = SIZES.get(family, 0)
        gateway = address_text(gateways[row, :size].tobytes()) if size else None
        words = [name for bit, name in enumerate(FLAG_NAMES) if flags >> bit & 1]
        result.append(Way(names[row], gateway, weight, words))
    return result


def _of_objects(kernel: Kernel, objects: Column, gaps: Gaps) -> Iterator[tuple[Way, int]]:
    """The ways of nexthop objects, each with the number of its object: a group is those of its members."""
    columns = kernel.read("nexthop", OBJECT_FIELDS, objects)
    single = np.flatnonzero(columns["is_group"] == 0)
    yield from zip(_of_infos(kernel, columns["nh_info"][single]), single.tolist(), strict=True)
    stride, left = kernel.profile["nh_grp_entry"].size, MAX_ALL_WAYS
    for row in np.flatnonzero(columns["is_group"] != 0).tolist():
        group = int(columns["nh_info"][row])
        count = int(kernel.read_one("nh_group", "num_nh", group)["num_nh"][0])
        left -= count
        if count > MAX_WAYS or left < 0:
            gaps.add("nexthops", "bounded", f"a group that claims {count:,}")
            continue
        places = np.full(count, group, dtype=np.uint64) + np.uint64(kernel.offset("nh_group", "nh_entries"))
        places += np.arange(count, dtype=np.uint64) * np.uint64(stride)
        entries = kernel.read("nh_grp_entry", "nh weight", places)
        infos = kernel.read("nexthop", OBJECT_FIELDS, entries["nh"])["nh_info"]
        for way, weight in zip(_of_infos(kernel, infos), entries["weight"].tolist(), strict=True):
            yield way._replace(weight=weight), row


def _of_infos(kernel: Kernel, infos: Column) -> list[Way]:
    return _read_ways(kernel, infos + np.uint64(kernel.offset("nh_info", "fib_nhc")))
