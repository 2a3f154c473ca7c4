"""Events of the Open Cybersecurity Schema Framework, 1.5.0: an object a record, of the class that fits its kind.

Pure. What OCSF has no place for stands under `unmapped`. The device is named by the operator's word for the machine;
what the guest calls itself is its hostname. Which kind becomes which class is said in CLASSES:

    1001 File System Activity       file.*, but mapping code
    1002 Kernel Extension Activity  module.load, bpf.load: both put code into the kernel
    1005 Module Activity            file.mmap_exec: a file becomes code of a process
    1007 Process Activity           process.*: a signal is activity 99, a ptrace 3 (Open)
    2004 Detection Finding          detections, and a probe that was tampered with
    4001 Network Activity           net.*: binding is activity 99
    0    Base Event                 what else happens to the watching itself
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from vmon.core.detection import Detection
from vmon.core.ecs import Origin
from vmon.core.events import Event
from vmon.core.told import Told
from vmon.export import product
from vmon.export.document import json_bytes
from vmon.export.marks import moment_ns, uid
from vmon.export.ocsf_objects import (
    Object,
    actor,
    evidence,
    file_at,
    finding,
    network,
    target_process,
)
from vmon.export.sentence import sentence
from vmon.export.severity import REFUSED, spelled

VERSION = "1.5.0"


@dataclass(frozen=True, slots=True)
class Class:
    """A class of OCSF and what it says of one kind of event."""

    uid: int
    name: str
    activity_id: int
    activity: str


CATEGORIES = {
    0: "Uncategorized",
    1: "System Activity",
    2: "Findings",
    4: "Network Activity",
}
FILE, EXTENSION, MODULE, PROCESS, NETWORK, FINDING, BASE = 1001, 1002, 1005, 1007, 4001, 2004, 0
NAMES = {
    FILE: "File System Activity",
    EXTENSION: "Kernel Extension Activity",
    MODULE: "Module Activity",
    PROCESS: "Process Activity",
    NETWORK: "Network Activity",
    FINDING: "Detection Finding",
    BASE: "Base Event",
}
CLASSES: dict[str, tuple[int, int, str]] = {
    "process.fork": (PROCESS, 1, "Launch"),
    "process.exec": (PROCESS, 1, "Launch"),
    "process.exit": (PROCESS, 2, "Terminate"),
    "process.setuid": (PROCESS, 5, "Set User ID"),
    "process.signal": (PROCESS, 99, "Signal"),
    "process.ptrace": (PROCESS, 3, "Open"),
    "file.open": (FILE, 14, "Open"),
    "file.create": (FILE, 1, "Create"),
    "file.symlink": (FILE, 1, "Create"),
    "file.link": (FILE, 1, "Create"),
    "file.mkdir": (FILE, 1, "Create"),
    "file.unlink": (FILE, 4, "Delete"),
    "file.rmdir": (FILE, 4, "Delete"),
    "file.rename": (FILE, 5, "Rename"),
    "file.chmod": (FILE, 7, "Set Security"),
    "file.chown": (FILE, 7, "Set Security"),
    "file.truncate": (FILE, 3, "Update"),
    "file.mount": (FILE, 12, "Mount"),
    "file.mmap_exec": (MODULE, 1, "Load"),
    "module.load": (EXTENSION, 1, "Load"),
    "bpf.load": (EXTENSION, 1, "Load"),
    "net.connect": (NETWORK, 1, "Open"),
    "net.accept": (NETWORK, 1, "Open"),
    "net.bind": (NETWORK, 99, "Bind"),
    "net.listen": (NETWORK, 7, "Listen"),
}
"""Class, activity id and activity of each kind of event."""
UNMAPPED = (
    "event",
    "verdict",
    "rule",
    "ask",
    "cut",
    "cpu",
    "gid",
    "cgroup_id",
    "family",
    "flags",
    "mode",
    "signal",
)
MORE_UNMAPPED = ("new_uid", "new_euid", "new_gid", "errno")
DISPOSITIONS = {"deny": 2, "kill": 2, "quarantine": 3, "suspend": 7, "allow": 1, "log": 17, "ask": 99}


def encode(record: Told, origin: Origin) -> bytes:
    """One event, without a line end."""
    return json_bytes(document(record, origin))


def document(record: Told, origin: Origin) -> dict[str, Any]:
    """The same as plain objects."""
    if isinstance(record, Event):
        class_uid, activity_id, activity = CLASSES[record.event]
        whole = _common(record, origin, class_uid, activity_id, activity)
        return whole | _of_event(record, class_uid) | _verdict(record)
    if isinstance(record, Detection):
        whole = _common(record, origin, FINDING, 1, "Create")
        event = record.event
        whole |= {
            "finding_info": finding(record, uid(record, origin), whole["time"]),
            "evidences": [evidence(event)],
            "status_id": 1,
            "status": "New",
            "is_alert": True,
            "action_id": _action_of_verb(record),
            "disposition_id": DISPOSITIONS[record.verb] if record.done == "done" else 16,
            "count": record.suppressed + 1,
            "unmapped": {
                "verb": record.verb,
                "done": record.done,
                "source": record.rule.source,
                "event": msgspec.to_builtins(event),
            },
        }
        return whole | ({"status_detail": record.reason} if record.reason else {})
    if record.event == "vmon.tampered":
        whole = _common(record, origin, FINDING, 1, "Create")
        title = "The probe in the guest was tampered with"
        info = {
            "uid": uid(record, origin),
            "title": title,
            "desc": record.said,
            "created_time": whole["time"],
        }
        info |= {
            "types": ["tampering"],
            "analytic": {"type_id": 1, "name": record.event, "uid": record.event},
        }
        differences = msgspec.to_builtins(record.differences)
        return whole | {
            "finding_info": info,
            "status_id": 1,
            "is_alert": True,
            "unmapped": {"event": record.event, "differences": differences},
        }
    whole = _common(record, origin, BASE, 99, record.event.removeprefix("vmon."))
    return whole | {"unmapped": {"event": record.event}}


def _common(record: Told, origin: Origin, class_uid: int, activity_id: int, activity: str) -> dict[str, Any]:
    severity = spelled(record)
    category = class_uid // 1000
    class_name = NAMES[class_uid]
    metadata: Object = {
        "version": VERSION,
        "product": {"name": product.NAME, "vendor_name": product.NAME, "version": product.version()},
        "profiles": ["host", "container", "security_control", "linux/linux_users"],
        "uid": uid(record, origin),
        "log_name": product.NAME,
    }
    return {
        "class_uid": class_uid,
        "class_name": class_name,
        "category_uid": category,
        "category_name": CATEGORIES[category],
        "activity_id": activity_id,
        "activity_name": activity,
        "type_uid": class_uid * 100 + activity_id,
        "type_name": f"{class_name}: {activity}",
        "time": moment_ns(record, origin) // 10**6,
        "timezone_offset": 0,
        "severity_id": severity.ocsf,
        "severity": severity.ocsf_name,
        "message": sentence(record),
        "metadata": metadata,
        "device": {
            "type_id": 6,
            "type": "Virtual",
            "name": origin.target,
            "hostname": origin.hostname,
            "os": {"name": "Linux", "type_id": 200, "type": "Linux", "kernel_release": origin.release},
        },
    }


def _of_event(event: Event, class_uid: int) -> Object:
    found: Object = {"actor": actor(event)}
    if class_uid == PROCESS:
        found["process"] = target_process(event)
        if event.event in ("process.exec", "process.fork"):
            # A process is launched by another one: the parent, who may be the one that forks.
            found["actor"] = actor(event, by_parent=event.event == "process.exec")
        if event.exit_code is not None:
            signal = event.exit_code & 0x7F
            found["exit_code"] = 128 + signal if signal else event.exit_code >> 8
    elif class_uid == FILE:
        found["file"] = file_at(event.path, event.event)
        if event.new_path is not None:
            found["file_result"] = file_at(event.new_path, event.event)
    elif class_uid == MODULE:
        found["module"] = {"file": file_at(event.path, event.event), "load_type_id": 4, "load_type": "Mapped"}
    elif class_uid == EXTENSION:
        found["driver"] = {"file": file_at(event.path, event.event)}
    else:
        found |= network(event)
    unmapped = {name: getattr(event, name) for name in UNMAPPED} | {
        name: getattr(event, name) for name in MORE_UNMAPPED
    }
    found["unmapped"] = {name: value for name, value in unmapped.items() if value is not None}
    return found


def _verdict(event: Event) -> Object:
    if event.verdict in REFUSED:
        return {"action_id": 2, "disposition_id": 2, "status_id": 2, "status": "Failure"}
    if event.verdict == "allowed":
        return {"action_id": 1, "disposition_id": 1, "status_id": 1, "status": "Success"}
    return {"action_id": 3, "disposition_id": 14 if event.verdict == "asked" else 17, "status_id": 0}


def _action_of_verb(record: Detection) -> int:
    if record.done != "done" or record.verb in ("log", "ask"):
        return 3
    return 1 if record.verb == "allow" else 2
