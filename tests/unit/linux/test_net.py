from __future__ import annotations

import numpy as np
import pytest

from tests.unit.linux.small import Small
from vmon.core.coverage import Gaps
from vmon.core.errors import UsageError
from vmon.linux.net import WANTS, Net, choose_nets, find_nets, read_inums

STRUCTS = {"ns_common": "ops:p inum:u32", "net": "list:list_head ns:ns_common"}


def made() -> tuple[Small, list[int]]:
    small = Small(WANTS, STRUCTS, {"net_namespace_list": 16, "init_net": 64})
    nets = [small.symbol("init_net"), small.new("net", ns__inum=22), small.new("net", ns__inum=33)]
    small.set(nets[0], "net", ns__inum=11)
    nodes = [small.field(net, "net", "list") for net in (nets[1], nets[0], nets[2])]
    small.chain(small.symbol("net_namespace_list"), nodes)
    return small, nets


def test_the_first_namespace_is_first() -> None:
    small, nets = made()
    gaps = Gaps()
    found = find_nets(small.kernel(), gaps)
    assert found == [Net(nets[0], 11), Net(nets[1], 22), Net(nets[2], 33)]
    assert gaps.records() == []
    assert read_inums(small.kernel(), np.array([0, nets[2], nets[0], nets[2]], dtype=np.uint64)) == {
        nets[0]: 11,
        nets[2]: 33,
    }


def test_a_list_that_has_no_end_leaves_the_first() -> None:
    small, nets = made()
    small.put(small.field(nets[2], "net", "list"), small.field(nets[1], "net", "list"))
    gaps = Gaps()
    assert [net.inum for net in find_nets(small.kernel(), gaps)] == [11]
    assert [(gap.what, gap.reason) for gap in gaps.records()] == [("network namespaces", "unreadable")]


def test_one_is_chosen_and_what_is_left_out_is_told() -> None:
    nets = [Net(8 * number, number) for number in range(1, 8)]
    gaps = Gaps()
    assert choose_nets(nets, 3, False, gaps) == [nets[2]]
    assert choose_nets(nets, None, True, gaps) == nets
    assert choose_nets(nets[:1], None, False, gaps) == nets[:1]
    assert gaps.records() == []
    assert choose_nets(nets, None, False, gaps) == nets[:1]
    (gap,) = gaps.records()
    assert (gap.reason, gap.count, gap.detail) == ("not looked for", 6, "2, 3, 4, 5, ...")
    with pytest.raises(UsageError, match="no network namespace 9"):
        choose_nets(nets, 9, False, gaps)
