from __future__ import annotations

from vmon.core.coverage import GapRecord
from vmon.core.records.finding import FindingRecord
from vmon.core.records.memory import FrameRecord, StackRecord
from vmon.core.records.process import EnvRecord, FileRecord, MapRecord, SocketRecord, ThreadRecord
from vmon.core.rules import Rule, RuleRecord
from vmon.tui import pages

GAPS = [GapRecord(what="path", reason="torn", count=2, detail="")]


def test_what_is_missing_is_said_and_nothing_is_a_sentence() -> None:
    page = pages.files([], GAPS)
    assert (page.rows, page.nothing, page.missing) == ([], "no open file", ["path: torn in 2"])
    assert pages.environment(None, ()).nothing == "its pages are not in the guest's memory"


def test_rows() -> None:
    file = FileRecord(1, 3, "/tmp/x", True, "regular", "w", 1, 10, 5, 8, 2048)
    assert pages.files([file], ()).rows == [("3", "w", "regular", "10", "2.0K", "/tmp/x (deleted)")]
    area = MapRecord(
        pid=1,
        start=0x1000,
        end=0x3000,
        permissions="r-xp",
        offset=0,
        device=0,
        inode=0,
        path="",
        deleted=False,
    )
    assert pages.maps([area], ()).rows == [("000000001000-000000003000", "r-xp", "8.0K", "")]
    thread = ThreadRecord(
        tid=7, name="w", state="S", start_boottime_ns=10**9, user_time=1.0, system_time=0.5, cpu=1
    )
    assert pages.threads([thread], ()).rows == [("7", "S", "1", "1.5s", "+1.0s", "w")]
    assert pages.environment([EnvRecord(pid=1, name="A", value="b=c")], ()).rows == [("A", "b=c")]


def test_sockets() -> None:
    tcp = SocketRecord(1, 4, "httpd", "inet6", "stream", "tcp", "::1", 80, "::", None, "LISTEN", "", 9, 1)
    unix = SocketRecord(
        1,
        5,
        "x",
        "unix",
        "stream",
        "",
        "",
        None,
        "",
        None,
        "CONNECTED",
        "",
        9,
        1,
        peer_process="dbus",
        peer_pid=3,
    )
    rows = pages.sockets([tcp, unix], ()).rows
    assert rows[0] == ("4", "inet6 tcp", "LISTEN", "[::1]:80", "[::]:*")
    assert rows[1] == ("5", "unix stream", "CONNECTED", "-", "dbus[3]")
    assert pages.endpoint("", None) == ""


def test_stacks() -> None:
    frame = FrameRecord(address=1, symbol="schedule", offset=26, module="", sure=False)
    record = StackRecord(
        pid=1, tid=2, name="sh", state="S", registers=None, syscall=61, on_cpu=None, frames=[frame]
    )
    assert pages.stack([record], ()).rows == [("2", "S", "sh  system call 61"), ("", "", "  ? schedule+0x1a")]


def test_findings_and_rules() -> None:
    finding = FindingRecord(
        check="process.hidden",
        severity="critical",
        attack=[],
        subject="x",
        said="it hides",
        evidence=[],
        could_be="a race",
        pid=5,
    )
    assert pages.findings([finding], ()).rows == [("critical", "process.hidden", "5", "it hides (a race)")]
    rule = RuleRecord(number=3, hits=1, rule=Rule(events=("file.open",), path="/etc/shadow"))
    assert pages.rules([rule], enforcing=True).rows == [
        ("3", "1", "deny EPERM", "file.open", "path=/etc/shadow")
    ]
    assert pages.rules([rule], enforcing=False).rows[0][2] == "would deny EPERM"
