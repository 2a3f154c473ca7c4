"""A record as one sentence for a person: the message part of formats that have one.

Pure. All text of the guest is printable in it: no line end, no control character, no quote of its own meaning.
"""

from __future__ import annotations

from vmon.core.detection import Detection
from vmon.core.events import Event
from vmon.core.text import printable
from vmon.core.told import Told

MAX_CHARS = 1024


def sentence(record: Told) -> str:
    """Who did what, and what became of it; at most MAX_CHARS characters."""
    if isinstance(record, Event):
        said = _of_event(record)
    elif isinstance(record, Detection):
        done = "" if record.verb in ("log", "allow") else f" ({record.verb}: {record.done})"
        said = f"{record.rule.title}{done}: {_of_event(record.event)}"
    else:
        said = record.said
    said = printable(said)
    return said if len(said) <= MAX_CHARS else said[: MAX_CHARS - 3] + "..."


def _of_event(event: Event) -> str:
    verdict = "" if event.verdict == "allowed" else f": {event.verdict}"
    who = f"{event.name} (pid {event.pid}, uid {event.uid})"
    return f"{event.event} by {who} {' '.join(object_words(event))}".rstrip() + verdict


def object_words(event: Event) -> list[str]:
    """What an event was done to, in words; text of the guest as it is."""
    words: list[str] = []
    if event.cmdline:
        words.append(" ".join(event.cmdline))
    elif event.path is not None:
        words.append(event.path)
    if event.new_path is not None:
        words.append(f"-> {event.new_path}")
    if event.address is not None:
        words.append(f"{event.protocol} {endpoint(event)}")
    if event.signal is not None:
        words.append(f"signal {event.signal}")
    if event.target_pid is not None:
        words.append(f"pid {event.target_pid}")
    if event.exit_code is not None:
        code, signal = event.exit_code >> 8, event.exit_code & 0x7F
        words.append(f"by signal {signal}" if signal else f"status {code}")
    return words


def endpoint(event: Event) -> str:
    """Address and port as one word."""
    host = f"[{event.address}]" if event.address and ":" in event.address else event.address
    return f"{host}:{event.port}" if event.port is not None else str(host)
