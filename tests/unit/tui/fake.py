"""A guest that is data, through the interface that a live one has: the same at every run."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from html import unescape
from typing import Any

import msgspec

from vmon.core.errors import NoSuchProcess, VmonError
from vmon.core.events import Event
from vmon.core.records.machine import LoadRecord
from vmon.tui.source import Frame, Page, Row, Subject, Verb

SECOND = 10**9
BUSY = ("worker", "kworkerds")
NASTY = "\x1b[31m[bold]evil\n\u202e漢字\udcff"


def row(pid: int, name: str = "sh", **more: Any) -> Row:
    start = more.pop("start_ns", pid * SECOND)
    fields: dict[str, Any] = {
        "key": f"{pid}@{start}",
        "pid": pid,
        "parent": "1@1000000000" if pid > 1 else None,
        "name": name,
        "state": "S",
        "uid": 0,
        "threads": 1,
        "kernel_thread": False,
        "start_ns": start,
        "cpu_s": 0.0,
        "size": pid << 20,
        "command": f"/bin/{name}",
        "container": None,
    }
    return Row(**{**fields, **more})


ROWS = [
    row(1, "init"),
    row(2, "kthreadd", parent=None, kernel_thread=True, size=None, command="[kthreadd]"),
    row(20, "httpd", uid=33, command="/usr/sbin/httpd -f"),
    row(
        21,
        "worker",
        parent="20@20000000000",
        uid=33,
        cpu_s=5.0,
        threads=4,
        state="R",
        command="/usr/sbin/httpd: worker",
    ),
    row(22, "evil", command=NASTY, container="0123456789abcdef" * 4),
    row(23, "sleep", state="T", command="sleep 1000"),
]


def frame(rows: list[Row] | None = None, at_s: float = 100.0, **more: Any) -> Frame:
    fields: dict[str, Any] = {
        "target": "lab:web1",
        "hostname": "web1",
        "release": "6.1.0-test",
        "boot": "1.0",
        "host_s": at_s,
        "load": LoadRecord(
            uptime_ns=int(at_s * SECOND),
            load_1=0.5,
            load_5=0.25,
            load_15=0.0,
            cpus=[0, 1],
            busy=[at_s / 2, at_s / 10],
        ),
        "memory_total": 512 << 20,
        "memory_used": 128 << 20,
        "users": {0: "root", 33: "www-data"},
        "rows": ROWS if rows is None else rows,
        "missing": [],
    }
    return Frame(**{**fields, **more})


def event(kind: str = "file.open", pid: int = 21, **more: Any) -> Event:
    fields: dict[str, Any] = {
        "event": kind, "sequence": 1, "time_ns": 123 * SECOND, "key": f"{pid}@1", "pid": pid, "tid": pid, "ppid": 1,
        "uid": 33, "euid": 33, "gid": 33, "name": "worker", "cpu": 0, "cgroup_id": 1, "path": "/etc/shadow",
    }  # fmt: skip
    return Event(**{**fields, **more})


class FakeSource:
    """Frames one second apart, in which the worker runs; what is done to it is written down."""

    def __init__(self) -> None:
        self.target = "lab:web1"
        self.done: list[tuple[str, ...]] = []
        self.at_s = 100.0
        self.rows = list(ROWS)
        self.more: dict[str, Any] = {}
        self.error: VmonError | None = None
        self.events: list[Event] = []
        self.told: list[str] = []
        self.following = False
        self.probe_is_in = False
        self.closed = False

    def frame(self) -> Frame:
        if self.error is not None:
            raise self.error
        self.at_s += 1
        self.rows = [
            msgspec.structs.replace(one, cpu_s=one.cpu_s + 0.5) if one.name in BUSY else one
            for one in self.rows
        ]
        return frame(self.rows, self.at_s, **self.more)

    def page(self, subject: Subject, row: Row | None) -> Page:
        self.done.append(("page", subject, row.key if row else ""))
        if row is not None and row.key not in {one.key for one in self.rows}:
            raise NoSuchProcess(f"process {row.pid} has ended")
        if subject == "env":
            return Page(
                header=("NAME", "VALUE"),
                rows=(),
                nothing="it has no environment",
                missing=["pages: swapped in 2"],
            )
        return Page(header=("FD", "PATH"), rows=[("0", "/dev/null"), ("1", f"/tmp/{NASTY}")], nothing="none")

    def act(self, verb: Verb, row: Row) -> str:
        if self.error is not None:
            raise self.error
        self.done.append((verb, row.key))
        if verb == "kill":
            self.rows = [one for one in self.rows if one.key != row.key]
        return f"{row.name} ({row.pid}): {verb} sent"

    def start_events(self) -> str:
        if self.error is not None:
            raise self.error
        self.done.append(("events",))
        self.following = True
        return "probe: 49 instructions changed"

    def take_events(self) -> tuple[list[Event], list[str]]:
        found, told = self.events, self.told
        self.events, self.told = [], []
        return found, told

    def close(self) -> str:
        self.closed = True
        return ""


def _scene() -> list[Row]:
    """A web server that somebody got into, for pictures."""
    box = "3f9a1c27be04" + "0" * 52
    found: list[Row] = []

    def add(pid: int, parent: int, name: str, command: str, **more: Any) -> None:
        above = next((one.key for one in found if one.pid == parent), None)
        found.append(row(pid, name, parent=above, command=command, start_ns=pid * SECOND // 20, **more))

    add(1, 0, "systemd", "/sbin/init", size=11 << 20, cpu_s=1.2)
    add(312, 1, "systemd-journal", "/lib/systemd/systemd-journald", size=14 << 20, cpu_s=2.0)
    add(498, 1, "cron", "/usr/sbin/cron -f", size=3 << 20)
    add(501, 1, "dbus-daemon", "/usr/bin/dbus-daemon --system", uid=100, size=5 << 20)
    add(540, 1, "sshd", "sshd: /usr/sbin/sshd -D [listener]", size=9 << 20)
    add(1904, 540, "sshd", "sshd: anna [priv]", size=10 << 20)
    add(1910, 1904, "bash", "-bash", uid=1000, size=5 << 20)
    add(602, 1, "nginx", "nginx: master process /usr/sbin/nginx", size=4 << 20)
    add(603, 602, "nginx", "nginx: worker process", uid=33, size=9 << 20, cpu_s=31.0, state="S")
    add(604, 602, "nginx", "nginx: worker process", uid=33, size=9 << 20, cpu_s=28.0)
    add(640, 1, "php-fpm8.2", "php-fpm: master process (/etc/php/8.2/fpm/php-fpm.conf)", size=22 << 20)
    add(655, 640, "php-fpm8.2", "php-fpm: pool www", uid=33, size=31 << 20, cpu_s=12.0)
    add(2311, 655, "sh", "sh -c /tmp/.x/kworkerds", uid=33, size=1 << 20)
    add(2317, 2311, "kworkerds", "[kworker/1:2]", uid=33, size=180 << 20, cpu_s=400.0, state="R", threads=2)
    add(
        700,
        1,
        "containerd-shim",
        "/usr/bin/containerd-shim-runc-v2 -id 3f9a1c27be04",
        size=8 << 20,
        threads=11,
    )
    add(731, 700, "postgres", "postgres: main", uid=999, size=28 << 20, container=box, cpu_s=9.0)
    add(744, 731, "postgres", "postgres: walwriter", uid=999, size=9 << 20, container=box)
    return found


SCENE = _scene()
SCENE_EVENTS = [
    event("file.open", 655, name="php-fpm8.2", path="/var/www/html/index.php", time_ns=118 * SECOND),
    event("process.exec", 2311, name="sh", path="/bin/sh", time_ns=118_200_000_000),
    event("process.exec", 2317, name="kworkerds", path="/tmp/.x/kworkerds", time_ns=118_300_000_000),
    event("file.open", 2317, name="kworkerds", verdict="denied", rule=3, time_ns=118_400_000_000),
    event("net.connect", 2317, name="kworkerds", path="tcp 203.0.113.7:3333", time_ns=118_500_000_000),
]
TEXT = re.compile(r'<text class="[^"]*" x="([\d.]+)" y="([\d.]+)"[^>]*>(.*?)</text>')
CHAR_WIDTH = 12.2


def text_of(svg: str, columns: int) -> list[str]:
    """What a picture of the screen says, line by line: what a newer Textual draws around it makes no difference."""
    lines: dict[float, list[str]] = {}
    for x, y, text in TEXT.findall(svg):
        line = lines.setdefault(float(y), [" "] * columns)
        at = round(float(x) / CHAR_WIDTH)
        for offset, char in enumerate(unescape(text).replace("\xa0", " ")):
            if at + offset < columns:
                line[at + offset] = char
    return ["".join(line).rstrip() for _, line in sorted(lines.items())]


async def until(condition: Callable[[], bool], pilot: Any, seconds: float = 30.0) -> None:
    """Wait for what a thread does; the machine may be slow."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "it did not come about"
        await pilot.pause(0.02)
    await pilot.pause()
