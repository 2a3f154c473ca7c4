from __future__ import annotations

import errno
import struct

import msgspec
import pytest

from tests.unit.probe.native import NativeGuest, put
from vmon.core.errors import UsageError
from vmon.core.rules import Rule
from vmon.probe.rules import RuleTable

OPEN = ("file.open",)


def said(value: object) -> str:
    """What a rule says, the rest left out."""
    return str(msgspec.to_builtins(value))


def verdict(native: NativeGuest, rule: Rule, file: int) -> int:
    put(RuleTable(native.probe()), rule)
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
        (Rule(events=OPEN, path_glob="/etc/sha*"), True),
        (Rule(events=OPEN, path_glob="/etc/*adow"), True),
        (Rule(events=OPEN, path_glob="/*adow"), False),
        (Rule(events=OPEN, path_glob="/**adow"), True),
        (Rule(events=OPEN, path_glob="/etc/sh**shadow"), False),
        (Rule(events=OPEN, path_glob="**/shadow"), True),
        (Rule(events=OPEN, path_glob="/**/etc/shadow"), False),
        (Rule(events=OPEN, exe="/bin/tool"), True),
        (Rule(events=OPEN, exe="/bin/other"), False),
        (Rule(events=OPEN, unless_exe="/bin/tool"), False),
        (Rule(events=OPEN, unless_exe="/bin/other"), True),
        (Rule(events=OPEN, name="tool"), True),
        (Rule(events=OPEN, name="too"), False),
        (Rule(events=OPEN, uid=1000), True),
        (Rule(events=OPEN, uid=0), False),
        (Rule(events=OPEN, unless_uid=1000), False),
        (Rule(events=OPEN, unless_uid=0), True),
        (Rule(events=OPEN, unless_name="tool"), False),
        (Rule(events=OPEN, unless_name="too"), True),
        (Rule(events=OPEN, cgroup_id=500), True),
        (Rule(events=OPEN, cgroup_id=1), True),
        (Rule(events=OPEN, cgroup_id=2), False),
        (Rule(events=OPEN, tree="42@7"), True),
        (Rule(events=OPEN, tree="42@8"), False),
        (Rule(events=OPEN, unless_tree="42@7"), False),
        (Rule(events=OPEN, unless_tree="42@8"), True),
        (Rule(events=OPEN, key="42@7"), True),
        (Rule(events=OPEN, key="42@8"), False),
        (Rule(events=OPEN, flags=0o1), True),
        (Rule(events=OPEN, flags=0o2), False),
        (Rule(events=("file.unlink",)), False),
        (Rule(events=("file.open", "file.unlink")), True),
    ],
    ids=said,
)
def test_each_part_of_a_rule(native: NativeGuest, rule: Rule, fits: bool) -> None:
    file = native.file(b"etc", b"shadow", flags=0o1)
    assert verdict(native, rule, file) == (-errno.EPERM if fits else 0)
    (record,) = RuleTable(native.probe()).read()
    assert (record.number, record.hits) == (1, int(fits))
    assert record.rule == spelled(rule)


def spelled(rule: Rule) -> Rule:
    """As it is read back: a pattern that is no more than an end or a beginning is one."""
    glob = rule.path_glob
    if glob and glob.startswith("**"):
        return msgspec.structs.replace(rule, path_glob=None, path_suffix=glob[2:])
    return rule


def test_networks(native: NativeGuest) -> None:
    table = RuleTable(native.probe())
    put(table, Rule(events=("net.connect",), address="10.1.128.0/17", port=80, errno=111))
    socket = native.new(socket_sk=native.new(sk_family=2), socket_type=1)

    def connect(last: tuple[int, int, int, int], port: int) -> int:
        packed = struct.pack("<H", 2) + struct.pack(">H", port) + bytes(last) + bytes(8)
        return native.hook("SOCKADDR", socket, native.text(packed), len(packed))

    assert connect((10, 1, 200, 3), 80) == -111
    assert connect((10, 1, 127, 3), 80) == 0
    assert connect((10, 1, 200, 3), 81) == 0
    assert connect((11, 1, 200, 3), 80) == 0


@pytest.mark.parametrize(
    "rule",
    [
        Rule(events=("file.frob",)),
        Rule(events=OPEN, errno=0),
        Rule(events=OPEN, path="/a", path_suffix="b"),
        Rule(events=OPEN, exe="/a", unless_exe="/b"),
        Rule(events=OPEN, path="/\0"),
        Rule(events=()),
        Rule(events=OPEN, path_glob="/a"),
        Rule(events=OPEN, path_glob="/*/*"),
        Rule(events=OPEN, path_glob="/a?*"),
        Rule(events=OPEN, path_glob="*.conf"),
        Rule(events=OPEN, key="1@2", tree="1@2"),
        Rule(events=OPEN, tree="1"),
        Rule(events=("process.signal",), action="ask"),
        Rule(events=OPEN, action="ask", timeout_ms=0),
        Rule(events=OPEN, path="x" * 5000),
        Rule(events=OPEN, key="12"),
        Rule(events=("net.connect",), address="10.0.0.0/99"),
        Rule(events=("net.connect",), port=1 << 16),
        Rule(events=OPEN, uid=-1),
        Rule(events=OPEN, flags=1 << 80),
        Rule(events=OPEN, key=f"1@{1 << 64}"),
    ],
    ids=said,
)
def test_rules_that_make_no_sense_leave_the_table_as_it_was(native: NativeGuest, rule: Rule) -> None:
    table = RuleTable(native.probe())
    put(table, Rule(events=OPEN, path="/kept"))
    with pytest.raises(UsageError):
        table.add([rule])
    assert [record.rule.path for record in table.read()] == ["/kept"]


def test_more_rules_than_a_table_holds(native: NativeGuest) -> None:
    table = RuleTable(native.probe())
    put(table, *[Rule(events=OPEN, path=f"/{number}") for number in range(1024)])
    assert native.hook("FILE", native.file(b"1023")) == -errno.EPERM
    with pytest.raises(UsageError, match="1,025 rules"):
        put(table, *[Rule(events=OPEN)] * 1025)
