"""An answer as JSON: what stands in a guest's texts is data, whoever reads it.

Pure. Bytes that are not UTF-8 are written as \\xNN; control characters and those that reorder text as \\uNNNN, so that
`curl` on a terminal shows them and never sends them.
"""

from __future__ import annotations

import msgspec

from vmon.core.text import UNSAFE, storable


def encode(value: object) -> bytes:
    """JSON of records, or of anything that msgspec writes."""
    try:
        data = msgspec.json.encode(value)
    except UnicodeEncodeError:
        data = msgspec.json.encode(_storable(msgspec.to_builtins(value)))
    if data.isascii() and b"\x7f" not in data:
        return data
    return UNSAFE.sub(lambda match: _escape(match.group()), data.decode()).encode()


def _escape(char: str) -> str:
    units = char.encode("utf-16-be")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def _storable(value: object) -> object:
    if isinstance(value, str):
        return value if value.isascii() else storable(value)
    if isinstance(value, dict):
        return {_storable(key): _storable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_storable(item) for item in value]
    return value
