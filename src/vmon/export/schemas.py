"""JSON schemas of vmon's own JSON lines, made from the records themselves; what is published lies in `schema/` beside.

Pure but for reading the published files, which are part of the package. A test of the house holds them fresh.
"""

from __future__ import annotations

import inspect
import re
from importlib import resources
from typing import Any

import msgspec

from vmon.core.detection import RuleInfo
from vmon.core.ecs import Origin
from vmon.core.errors import UsageError
from vmon.core.events import Event
from vmon.core.records.probe import DifferenceRecord
from vmon.export.document import indented
from vmon.export.jsonl import DetectionLine, EventLine, NoticeLine

TYPES: dict[str, type[msgspec.Struct]] = {
    "event": EventLine,
    "detection": DetectionLine,
    "notice": NoticeLine,
}
"""What a line can be."""
KINDS: tuple[type, ...] = (*TYPES.values(), Event, RuleInfo, DifferenceRecord, Origin)
DESCRIBED: dict[str, type] = {kind.__name__: kind for kind in KINDS}
DIALECT = "https://json-schema.org/draft/2020-12/schema"
FIELD = re.compile(r'^    (\w+): [^\n]+\n    """(.+?)"""', re.M | re.S)


def made(name: str) -> str:
    """The schema of one kind of line, as its file should be. Milliseconds."""
    schema = msgspec.json.schema(TYPES[name])
    for component in schema.get("$defs", {}).values():
        describe(component)
    whole = {"$schema": DIALECT, "$id": f"urn:vmon:schema:{name}", **schema}
    return indented(whole) + "\n"


def describe(component: dict[str, Any]) -> None:
    """Add what the source says of each field: the text that follows it."""
    notes: dict[str, str] = {}
    for kind in reversed(inspect.getmro(DESCRIBED[component["title"]])):
        if kind.__module__.startswith("vmon."):
            notes |= {name: " ".join(text.split()) for name, text in FIELD.findall(inspect.getsource(kind))}
    for name, found in component["properties"].items():
        if name in notes and "$ref" not in found:
            found["description"] = notes[name]


def published(name: str) -> str:
    """The text of one schema. UsageError where there is none of that name."""
    if name not in TYPES:
        raise UsageError(f"there is no schema {name!r}", hint=f"the schemas are {', '.join(TYPES)}")
    return (resources.files("vmon.export") / "schema" / f"{name}.schema.json").read_text("utf-8")
