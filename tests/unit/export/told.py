"""One record of every kind, and records full of what a hostile guest could write: what every format is tested with."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from vmon.core.detection import Detection, RuleInfo
from vmon.core.ecs import KINDS, Origin
from vmon.core.events import Event
from vmon.core.records.probe import DifferenceRecord, NoticeRecord
from vmon.core.told import Told

ORIGIN = Origin(
    target="lab:web1",
    hostname="web1",
    release="6.1.0-56-cloud-amd64",
    boot_time_ns=1_764_000_000_123_456_789,
)
WHO: dict[str, Any] = {
    "sequence": 41,
    "time_ns": 5_000_000_001,
    "key": "113@900",
    "pid": 113,
    "tid": 113,
    "ppid": 1,
    "uid": 33,
    "euid": 33,
    "gid": 33,
    "name": "httpd",
    "cpu": 1,
    "cgroup_id": 77,
    "exe": "/bin/busybox",
}
PATH = {"path": "/srv/www/index.html"}
TARGET = {"target_pid": 200, "target_key": "200@1000"}
INET = {"family": "inet", "protocol": "tcp", "address": "192.0.2.7", "port": 443}
MORE: dict[str, dict[str, Any]] = {
    "process.fork": TARGET,
    "process.exec": {"path": "/bin/sh", "cmdline": ["sh", "-c", "id"], "exe": "/bin/sh"},
    "process.exit": {"exit_code": 7 << 8},
    "process.setuid": {"new_uid": 0, "new_euid": 0},
    "process.signal": {"signal": 9, **TARGET},
    "process.ptrace": {"mode": 2, **TARGET},
    "file.open": {**PATH, "flags": 0o101},
    "file.create": {**PATH, "mode": 0o644},
    "file.mkdir": {**PATH, "mode": 0o755},
    "file.chmod": {**PATH, "mode": 0o777},
    "file.chown": {**PATH, "new_uid": 0, "new_gid": 0},
    "file.rename": {**PATH, "new_path": "/srv/www/old.html"},
    "file.link": {**PATH, "new_path": "/tmp/l"},
    "file.mmap_exec": {"path": "/lib/libc.so.6", "flags": 5},
    "file.mount": {"path": "/mnt", "flags": 0},
    "net.connect": INET,
    "net.bind": {**INET, "family": "inet6", "address": "2001:db8::1", "port": 53, "protocol": "udp"},
    "net.listen": {**INET, "address": "0.0.0.0", "port": 80},
    "net.accept": {**INET, "address": "198.51.100.9", "port": 50000},
    "module.load": {"path": "/lib/modules/evil.ko"},
    "bpf.load": {},
}


def event(kind: str = "file.open", **more: Any) -> Event:
    """One event of a kind, with what such an event has."""
    return Event(event=kind, **{**WHO, **MORE.get(kind, PATH), **more})


EVENTS = [
    *(event(kind) for kind in KINDS),
    event(verdict="denied", errno=1, rule=3),
    event(verdict="killed", rule=4, container_id="0123456789abcdef"),
    event(verdict="would deny", rule=3),
    event(verdict="asked", rule=3, ask=7, cut=True),
    event("process.exit", exit_code=9),
    event("net.connect", family="unix", protocol=None, address=None, port=None, path="@x"),
    event("net.connect", family="netlink", protocol=None, address=None, port=None),
    event("module.load", path=None),
    event("process.exec", cmdline=None, exe=None),
    event(time_ns=(1 << 64) - 1, cgroup_id=(1 << 64) - 1),
]
RULE = RuleInfo(
    title="A server starts a shell",
    id="6f3ae1b0-0000-4000-8000-000000000001",
    description="A web server starts a shell.",
    severity="high",
    attack=("T1059.004", "T1190", "TA0002"),
    references=("https://example.org/why",),
    source="policy.yaml:3",
)
DETECTIONS = [
    Detection(rule=RULE, event=event("process.exec"), verb="kill", suppressed=4),
    Detection(rule=RuleInfo(title="Plain"), event=event("net.connect"), verb="log"),
    Detection(rule=RULE, event=event(), verb="quarantine", done="failed", reason="no such process"),
    *(Detection(rule=RULE, event=found, verb="deny", done="would") for found in EVENTS),
]
NOTICES = [
    NoticeRecord(event="vmon.rebooted", said="the probe is gone", noticed_ns=ORIGIN.boot_time_ns),
    NoticeRecord(
        event="vmon.tampered",
        said="an instruction leads past the probe",
        noticed_ns=ORIGIN.boot_time_ns,
        differences=[
            DifferenceRecord(what="code", address=1 << 63, expected="00", found="90", said="it differs")
        ],
    ),
]
RECORDS: list[Told] = [*EVENTS, *DETECTIONS, *NOTICES]


def named(record: Told) -> str:
    """What a test of it is called."""
    if isinstance(record, Detection):
        return f"detection-{record.event.event}"
    return record.event


ATTACKS = [
    "\n<34>1 2026-01-01T00:00:00Z dc1 sshd - - - root logged in",
    '"} \n{"event":"vmon.repaired"}',
    '"] [x@1 y="z',
    "|10|act=allowed msg=all is well",
    "a=b outcome=success\\",
    "\r\nHTTP/1.1 200 OK\r\n\r\n",
    "\x1b]0;title\x07\x1b[2J",
    "\x00\x7f\x85\x9b31m\u2028\u202e\ufeff\udc80\udcff\U000e0041",
    "\\",
    '\\"',
    "%s%n{}",
    " ",
    "é 漢 🦝",
]
hostile_text = st.one_of(st.sampled_from(ATTACKS), st.text(st.characters(codec=None), max_size=40)).map(
    # As text of a guest is decoded: any byte that is not UTF-8 is a lone surrogate from DC80 on.
    lambda text: text.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")
)
u64 = st.integers(0, (1 << 64) - 1)
hostile_events = st.builds(
    Event,
    event=st.sampled_from(sorted(KINDS)),
    sequence=u64,
    time_ns=u64,
    key=st.just("113@900"),
    pid=st.integers(0, (1 << 32) - 1),
    tid=st.integers(0, (1 << 32) - 1),
    ppid=st.integers(0, (1 << 32) - 1),
    uid=st.integers(0, (1 << 32) - 1),
    euid=st.integers(0, (1 << 32) - 1),
    gid=st.integers(0, (1 << 32) - 1),
    name=hostile_text,
    cpu=st.integers(0, 4096),
    cgroup_id=u64,
    exe=st.none() | hostile_text,
    path=st.none() | hostile_text,
    new_path=st.none() | hostile_text,
    cmdline=st.none() | st.lists(hostile_text, max_size=3),
    container_id=st.none() | hostile_text,
    family=st.none() | st.sampled_from(["inet", "inet6", "unix", "99"]),
    protocol=st.none() | st.sampled_from(["tcp", "udp", "255"]),
    address=st.none() | st.ip_addresses().map(str),
    port=st.none() | st.integers(0, 65535),
    exit_code=st.none() | st.integers(0, 65535),
    mode=st.none() | u64,
    flags=st.none() | u64,
)
hostile_origins = st.builds(
    Origin,
    target=st.just("lab:web1"),
    hostname=hostile_text,
    release=hostile_text,
    boot_time_ns=st.integers(-(1 << 63), (1 << 63) - 1),
)
hostile_detections = st.builds(Detection, rule=st.just(RULE), event=hostile_events, verb=st.just("log"))
hostile_notices = st.builds(NoticeRecord, event=st.just("vmon.rebooted"), said=hostile_text)
hostile_records = st.one_of(hostile_events, hostile_detections, hostile_notices)
