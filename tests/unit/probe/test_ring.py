from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kernel.fuzz import steady
from tests.unit.probe.native import NativeGuest
from vmon.probe.records import Decoder
from vmon.probe.ring import Ring

SLOTS = 64


def ring_of(native: NativeGuest) -> Ring:
    return Ring(native.abi, native.window, SLOTS)


def counter(native: NativeGuest, name: str, kind: str) -> int:
    at = native.abi.sizes["STATE_AT"] + native.abi.offset("state", name) + 8 * native.abi.kinds[kind]
    return int.from_bytes(native.window.read(at, 8), "little")


def test_what_the_c_code_writes_is_read_back(native: NativeGuest) -> None:
    ring = ring_of(native)
    file = native.file(b"etc", b"a b\xff\n", flags=0o101)
    assert native.hook("FILE", file) == 0
    (event,) = Decoder(native.abi, {"42@7": "/bin/tool"}.get).iter_events(ring.take())
    assert (event.event, event.path, event.flags) == ("file.open", "/etc/a b\udcff\n", 0o101)
    assert (event.pid, event.tid, event.ppid, event.key, event.uid) == (42, 42, 42, "42@7", 1000)
    assert (event.name, event.exe, event.verdict, event.cut) == ("tool", "/bin/tool", "allowed", False)
    assert len(ring.take()) == 0


def test_records_of_several_slots_and_the_end_of_the_ring(native: NativeGuest) -> None:
    ring = ring_of(native)
    files = [native.file(*[b"n" * 200] * depth) for depth in (0, 1, 3)]
    expected = ["/", "/" + "n" * 200, "/".join(["", *["n" * 200] * 3])]
    decoder = Decoder(native.abi)
    seen = []
    for _ in range(100):
        for file in files:
            native.hook("FILE", file)
        seen += [event.path for event in decoder.iter_events(ring.take())]
    assert seen == expected * 100
    assert counter(native, "lost", "FILE_OPEN") == 0


def test_a_full_ring_loses_and_counts_and_goes_on(native: NativeGuest) -> None:
    ring = ring_of(native)
    file = native.file(b"f")
    for _ in range(SLOTS + 36):
        native.hook("FILE", file)
    assert len(ring.take()) == SLOTS
    assert counter(native, "lost", "FILE_OPEN") == 36
    assert counter(native, "seen", "FILE_OPEN") == SLOTS + 36
    native.hook("FILE", file)
    assert len(ring.take()) == 1


def test_a_path_deeper_than_the_probe_follows_is_said_to_be_cut(native: NativeGuest) -> None:
    native.hook("FILE", native.file(*[b"d"] * 60))
    (event,) = Decoder(native.abi).iter_events(ring_of(native).take())
    assert event.cut
    assert event.path is not None
    assert event.path.endswith("/d/d")


def test_switched_off_or_not_recorded_nothing_is_told(native: NativeGuest) -> None:
    ring, file = ring_of(native), native.file(b"f")
    probe = native.probe()
    for word in ("enabled", "log_kinds"):
        probe.put(word, 0)
        probe.settle()
        native.hook("FILE", file)
        assert len(ring.take()) == 0
        probe.put(word, 1 if word == "enabled" else 1 << native.abi.kinds["FILE_OPEN"])
        probe.settle()
    native.hook("FILE", file)
    assert len(ring.take()) == 1


def test_nobody_is_left_inside(native: NativeGuest) -> None:
    native.hook("FILE", native.file(b"f"))
    at = native.abi.sizes["STATE_AT"] + native.abi.offset("state", "in_flight")
    assert not any(native.window.read(at, native.abi.member("state", "in_flight")[1]))


def test_a_ring_that_the_guest_wrote_itself(native: NativeGuest) -> None:
    """Any bytes: no error, no record that reaches out of the ring, an end."""

    @steady(60)
    @given(st.binary(min_size=256, max_size=2048), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
    def lie(data: bytes, head: int, tail: int) -> None:
        at, state = native.abi.sizes["RING_AT"], native.abi.sizes["STATE_AT"]
        native.window.write(at, data)
        for name, value in (("head", head), ("tail", tail)):
            native.window.write(state + native.abi.offset("state", name), value.to_bytes(8, "little"))
        # A sequence number that is due, before whatever follows.
        native.window.write(at + tail % SLOTS * 256, ((tail + 1) % 2**64).to_bytes(8, "little"))
        for event in Decoder(native.abi).iter_events(ring_of(native).take()):
            assert len(event.path or "") <= SLOTS * 256

    lie()
