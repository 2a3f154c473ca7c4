from __future__ import annotations

import numpy as np

from tests.unit.linux.interfaces import Interfaces
from vmon.core.coverage import Gaps
from vmon.linux.netstats import Counters, read_counters


def counters(made: Interfaces, kinds: list[str | None], gaps: Gaps) -> list[Counters]:
    return read_counters(made.kernel(), np.array(made.devices, dtype=np.uint64), kinds, gaps)


def test_counters_where_the_kernel_has_them() -> None:
    made, gaps = Interfaces(), Gaps()
    plain = made.device(
        b"plain", stats__rx_bytes=1, stats__rx_packets=2, stats__tx_bytes=3, stats__tx_packets=4
    )
    loopback = made.device(b"lo", asked=made.symbol("loopback_get_stats64"))
    made.each_cpu(loopback, "pcpu_lstats", {"packets": 1, "bytes": 100}, {"packets": 2, "bytes": 50})
    dummy = made.device(b"dummy", asked=0xFFFF_FFFF_C000_0000)
    made.each_cpu(dummy, "pcpu_lstats", {"packets": 1, "bytes": 10}, {"packets": 1, "bytes": 5})
    bridge = made.device(b"br0", asked=made.symbol("dev_get_tstats64"), stats__rx_bytes=7)
    made.each_cpu(bridge, "pcpu_sw_netstats", {"rx_bytes": 10, "tx_packets": 1}, {"rx_bytes": 20})
    for number, struct in ((2, "pcpu_sw_netstats"), (3, "pcpu_dstats"), (1, "pcpu_lstats")):
        device = made.device(b"x", pcpu_stat_type=number)
        made.each_cpu(device, struct, {"bytes" if number == 1 else "tx_bytes": number})
    assert plain
    assert counters(made, [None, None, "dummy", "bridge", None, None, None], gaps) == [
        Counters(1, 2, 3, 4),
        Counters(150, 3, 150, 3),
        Counters(0, 0, 15, 2),
        Counters(37, 0, 0, 1),
        Counters(0, 0, 2, 0),
        Counters(0, 0, 3, 0),
        # The kernel itself takes such counters for nobody's.
        Counters(0, 0, 0, 0),
    ]
    assert gaps.records() == []


def test_counters_of_a_driver_are_told() -> None:
    made, gaps = Interfaces(), Gaps()
    made.device(b"eth0", asked=0xFFFF_FFFF_C000_0000)
    made.device(b"v0", asked=0xFFFF_FFFF_C000_0100)
    assert counters(made, [None, "veth"], gaps) == [Counters(), Counters()]
    assert [(gap.reason, gap.detail) for gap in gaps.records()] == [
        ("not looked for", "a driver's own: hardware"),
        ("not looked for", "a driver's own: veth"),
    ]


def test_areas_of_cpus_that_are_nowhere() -> None:
    made, gaps = Interfaces(), Gaps()
    device = made.device(b"lo", asked=made.symbol("loopback_get_stats64"))
    made.set(device, "net_device", lstats=0xFFFF_F000_0000_0000)
    made.put(made.symbol("nr_cpu_ids"), 0xFFFF_FFFF, 4)
    assert len(counters(made, [None], gaps)) == 1
