"""Alerts in the shape of Falco's JSON output, for what already takes Falco's: one object a record.

Pure. Falco writes alerts alone; a plain event is written as one of a rule named after its kind. Field names are those
of `falco --list`; what an event does not have is left out. `hostname` is what the operator calls the machine.
"""

from __future__ import annotations

from errno import errorcode

from vmon.core.detection import Detection
from vmon.core.ecs import Origin
from vmon.core.events import Event
from vmon.core.told import Told, name_of
from vmon.export import product
from vmon.export.document import json_bytes
from vmon.export.marks import iso, moment_ns
from vmon.export.sentence import sentence
from vmon.export.severity import spelled

CALLS = {
    "process.fork": "clone",
    "process.exec": "execve",
    "process.exit": "procexit",
    "process.setuid": "setuid",
    "process.signal": "kill",
    "process.ptrace": "ptrace",
    "file.open": "open",
    "file.create": "creat",
    "file.symlink": "symlink",
    "file.unlink": "unlink",
    "file.rename": "rename",
    "file.link": "link",
    "file.mkdir": "mkdir",
    "file.rmdir": "rmdir",
    "file.chmod": "chmod",
    "file.chown": "chown",
    "file.truncate": "truncate",
    "file.mmap_exec": "mmap",
    "file.mount": "mount",
    "net.connect": "connect",
    "net.bind": "bind",
    "net.listen": "listen",
    "net.accept": "accept",
    "module.load": "finit_module",
    "bpf.load": "bpf",
}
"""The system call that Falco would name."""
FOLDERS = ("file.mkdir", "file.rmdir")


def encode(record: Told, origin: Origin) -> bytes:
    """One alert, without a line end."""
    return json_bytes(document(record, origin))


def document(record: Told, origin: Origin) -> dict[str, object]:
    """The same as plain objects."""
    moment = moment_ns(record, origin)
    time = iso(moment)
    priority = spelled(record).falco
    tags = [product.NAME]
    found: dict[str, object] = {"evt.time": moment, "vmon.target": origin.target}
    if isinstance(record, Detection):
        rule = record.rule.title
        tags += record.rule.attack
        found |= _fields(record.event) | {"vmon.verb": record.verb, "vmon.done": record.done}
    else:
        rule = f"{product.NAME} {name_of(record)}"
        found |= _fields(record) if isinstance(record, Event) else {}
    return {
        "hostname": origin.target,
        "output": f"{time[11:29]}: {priority} {sentence(record)}",
        "output_fields": found,
        "priority": priority,
        "rule": rule,
        "source": "syscall",
        "tags": tags,
        "time": time,
    }


def _fields(event: Event) -> dict[str, object]:
    found: dict[str, object] = {
        "evt.num": event.sequence,
        "evt.type": CALLS[event.event],
        "evt.cpu": event.cpu,
        "evt.res": errorcode.get(event.errno, str(-event.errno)) if event.errno else "SUCCESS",
        "proc.pid": event.pid,
        "proc.ppid": event.ppid,
        "proc.name": event.name,
        "thread.tid": event.tid,
        "user.uid": event.uid,
        "group.gid": event.gid,
        "container.id": event.container_id or "host",
        "vmon.event": event.event,
        "vmon.verdict": event.verdict,
    }
    if event.exe:
        found["proc.exepath"] = event.exe
    if event.cmdline:
        found["proc.cmdline"] = " ".join(event.cmdline)
        found["proc.args"] = " ".join(event.cmdline[1:])
    if event.address is not None:
        found |= _socket(event)
    elif event.path is not None and event.event != "process.exec":
        unix = event.event.startswith("net.")
        found["fd.name"] = event.path
        found["fd.type"] = "unix" if unix else "directory" if event.event in FOLDERS else "file"
        if not unix:
            folder, _, name = event.path.rpartition("/")
            found |= {"fd.filename": name, "fd.directory": folder or "/"}
    arguments = {
        "newpath": event.new_path,
        "flags": event.flags,
        "mode": event.mode,
        "sig": event.signal,
        "pid": event.target_pid,
        "uid": event.new_uid,
    }
    return found | {f"evt.arg.{name}": value for name, value in arguments.items() if value is not None}


def _socket(event: Event) -> dict[str, object]:
    kind = "ipv6" if event.family == "inet6" else "ipv4"
    found: dict[str, object] = {"fd.type": kind, "fd.l4proto": event.protocol or ""}
    # What is connected to is a server; who is accepted is a client; a bound address is the socket's own.
    side = {"net.connect": "s", "net.accept": "c"}.get(event.event, "l")
    found[f"fd.{side}ip"] = event.address
    if event.port is not None:
        found[f"fd.{side}port"] = event.port
        found["fd.name"] = f"{event.address}:{event.port}"
    return found
