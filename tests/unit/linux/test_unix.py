from __future__ import annotations

import numpy as np
import pytest

from tests.unit.linux.sockets import OLD_STRUCTS, STRUCTS, SYMBOLS, Sockets
from vmon.core.coverage import Gaps
from vmon.linux.net import find_nets
from vmon.linux.unix import MAX_UNIX_NAME_BYTES, find_unix_socks, read_unix, read_unix_queues


@pytest.mark.parametrize("structs", [STRUCTS, OLD_STRUCTS], ids=["a table a namespace", "one table"])
def test_sockets_of_all_namespaces(structs: dict[str, str]) -> None:
    small, gaps = Sockets(structs), Gaps()
    one, two, there = (small.sock(1, "unix_sock", net=net) for net in (0, 0, small.other))
    small.put_chain(small.unix[small.first] + 8 * 511, [one, two])
    small.put_chain(small.unix[small.other], [there])
    kernel = small.kernel()
    nets = find_nets(kernel, gaps)
    assert sorted(find_unix_socks(kernel, nets, gaps).tolist()) == sorted([one, two, there])
    first = sorted(find_unix_socks(kernel, nets[:1], gaps).tolist())
    assert first == sorted([one, two, there] if small.old else [one, two])
    assert gaps.records() == []


def test_what_is_no_unix_socket_and_no_table() -> None:
    small, gaps = Sockets(), Gaps()
    small.put_chain(small.unix[small.first], [small.sock(2, "unix_sock")])
    kernel = small.kernel()
    assert find_unix_socks(kernel, find_nets(kernel, gaps), gaps).tolist() == []
    assert [(gap.what, gap.reason) for gap in gaps.records()] == [("unix", "torn")]
    symbols = {name: size for name, size in SYMBOLS.items() if name != "unix_socket_table"}
    small, gaps = Sockets({**STRUCTS, "unix_table": "locks:p other:p buckets:p"}, symbols), Gaps()
    bare = small.kernel()
    del bare.profile.structs["net"].fields["unx.table.buckets"]
    assert find_unix_socks(bare, find_nets(bare, gaps), gaps).tolist() == []
    assert [(gap.what, gap.reason) for gap in gaps.records()] == [("unix", "not on this kernel")]


@pytest.mark.parametrize("length", [12, -1, 1 << 30])
def test_names_are_cut_and_peers_are_as_they_stand(length: int) -> None:
    small = Sockets()
    address = small.new("unix_address", 200, len=length)
    small.write(small.field(address, "unix_address", "name"), b"\1\0" + b"/" * 180)
    named = small.sock(1, "unix_sock", addr=address, peer=0x1234)
    lost = small.sock(1, "unix_sock", addr=0xFFFF_C900_0000_0000)
    found = read_unix(small.kernel(), np.array([named, lost], dtype=np.uint64))
    assert found == {
        named: (b"/" * (min(length % (1 << 32), MAX_UNIX_NAME_BYTES) - 2), 0x1234),
        lost: (b"", 0),
    }
    assert read_unix(small.kernel(), np.zeros(0, dtype=np.uint64)) == {}


def test_what_waits_to_be_read() -> None:
    small = Sockets()
    stream, datagrams, lost = (small.sock(1, "unix_sock", sk_type=kind) for kind in (1, 2, 1))
    for sk in (stream, datagrams):
        buffers = [small.new("sk_buff", len=length) for length in (100, 50)]
        small.set(small.field(buffers[0], "sk_buff", "cb"), "unix_skb_parms", consumed=30 * (sk == stream))
        small.chain(small.field(sk, "sock", "sk_receive_queue"), buffers)
    small.put(small.field(lost, "sock", "sk_receive_queue"), 0xFFFF_C900_0000_0000)
    socks, kinds = np.array([stream, datagrams, lost], np.uint64), np.array([1, 2, 1], np.uint64)
    assert read_unix_queues(small.kernel(), socks, kinds) == [120, 100, None]
