"""Documents of the Elastic Common Schema, version 8.17: an object a record, as Elasticsearch takes it.

Pure. `host.name` is what the operator calls the machine, `host.hostname` what it calls itself: a guest can't pass for
another. What ECS has no name for stands under `vmon`. Numbers that Elasticsearch could not hold (64 bits with a sign)
would make it refuse the document: they are left out, and their names told in `vmon.out_of_range`.
"""

from __future__ import annotations

from vmon.core.detection import Detection
from vmon.core.ecs import Fields, Origin, fields, nested
from vmon.core.events import Event
from vmon.core.told import Told
from vmon.export import product
from vmon.export.document import json_bytes
from vmon.export.marks import iso, moment_ns, uid
from vmon.export.sentence import sentence
from vmon.export.severity import spelled

VERSION = "8.17.0"
LONG = 1 << 63


def encode(record: Told, origin: Origin) -> bytes:
    """One document, without a line end."""
    return json_bytes(document(record, origin))


def document(record: Told, origin: Origin) -> dict[str, object]:
    """The same as plain objects."""
    flat = _common(record, origin)
    if isinstance(record, Event):
        flat |= fields(record)
    elif isinstance(record, Detection):
        flat |= fields(record.event) | _of_detection(record)
    else:
        flat |= _of_notice(record.event)
        flat["vmon.event"] = record.event
    too_large = [name for name, value in flat.items() if isinstance(value, int) and not -LONG <= value < LONG]
    if too_large:
        flat = {name: value for name, value in flat.items() if name not in too_large}
        flat["vmon.out_of_range"] = too_large
    return nested(flat)


def _common(record: Told, origin: Origin) -> Fields:
    kind = (
        "event" if isinstance(record, Event) else "detection" if isinstance(record, Detection) else "notice"
    )
    return {
        "@timestamp": iso(moment_ns(record, origin)),
        "ecs.version": VERSION,
        "message": sentence(record),
        "event.id": uid(record, origin),
        "event.module": product.NAME,
        "event.dataset": f"{product.NAME}.{kind}",
        "event.severity": spelled(record).ecs,
        "host.name": origin.target,
        "host.hostname": origin.hostname,
        "host.os.type": "linux",
        "host.os.kernel": origin.release,
        "observer.vendor": product.NAME,
        "observer.product": product.NAME,
        "observer.type": "hypervisor",
        "observer.version": product.version(),
    }


def _of_detection(record: Detection) -> Fields:
    rule = record.rule
    found: Fields = {
        "event.kind": "alert",
        "rule.name": rule.title,
        "vmon.verb": record.verb,
        "vmon.done": record.done,
    }
    optional: dict[str, str | int | list[str]] = {
        "rule.id": rule.id,
        "rule.description": rule.description,
        "rule.reference": rule.references[0] if rule.references else "",
        "vmon.rule_source": rule.source,
        "event.reason": record.reason,
        "vmon.suppressed": record.suppressed,
    }
    tactics, techniques, below = attack_ids(rule.attack)
    optional |= {
        "threat.tactic.id": tactics,
        "threat.technique.id": techniques,
        "threat.technique.subtechnique.id": below,
    }
    if rule.attack:
        found["threat.framework"] = "MITRE ATT&CK"
    return found | {name: value for name, value in optional.items() if value}


def attack_ids(attack: tuple[str, ...]) -> tuple[list[str], list[str], list[str]]:
    """ATT&CK ids as tactics, techniques and subtechniques; a subtechnique names its technique too."""
    tactics = [name for name in attack if name.startswith("TA")]
    below = [name for name in attack if "." in name]
    others = [name.split(".")[0] for name in attack if not name.startswith("TA")]
    return tactics, list(dict.fromkeys(others)), below


def _of_notice(event: str) -> Fields:
    tampered = event == "vmon.tampered"
    return {
        "event.kind": "alert" if tampered else "state",
        "event.category": ["intrusion_detection" if tampered else "host"],
        "event.type": ["info"],
        "event.action": event.removeprefix("vmon."),
    }
