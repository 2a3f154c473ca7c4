from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kernel.fuzz import WORD_VALUES, steady
from tests.unit.linux.build import Guest
from vmon.core.errors import GuestDataError
from vmon.linux.socket import SocketState, read_sockets
from vmon.linux.unix import MAX_UNIX_NAME_BYTES

C = "__sk_common."
WILD = 0xFFFF_F000_0000_0000


def make(guest: Guest, kind: str = "sock", family: int = 2, **values: int | bytes) -> int:
    """A struct socket over a sock with these fields; those of the common part by their short names."""
    common = {C + name: value for name, value in values.items() if name.startswith("skc_")}
    rest = {name: value for name, value in values.items() if not name.startswith("skc_")}
    sock_fields = {name: value for name, value in rest.items() if name.startswith("sk_")}
    sk = guest.new(kind, {name: value for name, value in rest.items() if not name.startswith("sk_")})
    guest.set(sk, "sock", {C + "skc_family": family, **common, **sock_fields})
    return guest.new("socket", {"sk": sk})


def read(guest: Guest, *sockets: int) -> list[SocketState]:
    found = read_sockets(guest.kernel(), np.array(sockets, dtype=np.uint64))
    return [found[socket] for socket in sockets if socket in found]


def unix(guest: Guest, name: bytes, length: int | None = None) -> int:
    address = guest.new("unix_address", {"len": len(name) if length is None else length}, extra=len(name))
    guest.write(guest.at(address, "unix_address", "name"), name)
    return make(guest, "unix_sock", 1, addr=address, skc_state=1, sk_type=1)


def test_a_connection() -> None:
    guest = Guest("new")
    made = make(
        guest,
        skc_state=1,
        skc_num=43210,
        skc_dport=(443).to_bytes(2, "big"),
        skc_rcv_saddr=bytes([10, 0, 0, 5]),
        skc_daddr=bytes([192, 0, 2, 1]),
        sk_type=1,
        sk_protocol=6,
    )
    assert read(guest, made) == [
        SocketState(
            family="inet", type="stream", protocol="tcp", local_address="10.0.0.5", local_port=43210,
            remote_address="192.0.2.1", remote_port=443, state="ESTABLISHED", path=b"", peer=0,
            sock=guest.get(made, "socket", "sk"),
        )
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("protocol", "state", "name"),
    [(6, 10, "LISTEN"), (6, 8, "CLOSE_WAIT"), (6, 99, "99"), (17, 7, "NONE"), (17, 1, "ESTABLISHED")],
)  # fmt: skip
def test_states(protocol: int, state: int, name: str) -> None:
    guest = Guest("new")
    assert read(guest, make(guest, skc_state=state, sk_protocol=protocol))[0].state == name


def test_ipv6_mapped_and_plain() -> None:
    guest = Guest("new")
    mapped = bytes(10) + b"\xff\xff" + bytes([192, 0, 2, 9])
    made = make(guest, family=10, skc_v6_daddr=mapped, skc_v6_rcv_saddr=bytes(15) + b"\1", skc_num=22)
    state = read(guest, made)[0]
    assert (state.local_address, state.local_port) == ("::1", 22)
    assert state.remote_address in ("::ffff:192.0.2.9", "::ffff:c000:209")


def test_families_types_and_protocols_without_a_name_are_numbers() -> None:
    guest = Guest("new")
    state = read(guest, make(guest, family=99, sk_type=77, sk_protocol=250))[0]
    assert (state.family, state.type, state.protocol, state.local_port) == ("99", "77", "", None)
    assert read(guest, make(guest, family=2, sk_protocol=250))[0].protocol == "250"
    assert read(guest, make(guest, family=16))[0].family == "netlink"


def test_names_of_unix_sockets() -> None:
    guest = Guest("new")
    cases = {
        b"\1\0/run/a.sock\0": b"/run/a.sock",
        b"\1\0/run/b": b"/run/b",
        b"\1\0\0abstract\0x": b"\0abstract\0x",
        b"\1\0": b"",
        b"\1\0/\xff\n\0": b"/\xff\n",
    }
    made = [unix(guest, name) for name in cases]
    assert [state.path for state in read(guest, *made)] == list(cases.values())
    peer = guest.new("unix_sock")
    connected = make(guest, "unix_sock", 1, peer=peer, skc_state=1)
    assert (read(guest, connected)[0].peer, read(guest, connected)[0].path) == (peer, b"")


@pytest.mark.parametrize("length", [-1, 0x7FFF_FFFF, 5000])
def test_a_unix_name_that_claims_gigabytes_is_cut(length: int) -> None:
    guest = Guest("new")
    made = unix(guest, b"\1\0" + b"A" * 200, length)
    assert read(guest, made)[0].path == b"A" * (MAX_UNIX_NAME_BYTES - 2)


def test_a_unix_address_that_is_nowhere_is_no_name() -> None:
    guest = Guest("new")
    made = make(guest, "unix_sock", 1, addr=WILD)
    assert read(guest, made, unix(guest, b"\1\0/x\0"))[0].path == b""


def test_sockets_that_are_torn_down_or_nowhere_are_left_out() -> None:
    guest = Guest("new")
    closing = guest.new("socket")
    lost = guest.new("socket", {"sk": WILD})
    found = read_sockets(guest.kernel(), np.array([closing, 0, lost, WILD], dtype=np.uint64))
    assert closing not in found
    assert set(found) <= {lost}
    assert read_sockets(guest.kernel(), np.zeros(0, dtype=np.uint64)) == {}


@steady(120)
@given(st.sampled_from([1, 2, 10, 16, 300]), st.binary(min_size=0, max_size=200), WORD_VALUES, st.booleans())
def test_socks_of_any_bytes(family: int, data: bytes, pointer: int, keep_family: bool) -> None:
    guest = Guest("new")
    honest = make(guest, skc_num=80, sk_protocol=6, skc_state=10)
    liar = make(guest, "unix_sock", family)
    sk = guest.get(liar, "socket", "sk")
    guest.write(sk, data[: guest.size("unix_sock")])
    guest.set(sk, "unix_sock", {"addr": pointer})
    if keep_family:
        guest.set(sk, "sock", {C + "skc_family": family})
    try:
        found = read_sockets(guest.kernel(bytes_limit=1 << 20), np.array([honest, liar], dtype=np.uint64))
    except GuestDataError as error:
        raise AssertionError("one socket spoils the others") from error
    assert found[honest].local_port == 80
    assert len(found[liar].path) <= MAX_UNIX_NAME_BYTES
