from __future__ import annotations

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kernel.fuzz import steady
from tests.unit.probe.native import NativeGuest
from vmon.core.errors import UsageError
from vmon.core.rules import Rule
from vmon.probe.records import Decoder
from vmon.probe.ring import Ring
from vmon.probe.rules import RuleTable

OPEN = ("file.open",)


def verdict(native: NativeGuest, rule: Rule, file: int) -> int:
    RuleTable(native.probe()).replace([rule])
    return native.hook("FILE", file)


@pytest.mark.parametrize(
    ("rule", "fits"),
    [
        (Rule(events=OPEN, path="/etc/shadow"), True),
        (Rule(events=OPEN, path="/etc/shado"), False),
        (Rule(events=OPEN, path="/etc/shadow2"), False),
        (Rule(events=OPEN, path_prefix="/etc/"), True),
        (Rule(events=OPEN, path_prefix="/etc/shadow"), True),
        (Rule(events=OPEN, path_prefix="/etc/shadow/"), False),
        (Rule(events=OPEN, path_prefix="/et"), True),
        (Rule(events=OPEN, path_prefix="/var"), False),
        (Rule(events=OPEN, path_suffix="shadow"), True),
        (Rule(events=OPEN, path_suffix="/shadow"), True),
        (Rule(events=OPEN, path_suffix="c/shadow"), True),
        (Rule(events=OPEN, path_suffix="/etc/shadow"), True),
        (Rule(events=OPEN, path_suffix="x/etc/shadow"), False),
        (Rule(events=OPEN, path_suffix="shadoW"), False),
        (Rule(events=OPEN, exe="/bin/tool"), True),
        (Rule(events=OPEN, exe="/bin/other"), False),
        (Rule(events=OPEN, unless_exe="/bin/tool"), False),
        (Rule(events=OPEN, unless_exe="/bin/other"), True),
        (Rule(events=OPEN, name="tool"), True),
        (Rule(events=OPEN, name="too"), False),
        (Rule(events=OPEN, uid=1000), True),
        (Rule(events=OPEN, uid=0), False),
        (Rule(events=OPEN, key="42@7"), True),
        (Rule(events=OPEN, key="42@8"), False),
        (Rule(events=OPEN, flags=0o1), True),
        (Rule(events=OPEN, flags=0o2), False),
        (Rule(events=("file.unlink",)), False),
        (Rule(events=("file.open", "file.unlink")), True),
    ],
    ids=str,
)
def test_each_part_of_a_rule(native: NativeGuest, rule: Rule, fits: bool) -> None:
    file = native.file(b"etc", b"shadow", flags=0o1)
    assert verdict(native, rule, file) == (-errno.EPERM if fits else 0)
    (record,) = RuleTable(native.probe()).read()
    assert (record.number, record.hits) == (1, int(fits))
    assert record.rule == rule


def test_the_first_rule_that_fits_decides(native: NativeGuest) -> None:
    file = native.file(b"a")
    table = RuleTable(native.probe())
    table.replace([Rule(events=OPEN, path="/a", action="allow"), Rule(events=OPEN, errno=13)])
    assert native.hook("FILE", file) == 0
    assert native.hook("FILE", native.file(b"b")) == -13
    assert [record.hits for record in table.read()] == [1, 1]
    table.replace([])
    assert native.hook("FILE", native.file(b"b")) == 0
    assert table.read() == []


def test_networks(native: NativeGuest) -> None:
    table = RuleTable(native.probe())
    table.replace([Rule(events=("net.connect",), address="10.1.128.0/17", port=80, errno=111)])
    socket = native.new(socket_sk=native.new(sk_family=2), socket_type=1)

    def connect(last: tuple[int, int, int, int], port: int) -> int:
        packed = struct.pack("<H", 2) + struct.pack(">H", port) + bytes(last) + bytes(8)
        return native.hook("SOCKADDR", socket, native.text(packed), len(packed))

    assert connect((10, 1, 200, 3), 80) == -111
    assert connect((10, 1, 127, 3), 80) == 0
    assert connect((10, 1, 200, 3), 81) == 0
    assert connect((11, 1, 200, 3), 80) == 0


def test_observing_and_ending(native: NativeGuest) -> None:
    file = native.file(b"a")
    ring = Ring(native.abi, native.window, 64)
    probe = native.probe()
    table = RuleTable(probe)
    table.replace([Rule(events=OPEN, action="kill")])
    probe.put("enforce", 0)
    assert native.hook("FILE", file) == 0
    assert native.word("native_signal") == 0
    probe.put("enforce", 1)
    assert native.hook("FILE", file) == -errno.EPERM
    assert (native.word("native_signal"), native.word("native_signal", 1)) == (9, native.task)
    events = list(Decoder(native.abi).iter_events(ring.take()))
    assert [(event.verdict, event.rule) for event in events] == [("would deny", 1), ("killed", 1)]


@pytest.mark.parametrize(
    "rule",
    [
        Rule(events=("file.frob",)),
        Rule(events=OPEN, errno=0),
        Rule(events=OPEN, path="/a", path_suffix="b"),
        Rule(events=OPEN, exe="/a", unless_exe="/b"),
        Rule(events=OPEN, path="/\0"),
        Rule(events=OPEN, path="x" * 5000),
        Rule(events=OPEN, key="12"),
        Rule(events=("net.connect",), address="10.0.0.0/99"),
    ],
    ids=str,
)
def test_rules_that_make_no_sense_leave_the_table_as_it_was(native: NativeGuest, rule: Rule) -> None:
    table = RuleTable(native.probe())
    table.replace([Rule(events=OPEN, path="/kept")])
    with pytest.raises(UsageError):
        table.replace([rule])
    assert [record.rule.path for record in table.read()] == ["/kept"]


def test_more_rules_than_a_table_holds(native: NativeGuest) -> None:
    table = RuleTable(native.probe())
    table.replace([Rule(events=OPEN, path=f"/{number}") for number in range(1024)])
    assert native.hook("FILE", native.file(b"1023")) == -errno.EPERM
    with pytest.raises(UsageError, match="1,025 rules"):
        table.replace([Rule(events=OPEN)] * 1025)


def test_a_table_that_the_guest_wrote_itself(native: NativeGuest) -> None:
    table = RuleTable(native.probe())
    table.replace([Rule(events=OPEN, path="/kept", address="10.0.0.0/8")])

    @steady(60)
    @given(st.binary(min_size=16, max_size=400))
    def lie(data: bytes) -> None:
        native.window.write(native.abi.sizes["RULES_AT"], data)
        try:
            assert len(table.read()) <= 1024
        except ValueError as error:
            raise AssertionError("an error without a type of vmon's") from error

    lie()
