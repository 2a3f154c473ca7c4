from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.unit.kernel.fuzz import WORD_VALUES, steady
from tests.unit.linux.sockets import OLD_STRUCTS, STRUCTS, TCP, UDP, Sockets
from vmon.core.coverage import Gaps
from vmon.core.records.process import SocketRecord
from vmon.linux.everysocket import OTHERS, find_every_socket
from vmon.linux.net import find_nets
from vmon.linux.socket import read_socks
from vmon.linux.socketrecord import SocketRecords

EDGE = (1 << 64) - 8


def every(
    small: Sockets, gaps: Gaps, held: list[SocketRecord] | None = None, number: int = 11
) -> list[SocketRecord]:
    kernel = small.kernel()
    nets = [net for net in find_nets(kernel, gaps) if net.inum == number]
    return find_every_socket(kernel, held or [], nets, gaps)


def record(small: Sockets, sk: int, pid: int) -> SocketRecord:
    """As a process that holds it has it."""
    kernel = small.kernel()
    states = read_socks(kernel, np.array([sk], dtype=np.uint64))
    return SocketRecords(kernel, states, {}).record(states[0], 700 + pid, (pid, 3, "name"))


@pytest.mark.parametrize("structs", [STRUCTS, OLD_STRUCTS], ids=["new", "old"])
def test_what_processes_hold_and_what_they_do_not(structs: dict[str, str]) -> None:
    small, gaps = Sockets(structs), Gaps()
    tcp: dict[str, int] = {"sk_protocol": TCP, "sk_type": 1}
    listener = small.sock(
        2, "tcp_sock", skc_state=10, skc_num=80, sk_ack_backlog=2, sk_wmem_alloc__refs__counter=1, **tcp
    )
    client = small.sock(
        2,
        "tcp_sock",
        skc_state=1,
        rcv_nxt=5,
        copied_seq=0xFFFF_FFFF,
        write_seq=9,
        snd_una=2,
        sk_uid=33,
        **tcp,
    )
    small.held(client, 4321)
    small.listen(0, listener)
    waiting = small.sock(
        2, "inet_timewait_sock", skc_state=6, tw_substate=5, skc_dport=(443).to_bytes(2, "big")
    )
    request = small.sock(10, skc_state=12, skc_v6_daddr=bytes(10) + b"\xff\xff" + bytes([10, 0, 0, 9]))
    small.connect(2, client, waiting, request, small.sock(2, "tcp_sock", net=small.other, skc_state=1, **tcp))
    udp = small.sock(
        2, "udp_sock", sk_type=2, sk_protocol=UDP, skc_num=53, skc_bound_dev_if=2, forward_deficit=28,
        sk_backlog__rmem_alloc__counter=128, sk_wmem_alloc__refs__counter=3, sk_kern_sock=1,
    )  # fmt: skip
    small.put_chain(small.udp["udp_table"], [udp])
    held = [record(small, listener, 42)]
    found = every(small, gaps, held)
    assert found[0] is held[0]
    assert (held[0].pid, held[0].rx_queue, held[0].tx_queue, held[0].state) == (42, 2, 0, "LISTEN")
    by_sock = {one.sock: one for one in found[1:]}
    assert set(by_sock) == {client, waiting, request, udp}
    one = by_sock[client]
    assert (one.rx_queue, one.tx_queue, one.uid, one.inode, one.pid) == (6, 7, 33, 4321, None)
    assert one.net_namespace == 11
    assert (by_sock[waiting].state, by_sock[waiting].remote_port, by_sock[waiting].uid) == (
        "FIN_WAIT2",
        443,
        None,
    )
    assert (by_sock[request].state, by_sock[request].remote_address) == ("NEW_SYN_RECV", "::ffff:10.0.0.9")
    assert (by_sock[request].protocol, by_sock[request].type) == ("tcp", "stream")
    one = by_sock[udp]
    assert (one.rx_queue, one.tx_queue, one.interface, one.kernel) == (100, 2, "eth0", True)
    assert [(gap.what, gap.reason) for gap in gaps.records()] == [(OTHERS, "not looked for")]
    assert [one.net_namespace for one in every(small, gaps, held, 22)] == [22]


def test_the_other_end_of_a_unix_socket() -> None:
    small, gaps = Sockets(), Gaps()
    one, other = (
        small.sock(1, "unix_sock", sk_type=1, skc_state=1),
        small.sock(1, "unix_sock", sk_type=1, skc_state=1),
    )
    alone = small.sock(1, "unix_sock", sk_type=2, sk_receive_queue__qlen=4)
    small.set(one, "unix_sock", peer=other)
    small.set(other, "unix_sock", peer=one)
    small.held(one, 100)
    small.held(other, 200)
    small.put_chain(small.unix[small.first], [one, other, alone])
    held = [record(small, one, 42)]
    assert (held[0].peer_inode, held[0].peer_pid) == (200, None)
    found = {record.sock: record for record in every(small, gaps, held)}
    assert (found[other].peer_inode, found[other].peer_pid, found[other].peer_process) == (100, 42, "name")
    assert (found[alone].peer_inode, found[alone].rx_queue, found[other].rx_queue) == (None, None, 0)


def test_packet_and_netlink_sockets_have_words_of_their_own() -> None:
    small, gaps = Sockets(), Gaps()
    kinds = {3: "all", 0x800: "ip", 0x88B5: "0x88b5", 0: ""}
    socks = [
        small.sock(17, "packet_sock", num=number.to_bytes(2, "big"), ifindex=2 + number % 2)
        for number in kinds
    ]
    small.put_chain(small.field(small.first, "net", "packet.sklist"), socks)
    found = {record.sock: record for record in every(small, gaps)}
    assert [found[sk].protocol for sk in socks] == list(kinds.values())
    assert {found[sk].interface for sk in socks} == {"eth0", "#3"}
    netlink = small.sock(16, "netlink_sock", portid=77, sk_protocol=9)
    assert (record(small, netlink, 1).portid, record(small, netlink, 1).protocol) == (77, "audit")


@steady(60)
@example([(place, EDGE) for place in range(60)])
@given(st.lists(st.tuples(st.integers(0, 30), WORD_VALUES), max_size=12))
def test_tables_of_any_bytes(changes: list[tuple[int, int]]) -> None:
    small, gaps = Sockets(), Gaps()
    socks = [small.sock(2, "tcp_sock", skc_state=1, sk_protocol=TCP) for _ in range(2)]
    small.connect(0, *socks)
    small.put_chain(small.udp["udp_table"], [small.sock(10)])
    small.put_chain(small.unix[small.first], [small.sock(1, "unix_sock")])
    small.put_chain(small.field(small.first, "net", "packet.sklist"), [small.sock(17, "packet_sock")])
    places = [
        *(small.node(sk) for sk in socks), small.ehash, small.lhash + 8, small.udp["udp_table"],
        *(small.symbol("tcp_hashinfo") + 8 * at for at in range(3)), small.symbol("udp_table"),
        small.symbol("udp_table") + 8, small.links, small.symbol("nl_table"), small.unix[small.first],
        small.field(small.first, "net", "unx.table.buckets"), small.field(small.first, "net", "packet.sklist"),
        small.field(small.first, "net", "ipv4.udp_table"), small.field(small.first, "net", "list"),
        small.symbol("ping_table"), small.symbol("raw_v4_hashinfo") + 8, *range(socks[0], socks[0] + 96, 8),
    ]  # fmt: skip
    for place, value in changes:
        small.put(places[place % len(places)], value)
    found = every(small, gaps)
    assert len(found) <= 40


def test_each_pointer_at_the_end_of_all_addresses() -> None:
    for place in range(35):
        test_tables_of_any_bytes.hypothesis.inner_test([(place, EDGE)])  # type: ignore[attr-defined]
