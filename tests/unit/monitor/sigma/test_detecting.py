from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.unit.monitor.sigma.made import event, known
from vmon.core.errors import NoSuchFile, NotSupported, UsageError
from vmon.core.events import Event
from vmon.monitor.sigma.detecting import SigmaWatch, detections
from vmon.monitor.sigma.reading import SigmaRules, read_sigma

RULES = """
title: nc by init
id: 5b8f2c1e-6f0a-4c55-9a53-0c7d7d1f4e01
level: high
tags: [attack.t1059.004]
logsource: {product: linux, category: process_creation}
detection:
  s: {Image|endswith: /nc, ParentImage|endswith: /init}
  condition: s
---
title: anything by www
logsource: {product: linux, category: process_creation}
detection:
  s: {User: www}
  condition: s
"""


class Guest:
    """In the place of an attached guest: its events are given."""

    def __init__(self, events: list[Event], passwd: bytes | None = b"www:x:33:33:::\n") -> None:
        self.given = events
        self.passwd = passwd
        self.asked: tuple[str, ...] = ()
        self.seen = ["process.exec", "file.open"]

    def install_probe(self, ring_bytes: int) -> Any:
        return SimpleNamespace(events=self.seen)

    def read_file(self, where: str) -> Any:
        assert where == "/etc/passwd"
        if self.passwd is None:
            raise NoSuchFile("not in memory")
        chunks = [np.frombuffer(self.passwd, np.uint8)]
        return SimpleNamespace(size=len(self.passwd), holes=[], chunks=lambda: iter(chunks))

    def event_stream(self, *events: str, only: Any, ring_bytes: int) -> Any:
        self.asked = events

        there = known()

        def follow(timeout_s: float | None) -> Any:
            found = []
            for one in self.given:  # as a stream takes them: many at once, each in its turn
                there.learn(one)
                found += [one] if only(one) else []
            return iter(found)

        return SimpleNamespace(start=lambda: None, stop=lambda: None, follow=follow, known=there)


@pytest.fixture
def rules(tmp_path: Path) -> SigmaRules:
    (tmp_path / "r.yml").write_text(RULES)
    return read_sigma(tmp_path)


def execs(exe: str, **more: Any) -> Event:
    return event(50, name="process.exec", exe=exe, cmdline=[exe], ppid=1, **more)


def test_what_rules_say_of_events(tmp_path: Path, rules: SigmaRules) -> None:
    guest: Any = Guest(
        [
            execs("/bin/nc", sequence=1),
            execs("/bin/ls", sequence=2),
            execs("/bin/nc", sequence=3, uid=33),
            event(1, name="process.exec", exe="/bin/other", cmdline=["other"], sequence=4),
            execs("/bin/nc", sequence=5),
        ]
    )
    found = list(detections(guest, tmp_path))
    assert guest.asked == ("process.exec",)
    assert [(one.rule.title, one.event.sequence) for one in found] == [
        ("nc by init", 1),
        ("nc by init", 3),
        ("anything by www", 3),
    ]
    assert (found[0].rule.severity, found[0].rule.attack) == ("high", ("T1059.004",))
    assert (found[0].verb, found[0].done, found[0].rule.source) == ("log", "done", f"{tmp_path}/r.yml:2")


def test_a_parent_is_what_it_was_then(rules: SigmaRules) -> None:
    """A stream takes many events at once; what comes later does not change what was."""
    guest: Any = Guest(
        [
            execs("/bin/nc", sequence=1),
            event(1, name="process.exec", exe="/bin/sh", cmdline=["sh"], sequence=2),
            execs("/bin/nc", sequence=3),
        ]
    )
    watch = SigmaWatch(guest, rules)
    told = list(watch.stream().follow(None))
    assert [(found.sequence, len(watch.detections(found))) for found in told] == [(1, 1)]
    assert watch.detections(told[0]) == []


def test_only_some_processes(rules: SigmaRules) -> None:
    guest: Any = Guest([execs("/bin/nc", sequence=1), execs("/bin/nc", sequence=2, uid=5)])
    watch = SigmaWatch(guest, rules, lambda found: found.uid == 5)
    assert [found.sequence for found in watch.stream().follow(None)] == [2]


@pytest.mark.parametrize("passwd", [None, b"", b"x" * (2 << 20)])
def test_users_that_are_not_known(tmp_path: Path, rules: SigmaRules, passwd: bytes | None) -> None:
    guest: Any = Guest([execs("/bin/nc", sequence=1, uid=33)], passwd)
    assert [one.rule.title for one in detections(guest, tmp_path)] == ["nc by init"]


def test_without_rules_nothing_is_watched() -> None:
    guest: Any = Guest([])
    with pytest.raises(UsageError, match="none of these Sigma rules"):
        SigmaWatch(guest, SigmaRules((), ()))


def test_events_that_can_t_be_seen(tmp_path: Path, rules: SigmaRules) -> None:
    (tmp_path / "f.yml").write_text(
        "title: f\nlogsource: {category: file_access}\ndetection: {s: {FileName: /a}, condition: s}\n"
    )
    guest: Any = Guest([execs("/bin/nc", sequence=1)])
    guest.seen = ["process.exec"]
    told: list[str] = []
    SigmaWatch(guest, read_sigma(tmp_path), tell=told.append).stream()
    assert told == ["file.open: can't be seen in this guest, and rules find nothing there"]
    assert guest.asked == ("process.exec",)
    guest.seen = ["file.open"]
    with pytest.raises(NotSupported, match="can't be seen in this guest"):
        SigmaWatch(guest, rules).stream()
