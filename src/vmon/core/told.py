"""What is told of a guest: an event, a detection, or a notice of the watching itself. Types alone."""

from __future__ import annotations

from vmon.core.detection import Detection
from vmon.core.events import Event
from vmon.core.records.probe import NoticeRecord

Told = Event | Detection | NoticeRecord


def name_of(record: Told) -> str:
    """Its kind: process.exec, vmon.rebooted; of a detection that of its event."""
    return record.event.event if isinstance(record, Detection) else record.event
