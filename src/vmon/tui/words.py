"""Text of a guest as it stands in a cell of a screen: escaped, cut and filled up by the columns that it takes.

Pure. Control characters, bytes that are not UTF-8 and characters that reorder text become escapes; brackets are text,
because nothing here is ever read as markup. Marks that pile up on one cell are kept up to a limit.
"""

from __future__ import annotations

import unicodedata

from vmon.core.text import printable, width

LONGEST = 4096
"""Characters of one text that are looked at; a guest can have arguments of megabytes."""
MARKS_IN_A_CELL = 2


def clean(text: str) -> str:
    """Safe to show, on one line."""
    if len(text) > LONGEST:
        text = text[:LONGEST] + "…"
    text = printable(text)
    return text if text.isascii() else _few_marks(text)


def _few_marks(text: str) -> str:
    """Without the marks that would pile up on one cell."""
    found, marks = [], 0
    for char in text:
        marks = marks + 1 if unicodedata.combining(char) else 0
        if marks <= MARKS_IN_A_CELL:
            found.append(char)
    return "".join(found)


def fit(text: str, columns: int, *, right: bool = False) -> str:
    """Exactly so many columns of clean text: cut with an ellipsis, or filled with blanks."""
    taken = width(text)
    if taken > columns:
        text = cut(text, columns)
        taken = width(text)
    blanks = " " * (columns - taken)
    return blanks + text if right else text + blanks


def cut(text: str, columns: int) -> str:
    """At most so many columns of clean text."""
    if width(text) <= columns:
        return text
    if columns <= 0:
        return ""
    kept, taken = [], 0
    for char in text:
        taken += width(char)
        if taken > columns - 1:
            break
        kept.append(char)
    return "".join(kept) + "…"


def folded(text: str, columns: int) -> list[str]:
    """Clean text in lines of at most so many columns, broken at blanks where it has some."""
    lines, rest = [], text
    while width(rest) > max(columns, 2):
        head = cut(rest, columns + 1)[:-1]
        at = head.rfind(" ") if " " in head[columns // 2 :] else len(head)
        lines.append(rest[:at].rstrip())
        rest = rest[max(at, 1) :].lstrip()
    return [*lines, rest]


def size(size_bytes: int | None) -> str:
    """Bytes in five columns: 512B, 3.4M, 1023M; a dash for what is not known."""
    if size_bytes is None:
        return "-"
    value = float(size_bytes)
    for unit in "BKMG":
        if value < 1000:
            return f"{value:.0f}{unit}" if unit == "B" or value >= 100 else f"{value:.1f}{unit}"
        value /= 1024
    return f"{value:.1f}T"


def span(seconds: float) -> str:
    """A time: 4.2s, 3:04, 5:03:04, 12d 3:04:05."""
    if seconds < 60:
        return f"{max(seconds, 0.0):.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours}:{minutes:02}:{rest:02}"
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
