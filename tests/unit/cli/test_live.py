from __future__ import annotations

import json

import pytest

from tests.unit.export.told import ORIGIN
from vmon.cli.live import detection_line, line, shown, since, tell_counts
from vmon.cli.outputs import Outputs
from vmon.core.detection import Detection, RuleInfo
from vmon.core.events import Event, EventCounts
from vmon.core.records.probe import NoticeRecord

OUTPUTS = Outputs(lambda: ORIGIN)


def event(name: str, **more: object) -> Event:
    who = {
        "sequence": 0,
        "time_ns": 1_500_000_000,
        "key": "7@1",
        "pid": 7,
        "tid": 7,
        "ppid": 1,
        "uid": 33,
        "euid": 33,
    }
    return Event(event=name, gid=0, name="x\x1b[m", cpu=0, cgroup_id=1, **who, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("what", "end"),
    [
        (event("file.open", path="/a\nb"), "/a\\nb"),
        (event("file.rename", path="/a", new_path="/b"), "/a -> /b"),
        (event("process.exec", path="/bin/x", cmdline=["x", "-y"]), "x -y"),
        (event("process.exit", exit_code=7 << 8), "status 7"),
        (event("process.exit", exit_code=9), "by signal 9"),
        (event("process.signal", signal=15, target_pid=3), "signal 15 pid 3"),
        (event("process.setuid", new_uid=0, new_euid=0), "uid 0 euid 0"),
        (event("net.connect", address="::1", port=80, protocol="tcp"), "tcp [::1]:80"),
        (event("file.open", path="/s", verdict="denied", rule=2), "/s  DENIED by rule 2"),
        (event("file.open", path="/s", cut=True), "/s (cut)"),
    ],
)
def test_a_line_says_who_and_what(what: Event, end: str) -> None:
    text = line(what)
    assert text.startswith("    1.500000  ")
    assert text.endswith(end)
    assert "x\\x1b[m" in text
    assert text.isprintable()


def test_a_detection_is_a_line_or_a_record(capsys: pytest.CaptureFixture[str]) -> None:
    rule = RuleInfo(title="odd\x1b[m", severity="high", attack=("T1059", "TA0002"))
    found = Detection(rule=rule, event=event("file.open", path="/s"), verb="log")
    text = detection_line(found)
    assert text.startswith("    1.500000  high          told          odd\\x1b[m: file.open by ")
    assert text.endswith("/s [T1059 TA0002]")
    assert text.isprintable()
    with shown("table") as out:
        out.detection(found)
    assert capsys.readouterr().out == f"{text}\n"
    with shown("jsonl") as out:
        out.detection(found)
    written = json.loads(capsys.readouterr().out)
    assert (written["rule"]["title"], written["event"]["path"], written["verb"]) == ("odd\x1b[m", "/s", "log")


def test_what_was_lost_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    tell_counts(EventCounts(event="file.open", seen=2000, lost=1000, denied=0, asked=0, unanswered=0))
    tell_counts(EventCounts(event="file.link", seen=2000, lost=0, denied=0, asked=7, unanswered=2))
    assert capsys.readouterr().err == "lost: 1,000 of 2,000 file.open: the ring was full\n" + (
        "unanswered: 2 of 7 file.link: decided by the rules' fallback\n"
    )


def test_what_was_counted_before_is_not_told_again() -> None:
    def counted(seen: int, lost: int) -> EventCounts:
        return EventCounts(event="file.open", seen=seen, lost=lost, denied=0, asked=0, unanswered=0)

    assert since([counted(10, 3)], [counted(15, 4)]) == [counted(5, 1)]
    assert since([counted(10, 3)], [counted(4, 1)]) == [counted(4, 1)]
    assert since([], [counted(4, 1)]) == [counted(4, 1)]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_list_of_events_is_json(capsys: pytest.CaptureFixture[str], count: int) -> None:
    with shown("json", OUTPUTS) as out:
        for _ in range(count):
            out.event(event("file.open", path="/a"))
    assert [item["path"] for item in json.loads(capsys.readouterr().out)] == ["/a"] * count


def test_lines_of_events_are_json_each(capsys: pytest.CaptureFixture[str]) -> None:
    with shown("jsonl", OUTPUTS) as out:
        out.event(event("file.open", path="/a"))
        out.notice(NoticeRecord(event="vmon.rebooted", said="gone"))
    said = capsys.readouterr()
    assert [json.loads(text)["event"] for text in said.out.splitlines()] == ["file.open", "vmon.rebooted"]
    assert said.err == "rebooted: gone\n"


@pytest.mark.parametrize("form", ["ecs", "ocsf", "falco", "cef", "syslog"])
def test_lines_of_other_formats(capsys: pytest.CaptureFixture[str], form: str) -> None:
    with shown(form, OUTPUTS) as out:
        out.event(event("file.open", path="/a"))
        out.event(event("file.open", path="/b"))
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_a_detection_is_shown_with_its_rule(capsys: pytest.CaptureFixture[str]) -> None:
    rule = RuleInfo(title="A\x1b shell", severity="high", attack=("T1059",))
    found = Detection(rule=rule, event=event("file.open", path="/a"), verb="kill")
    with shown("table") as out:
        out.detection(found)
    said = capsys.readouterr().out
    assert "A\\x1b shell" in said and "KILLED" in said and said.endswith("[T1059]\n")
    with shown("jsonl") as out:
        out.detection(found)
    assert json.loads(capsys.readouterr().out)["record"] == "detection"


class Kept:
    """What of an outlet is looked at."""

    def __init__(self) -> None:
        self.got: list[object] = []

    def put(self, record: object) -> None:
        self.got.append(record)


def test_all_that_is_shown_goes_to_the_outputs_too() -> None:
    kept = Kept()
    records = [
        event("file.open", path="/a"),
        Detection(rule=RuleInfo(title="x"), event=event("file.open"), verb="log"),
        NoticeRecord(event="vmon.rebooted", said=""),
    ]
    with shown("table", kept) as out:  # type: ignore[arg-type]
        out.event(records[0])  # type: ignore[arg-type]
        out.detection(records[1])  # type: ignore[arg-type]
        out.notice(records[2])  # type: ignore[arg-type]
    assert kept.got == records


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ({"verb": "deny"}, "DENIED"),
        ({"verb": "log"}, "told"),
        ({"verb": "suspend", "done": "would"}, "would suspend"),
        ({"verb": "kill", "done": "failed", "reason": "gone already"}, "could not kill: gone already"),
        ({"verb": "ask"}, "allowed"),
    ],
)
def test_a_detection_says_what_was_done_and_why(more: dict[str, str], what: str) -> None:
    rule = RuleInfo(title="no \x1b[31m", severity="high", attack=("T1003",))
    found = detection_line(Detection(rule=rule, event=event("file.open", path="/a\nb"), suppressed=2, **more))  # type: ignore[arg-type]
    assert found.startswith(f"    1.500000  high          {what}")
    assert (
        r"no \x1b[31m: file.open by x\x1b[m (pid 7, uid 33) /a\nb [T1003] (and 2 before, not told)" in found
    )
