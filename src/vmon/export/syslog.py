"""Messages of syslog by RFC 5424: a head, structured data, and a sentence or a record in another format.

Pure. HOSTNAME is what the operator calls the machine: a guest can't log as another one. Text of the guest stands in
structured data, made printable and escaped, or in the message, which holds no line end. 32473 is the number that
RFC 5612 gives to examples: vmon has none of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from vmon.core.detection import Detection
from vmon.core.ecs import Origin
from vmon.core.events import Event
from vmon.core.text import printable
from vmon.core.told import Told, name_of
from vmon.export import product
from vmon.export.marks import iso, moment_ns
from vmon.export.sentence import sentence
from vmon.export.severity import spelled

FACILITY = 13
"""Log audit."""
ENTERPRISE = 32473
SPECIAL = re.compile(r'["\\\]]')
NOT_PRINTABLE = re.compile(r"[^!-~]")
MAX_VALUE_CHARS = 1024

Encode = Callable[[Told, Origin], bytes]


def encode(record: Told, origin: Origin) -> bytes:
    """One message with the record as structured data and as a sentence, without a frame."""
    found = f"[vmon@{ENTERPRISE} {_pairs(_own(record, origin))}]"
    if isinstance(record, Detection):
        rule = record.rule
        said: dict[str, object] = {
            "title": rule.title,
            "id": rule.id,
            "severity": rule.severity,
            "attack": ",".join(rule.attack),
            "verb": record.verb,
            "done": record.done,
        }
        found += f"[rule@{ENTERPRISE} {_pairs(said)}]"
    return f"{head(record, origin)}{found} {sentence(record)}".encode()


def around(encode_message: Encode) -> Encode:
    """An encoder of syslog messages that carry a record in another format, of one line."""

    def encode_both(record: Told, origin: Origin) -> bytes:
        return head(record, origin).encode() + b" " + encode_message(record, origin)

    return encode_both


def head(record: Told, origin: Origin) -> str:
    """Everything before the structured data of ours: it ends with an element that says who wrote it."""
    priority = FACILITY * 8 + spelled(record).syslog
    when = iso(moment_ns(record, origin), 6)
    host = token(origin.target, 255)
    kind = token(name_of(record), 32)
    writer = f'[origin software="{product.NAME}" swVersion="{value(product.version())}"]'
    return f"<{priority}>1 {when} {host} {product.NAME} - {kind} {writer}"


def token(text: str, most: int) -> str:
    """A word of the head: printable ASCII without blanks; a dash where nothing is left."""
    return NOT_PRINTABLE.sub("_", text)[:most] or "-"


def value(text: str) -> str:
    """A text between quotes."""
    text = printable(text)
    if len(text) > MAX_VALUE_CHARS:
        text = text[: MAX_VALUE_CHARS - 3] + "..."
    if text.endswith("\\"):
        # Escaped it would be right, and there are readers that take it for an escape of the quote behind it.
        text = text[:-1] + "\\x5c"
    return SPECIAL.sub(lambda match: "\\" + match.group(), text)


def _pairs(found: dict[str, object]) -> str:
    return " ".join(
        f'{name}="{value(str(given))}"' for name, given in found.items() if given not in (None, "")
    )


def _own(record: Told, origin: Origin) -> dict[str, object]:
    found: dict[str, object] = {"target": origin.target, "hostname": origin.hostname}
    event = record.event if isinstance(record, Detection) else record
    if not isinstance(event, Event):
        return found | {"event": event.event, "said": event.said}
    told = msgspec.structs.asdict(event)
    if event.cmdline is not None:
        told["cmdline"] = " ".join(event.cmdline)
    return found | {name: given for name, given in told.items() if given not in (None, False)}
