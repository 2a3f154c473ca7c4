"""Events and rules made for the tests of Sigma."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from vmon.core.events import Event
from vmon.monitor.known import Known
from vmon.monitor.sigma.door import pysigma

RULE = """
title: A rule
logsource: {product: linux, category: process_creation}
detection:
"""


def event(pid: int = 5, *, name: str = "file.open", **more: Any) -> Event:
    """An event of a process; whatever else it has is given."""
    fields = {
        "sequence": 0,
        "time_ns": 1,
        "key": f"{pid}@1",
        "tid": pid,
        "ppid": 0,
        "uid": 0,
        "euid": 0,
        "gid": 0,
    }
    return Event(**{**fields, "event": name, "pid": pid, "name": "x", "cpu": 0, "cgroup_id": 0, **more})


def known() -> Known:
    """Of a guest with init and two processes that it started: 2 has no program, in 9 are bytes that are no UTF-8."""
    pids = [1, 2, 9]
    found = SimpleNamespace(
        pid=pids,
        name=[b"init", b"odd", b"x"],
        exe=[SimpleNamespace(text=b"/sbin/init"), None, SimpleNamespace(text=b"/bin/\xff")],
        cmdline=[[b"init", b"-x"], None, [b"\xfe"]],
        parent_key=[None, "1@1", "1@1"],
        containers={},
        key=lambda row: f"{pids[row]}@1",
    )
    made = Known(lambda: found)  # type: ignore[arg-type,return-value]
    made.look_closely()
    return made


def rule_of(detection: str) -> Any:
    """pySigma's rule with this detection section."""
    indented = "".join(f"  {line}\n" for line in detection.strip("\n").splitlines())
    return pysigma().collection.SigmaCollection.from_yaml(RULE + indented).rules[0]
