"""A journal is a chain of lines: each names the hash of the one before, and ends with its own.

Pure: lines are made and judged here. A line is one JSON object whose last member is the hash of all bytes before it,
so nothing needs to be written in a canonical form: what is hashed is what stands there. With a key the hash is an HMAC:
who can write the file and has not the key can't make a line. Without one he can make the whole chain anew, and only a
head kept elsewhere tells.

    {"seq":2,"at":"2026-01-01T00:00:00.000000Z","previous":"HEX","entry":{...},"hash":"HEX"}

A line that was cut off by a crash (kill -9, no power) is left as it is; the next line says how many bytes it has and
their hash. Any other line that is not of the chain breaks it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from vmon.core.errors import JournalBroken
from vmon.export.marks import iso

FORMAT = 1
START = "0" * 64
TAIL_BYTES = len('"hash":""}') + 64 + 1


class Line(msgspec.Struct, frozen=True):
    """What a reader needs of a line."""

    seq: int
    at: str
    previous: str
    entry: dict[str, object]
    hash: str


def make_line(seq: int, at_ns: int, previous: str, entry: bytes, key: bytes | None) -> tuple[bytes, str]:
    """One line without its end, and its hash, which the next one names. `entry` is a JSON object."""
    begin = b'{"seq":%d,"at":"%b","previous":"%b","entry":%b' % (
        seq,
        iso(at_ns, 6).encode(),
        previous.encode(),
        entry,
    )
    found = digest(begin, key)
    return b'%b,"hash":"%b"}' % (begin, found.encode()), found


def digest(data: bytes, key: bytes | None) -> str:
    """SHA-256, or HMAC with it."""
    return hmac.new(key, data, "sha256").hexdigest() if key else hashlib.sha256(data).hexdigest()


def read_line(data: bytes, key: bytes | None) -> Line | None:
    """A line that is what its own hash says; None for anything else."""
    if len(data) < TAIL_BYTES:
        return None
    try:
        line = msgspec.json.decode(data, type=Line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    if data[-TAIL_BYTES:] != b',"hash":"%b"}' % line.hash.encode("utf-8", "replace"):
        return None
    return line if hmac.compare_digest(line.hash, digest(data[:-TAIL_BYTES], key)) else None


@dataclass(slots=True)
class Verdict:
    """A journal that is whole."""

    lines: int = 0
    records: int = 0
    head: str = START
    """Hash of its last line: keep it elsewhere, and nothing can be cut off unnoticed."""
    closed: bool = False
    """Whether vmon ended it in order; else it runs still, or was killed, or the end was cut off."""
    torn: list[int] = field(default_factory=list)
    """Numbers of lines that a crash cut off."""
    keyed: bool = False
    head_at: int = 0
    """Number of the line that the head asked for is of; 0 where none was asked for."""


def verify(lines: Iterable[bytes], key: bytes | None = None, head: str | None = None) -> Verdict:
    """Judge a journal, whose lines keep their ends. JournalBroken names the first line that is not as it was written.

    With `head` a line of that hash must be there: what came before it is then as it was when that was noted.
    """
    found = Verdict()
    torn: bytes | None = None
    for number, whole in enumerate(lines, 1):
        data = whole.removesuffix(b"\n")
        line = read_line(data, key)
        if line is None:
            if torn is not None:
                raise _broken(number - 1, torn, key)
            torn = data
            if not whole.endswith(b"\n"):
                found.torn.append(number)
                torn = None  # the last one: nothing after it could say so
            continue
        if torn is not None:
            if line.entry.get("torn") != digest(torn, None):
                raise _broken(number - 1, torn, key)
            found.torn.append(number - 1)
            torn = None
        _follows(line, number, found)
        found.lines, found.head = line.seq, line.hash
        found.closed = line.entry.get("journal") == "closed"
        found.records += "journal" not in line.entry
        found.keyed = key is not None
        if head is not None and hmac.compare_digest(line.hash, head):
            found.head_at = number
    if torn is not None:
        raise _broken(number, torn, key)
    if head is not None and not found.head_at:
        raise JournalBroken(
            f"no line has the hash {head[:16]}...: the end was cut off after line {found.lines}, or all was made anew",
            hint="the lines that are there follow one another",
        )
    return found


def _follows(line: Line, number: int, found: Verdict) -> None:
    if not found.lines and line.entry.get("journal") != "begun":
        raise JournalBroken(f"line {number}: this is no beginning of a journal: lines before it are missing")
    if line.seq > found.lines + 1:
        raise JournalBroken(
            f"line {number}: number {line.seq} follows {found.lines}: lines between them are missing"
        )
    if line.seq <= found.lines:
        raise JournalBroken(
            f"line {number}: number {line.seq} follows {found.lines}: lines were moved or repeated"
        )
    if line.previous != found.head:
        raise JournalBroken(
            f"line {number}: it does not follow from the line before: that is another one now"
        )


def _broken(number: int, data: bytes, key: bytes | None) -> JournalBroken:
    keyed = b'"keyed":true' in data[:400]
    if number == 1 and keyed != (key is not None):
        return JournalBroken(
            "line 1: " + ("it was written with a key" if keyed else "it was written without a key"),
            hint="vmon journal verify --key FILE" if keyed else "leave --key away",
        )
    return JournalBroken(f"line {number}: it is not as it was written: its hash is another one")
