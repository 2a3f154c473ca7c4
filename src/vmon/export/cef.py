"""Lines of the Common Event Format, revision 0, as ArcSight and most collectors take them.

Pure. Text of the guest is made printable first, so no line end is left that could begin a record of its own; then what
has a meaning in CEF is escaped: a bar in the head, an equals sign behind it, the backslash everywhere.
"""

from __future__ import annotations

from vmon.core.detection import Detection
from vmon.core.ecs import Origin
from vmon.core.events import Event
from vmon.core.text import printable
from vmon.core.told import Told, name_of
from vmon.export import product
from vmon.export.marks import moment_ns, uid
from vmon.export.sentence import sentence
from vmon.export.severity import REFUSED, spelled

Value = str | int | None
CUSTOM = (
    ("cs1", "container"),
    ("cs2", "commandLine"),
    ("cs3", "attack"),
    ("cs4", "processKey"),
    ("cs5", "ruleSource"),
)
"""Custom texts of CEF, and what each is used for."""


def encode(record: Told, origin: Origin) -> bytes:
    """One line, without its end."""
    kind = name_of(record)
    name = record.rule.title if isinstance(record, Detection) else kind
    signature = (record.rule.id or record.rule.title) if isinstance(record, Detection) else kind
    head = (product.NAME, product.NAME, product.version(), signature, name, str(spelled(record).cef))
    more = " ".join(
        f"{key}={extension(value)}" for key, value in _fields(record, origin) if value is not None
    )
    return f"CEF:0|{'|'.join(map(header, head))}|{more}".encode()


def header(text: str) -> str:
    """A text for the head: between bars."""
    return printable(text).replace("\\", "\\\\").replace("|", "\\|")


def extension(value: str | int) -> str:
    """A text for a value behind the head."""
    if isinstance(value, int):
        return str(value)
    return printable(value).replace("\\", "\\\\").replace("=", "\\=")


def _fields(record: Told, origin: Origin) -> list[tuple[str, Value]]:
    found: list[tuple[str, Value]] = [
        ("rt", moment_ns(record, origin) // 10**6),
        ("dvchost", origin.target),
        ("deviceExternalId", origin.hostname),
        ("externalId", uid(record, origin)),
        ("cat", name_of(record)),
    ]
    if isinstance(record, Event):
        found += [("act", record.verdict), *_of_event(record)]
    elif isinstance(record, Detection):
        rule = record.rule
        found += [("act", f"{record.verb} {record.done}"), ("reason", record.reason or None)]
        found += _of_event(record.event)
        found += _custom("attack", " ".join(rule.attack)) + _custom("ruleSource", rule.source)
        found += [("cnt", record.suppressed + 1)]
    return [*found, ("msg", sentence(record))]


def _of_event(event: Event) -> list[tuple[str, Value]]:
    far = event.event == "net.connect"
    path = event.path
    found: list[tuple[str, Value]] = [
        ("outcome", "failure" if event.verdict in REFUSED else "success"),
        ("spid", event.pid),
        ("sproc", event.exe or event.name),
        ("suid", str(event.uid)),
        ("filePath", path),
        ("fname", path.rpartition("/")[2] if path else None),
        ("proto", event.protocol),
        ("dst" if far else "src", event.address),
        ("dpt" if far else "spt", event.port),
        ("dpid", event.target_pid),
    ]
    if event.new_path is not None:
        # CEF names the file as it is now, and what it was.
        found += [("oldFilePath", path)]
        found = [(key, event.new_path if key == "filePath" else value) for key, value in found]
    found += _custom("container", event.container_id) + _custom("processKey", event.key)
    if event.cmdline:
        found += _custom("commandLine", " ".join(event.cmdline))
    if event.rule:
        found += [("cn1", event.rule), ("cn1Label", "rule")]
    return found


def _custom(label: str, value: str | None) -> list[tuple[str, Value]]:
    key = next(key for key, name in CUSTOM if name == label)
    return [(key, value), (f"{key}Label", label)] if value else []
