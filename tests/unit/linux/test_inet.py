from __future__ import annotations

import pytest

from tests.unit.linux.sockets import OLD_STRUCTS, STRUCTS, SYMBOLS, TCP, UDP, Sockets
from vmon.core.coverage import Gaps
from vmon.linux.inet import find_inet_socks
from vmon.linux.net import find_nets


def found(small: Sockets, gaps: Gaps) -> dict[str, list[int]]:
    kernel = small.kernel()
    tables = find_inet_socks(kernel, find_nets(kernel, gaps), gaps)
    return {name: sorted(socks.tolist()) for name, socks in tables.items() if socks.size}


@pytest.mark.parametrize("structs", [STRUCTS, OLD_STRUCTS], ids=["lhash2", "listening_hash"])
def test_every_table(structs: dict[str, str]) -> None:
    small, gaps = Sockets(structs), Gaps()
    tcp = [small.sock(2, "tcp_sock", sk_protocol=TCP), small.sock(10, "tcp_sock"), small.sock(2, skc_state=6)]
    listening = [small.sock(2), small.sock(10)]
    small.connect(0, tcp[0], tcp[1])
    small.connect(3, tcp[2])
    small.listen(1, *listening)
    udp, lite, raw, raw6, ping = (small.sock(2, sk_protocol=UDP) for _ in range(5))
    small.put_chain(small.udp["udp_table"] + 16, [udp])
    small.put_chain(small.udp["udplite_table"], [lite])
    small.put_chain(small.symbol("raw_v4_hashinfo") + 8 + 24, [raw])
    small.put_chain(small.symbol("raw_v6_hashinfo") + 8, [raw6])
    small.put_chain(small.symbol("ping_table") + 8, [ping], 1)
    assert found(small, gaps) == {
        "tcp": sorted(tcp), "tcp listening": sorted(listening), "udp": [udp], "udplite": [lite], "raw": [raw],
        "raw6": [raw6], "ping": [ping],
    }  # fmt: skip
    assert gaps.records() == []


def test_a_namespace_that_has_tables_of_its_own() -> None:
    small, gaps = Sockets(), Gaps()
    here, there, udp = small.sock(2), small.sock(2), small.sock(10)
    small.connect(0, here)
    ehash = small.alloc(8)
    small.put_chain(ehash, [there], 1)
    own = small.new("inet_hashinfo", ehash=ehash, lhash2=small.lhash, lhash2_mask=3)
    slots = small.alloc(16)
    small.put_chain(slots, [udp])
    small.set(small.other, "net", ipv4__tcp_death_row__hashinfo=own)
    small.set(small.other, "net", ipv4__udp_table=small.new("udp_table", hash=slots))
    small.set(small.first, "net", ipv4__tcp_death_row__hashinfo=small.symbol("tcp_hashinfo"))
    assert found(small, gaps) == {"tcp": sorted([here, there]), "udp": [udp]}
    assert gaps.records() == []


def test_tables_that_this_kernel_has_not_are_told() -> None:
    symbols = {
        name: size for name, size in SYMBOLS.items() if name in ("net_namespace_list", "init_net", "nl_table")
    }
    small, gaps = Sockets(STRUCTS, symbols | {"tcp_hashinfo": 128, "unix_socket_table": 8}), Gaps()
    assert found(small, gaps) == {}
    assert [(gap.what, gap.reason) for gap in gaps.records()] == [
        ("udp", "not on this kernel"),
        ("raw", "not on this kernel"),
        ("raw6", "not on this kernel"),
        ("ping", "not on this kernel"),
    ]


def test_entries_that_are_no_sockets_are_left_out_and_told() -> None:
    small, gaps = Sockets(), Gaps()
    good, bad = small.sock(2), small.sock(77)
    small.connect(1, bad, good)
    assert found(small, gaps) == {"tcp": [good]}
    assert [(gap.what, gap.reason, gap.count) for gap in gaps.records()] == [("tcp", "torn", 1)]


def test_tables_of_absurd_sizes_and_places() -> None:
    small, gaps = Sockets(), Gaps()
    small.set(small.symbol("tcp_hashinfo"), "inet_hashinfo", ehash_mask=0xFFFF_FFFF, lhash2=0x10)
    small.set(small.symbol("udp_table"), "udp_table", hash=0xFFFF_C900_0000_0000, mask=0xFFFF_FFFF)
    assert found(small, gaps) == {}
    # What one namespace claims is taken from what all may have.
    small.set(small.other, "net", ipv4__udp_table=small.new("udp_table", hash=small.ehash, mask=3))
    assert found(small, Gaps()) == {}
    assert {
        ("tcp", "bounded"),
        ("tcp listening", "unreadable"),
        ("udp", "unreadable"),
        ("udp", "bounded"),
    } <= {(gap.what, gap.reason) for gap in gaps.records()}
