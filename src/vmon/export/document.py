"""JSON that every reader can take and no terminal obeys: one object as one line of UTF-8.

Pure. Text of the guest may hold anything: bytes that are not UTF-8 are written as \\xNN, control characters and those
that reorder text as \\u escapes. Most text is plain ASCII and is found to be so in one look.
"""

from __future__ import annotations

import re

import msgspec

from vmon.core.text import UNSAFE, storable

_encode = msgspec.json.Encoder().encode


def json_bytes(value: object) -> bytes:
    """The value as JSON without a line end, safe on a terminal. About a microsecond for an event."""
    try:
        data = _encode(value)
    except UnicodeEncodeError:
        data = _encode(_storable(msgspec.to_builtins(value)))
    # JSON escapes C0 itself; DEL, C1 and characters that reorder text it may hold as they are.
    if data.isascii() and b"\x7f" not in data:
        return data
    return UNSAFE.sub(_escape, data.decode()).encode()


def indented(value: object, indent: int = 2) -> str:
    """The same for a person to read, over several lines."""
    return msgspec.json.format(json_bytes(value), indent=indent).decode()


def _escape(match: re.Match[str]) -> str:
    units = match.group().encode("utf-16-be")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def _storable(value: object) -> object:
    """Lone surrogates (bytes that are not UTF-8) can't be encoded; everything else stays as it is."""
    if isinstance(value, str):
        return value if value.isascii() else storable(value)
    if isinstance(value, dict):
        return {_storable(key): _storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(item) for item in value]
    return value
