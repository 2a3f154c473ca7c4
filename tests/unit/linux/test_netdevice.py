from __future__ import annotations

from tests.unit.linux.sockets import Sockets
from vmon.core.coverage import Gaps
from vmon.linux.netdevice import read_names


def test_names_by_number() -> None:
    small, gaps = Sockets(), Gaps()
    assert read_names(small.kernel(), small.first, gaps) == {2: "eth0"}
    assert read_names(small.kernel(), small.other, gaps) == {2: "tun\udcff"}
    assert gaps.records() == []


def test_a_list_that_breaks_is_told() -> None:
    small, gaps = Sockets(), Gaps()
    small.put(small.field(small.first, "net", "dev_base_head"), 0xFFFF_C900_0000_0000)
    assert read_names(small.kernel(), small.first, gaps) == {}
    assert [(gap.what, gap.reason) for gap in gaps.records()] == [("interfaces", "unreadable")]
