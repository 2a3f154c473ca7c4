"""Text of a guest is not to be trusted on a terminal: control characters and stray bytes are shown, never sent.

Pure.
"""

from __future__ import annotations

import re
import unicodedata

# C0 and C1 controls, DEL, surrogates (bytes that are not UTF-8), and characters that reorder or hide text, tags
# (invisible letters) included.
UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
SHORT = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def printable(text: str) -> str:
    """The text with everything unsafe written as an escape: \\n, \\x1b, \\u202e; bytes that are not UTF-8 as \\xNN."""
    return UNSAFE.sub(_escape, text) if UNSAFE.search(text) else text


def _escape(match: re.Match[str]) -> str:
    char = match.group()
    if char in SHORT:
        return SHORT[char]
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if code > 0xFFFF:
        return f"\\U{code:08x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def storable(text: str) -> str:
    """The text with bytes that are not UTF-8 written as \\xNN, so that JSON can hold it; all else is kept."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def width(text: str) -> int:
    """Columns that printable text takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 1 + (unicodedata.east_asian_width(char) in "WF")
        for char in text
    )


def guest_text(data: bytes) -> str:
    """Bytes of the guest as str, reversible."""
    return data.decode("utf-8", "surrogateescape")
