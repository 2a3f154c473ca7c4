"""Objects of OCSF 1.5.0 that its classes are made of: processes, files, endpoints, what a finding says.

Pure. A name that OCSF wants and an event does not have is "unknown", which OCSF itself says for what is not known.
"""

from __future__ import annotations

from typing import Any

from vmon.core.detection import Detection
from vmon.core.events import Event
from vmon.export import product
from vmon.export.ecs import attack_ids

Object = dict[str, Any]
FILE_TYPES = {"file.symlink": 7, "file.mkdir": 2, "file.rmdir": 2}
PROTOCOLS = {"tcp": 6, "udp": 17, "icmp": 1, "sctp": 132}
VERSIONS = {"inet": 4, "inet6": 6}


def user(uid: int) -> Object:
    """By its number, which is all that an event has."""
    return {"uid": str(uid)}


def process(event: Event) -> Object:
    """The process that an event is of."""
    found: Object = {
        "pid": event.pid,
        "tid": event.tid,
        "uid": event.key,
        "name": event.name,
        "user": user(event.uid),
        "euid": event.euid,
        "parent_process": {"pid": event.ppid},
    }
    if event.exe:
        found["file"] = file_at(event.exe, "")
    if event.cmdline:
        found["cmd_line"] = " ".join(event.cmdline)
    if event.container_id:
        found["container"] = {"uid": event.container_id}
    return found


def target_process(event: Event) -> Object:
    """The process that something is done to: a child, who is signalled or traced; else the event's own."""
    if event.target_pid is not None:
        found: Object = {"pid": event.target_pid}
        if event.target_key:
            found["uid"] = event.target_key
        if event.event == "process.fork":
            found |= {"name": event.name, "user": user(event.uid), "parent_process": {"pid": event.pid}}
        return found
    found = process(event)
    if event.event == "process.setuid" and event.new_uid is not None:
        found["user"] = user(event.new_uid)
        if event.new_euid is not None:
            found["euid"] = event.new_euid
    return found


def actor(event: Event, *, by_parent: bool = False) -> Object:
    """Who did it: the event's process, or for what a process becomes its parent."""
    who = {"pid": event.ppid} if by_parent else process(event)
    return {"process": who, "user": user(event.uid)}


def file_at(path: str | None, event: str) -> Object:
    """A file by its path; of a BPF program there is none."""
    if path is None:
        name, kind = ("BPF program", 99) if event == "bpf.load" else ("unknown", 0)
        return {"name": name, "type_id": kind}
    folder, slash, name = path.rpartition("/")
    found: Object = {"name": name or path or "unknown", "path": path, "type_id": FILE_TYPES.get(event, 0)}
    if slash:
        found["parent_folder"] = folder or "/"
    stem, dot, extension = name.rpartition(".")
    if dot and stem:
        found["ext"] = extension
    return found


def network(event: Event) -> Object:
    """Endpoint and connection of a network event."""
    if event.address is not None:
        endpoint: Object = {"ip": event.address}
        if event.port is not None:
            endpoint["port"] = event.port
    else:
        endpoint = {"name": event.path or event.family or "unknown"}
    direction = {"net.connect": 2, "net.accept": 1}.get(event.event, 0)
    info: Object = {"direction_id": direction}
    if event.protocol:
        info["protocol_name"] = event.protocol
        if event.protocol in PROTOCOLS:
            info["protocol_num"] = PROTOCOLS[event.protocol]
    if event.family in VERSIONS:
        info["protocol_ver_id"] = VERSIONS[event.family]
    side = "dst_endpoint" if event.event == "net.connect" else "src_endpoint"
    return {side: endpoint, "connection_info": info}


def evidence(event: Event) -> Object:
    """What a finding rests on."""
    found: Object = {"actor": actor(event), "process": target_process(event), "name": event.event}
    if event.event.startswith("net."):
        found |= network(event)
    elif event.path is not None:
        found["file"] = file_at(event.path, event.event)
    return found


def finding(record: Detection, uid: str, time_ms: int) -> Object:
    """What a rule says of itself."""
    rule = record.rule
    analytic: Object = {"type_id": 1, "type": "Rule", "name": rule.title}
    if rule.id:
        analytic["uid"] = rule.id
    if rule.description:
        analytic["desc"] = rule.description
    found: Object = {
        "uid": uid,
        "title": rule.title,
        "analytic": analytic,
        "created_time": time_ms,
        "data_sources": [product.NAME],
        "product_uid": product.NAME,
        "types": [record.event.event],
    }
    if rule.description:
        found["desc"] = rule.description
    if rule.references:
        found["src_url"] = rule.references[0]
    tactics, techniques, below = attack_ids(rule.attack)
    attacks: list[Object] = [
        {"technique": {"uid": name}} for name in techniques if not _has_child(name, below)
    ]
    attacks += [{"technique": {"uid": name.split(".")[0]}, "sub_technique": {"uid": name}} for name in below]
    attacks += [{"tactic": {"uid": name}} for name in tactics]
    if attacks:
        found["attacks"] = attacks
    return found


def _has_child(name: str, below: list[str]) -> bool:
    return any(child.startswith(f"{name}.") for child in below)
