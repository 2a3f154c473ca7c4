"""JSON lines of vmon's own shape: a record as it is, with its kind and the machine that it came from.

Pure. The schemas of src/vmon/export/schema are made from the types at the end (`vmon.export.schemas`). What is the same
for all events of one machine is encoded once: with plain text a line costs two microseconds.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import msgspec

from vmon.core.detection import Detection
from vmon.core.ecs import Origin
from vmon.core.events import Event
from vmon.core.records.probe import NoticeRecord
from vmon.core.told import Told
from vmon.export.document import json_bytes


def encode(record: Told, origin: Origin) -> bytes:
    """One line, without its end."""
    return json_bytes(record)[:-1] + _end(type(record).__name__, origin)


def document(record: Told, origin: Origin) -> msgspec.Raw:
    """The same, to be written by another encoder."""
    return msgspec.Raw(encode(record, origin))


@lru_cache(64)
def _end(kind: str, origin: Origin) -> bytes:
    name = {"Event": "event", "Detection": "detection"}.get(kind, "notice")
    return b',"record":"%b","origin":%b}' % (name.encode(), json_bytes(origin))


class EventLine(Event, frozen=True, kw_only=True, omit_defaults=True):
    """One event: who did what to which object, what became of it, and on which machine."""

    record: Literal["event"]
    origin: Origin


class DetectionLine(Detection, frozen=True, kw_only=True, omit_defaults=True):
    """One rule that fitted one event, and on which machine."""

    record: Literal["detection"]
    origin: Origin


class NoticeLine(NoticeRecord, frozen=True, kw_only=True, omit_defaults=True):
    """What happened to the watching itself, and on which machine."""

    record: Literal["notice"]
    origin: Origin
