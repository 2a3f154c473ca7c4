"""Records as an HTML table, for notebooks: what they are shown as instead of one long line.

Pure. Text of the guest is made printable, then escaped: nothing in it can be markup. Long lists are cut, which is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import msgspec

from vmon.core.text import printable

MOST_ROWS = 200
MOST_CHARACTERS = 200


def table(items: Sequence[object], *, notes: Sequence[str] = ()) -> str:
    """A table of records, one a row; notes stand below it. Of what are no records, their reprs."""
    rows = [_fields(item) for item in items[:MOST_ROWS]]
    names = list(dict.fromkeys(name for row in rows for name in row))
    # A column in which nobody has anything tells nothing.
    names = [name for name in names if any(row.get(name) is not None for row in rows)]
    head = "".join(f"<th>{_cell(name)}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td>{_cell(row.get(name))}</td>" for name in names) + "</tr>" for row in rows
    )
    left = len(items) - len(rows)
    said = [f"{len(items):,} rows" + (f", {left:,} more than are shown" if left else ""), *notes]
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p>{_lines(said)}</p>"


def card(title: str, fields: Mapping[str, object], *, notes: Sequence[str] = ()) -> str:
    """One record as a table of names and values."""
    rows = "".join(
        f"<tr><th>{_cell(name)}</th><td>{_cell(value)}</td></tr>"
        for name, value in fields.items()
        if value is not None
    )
    below = f"<p>{_lines(notes)}</p>" if notes else ""
    return f"<table><caption>{_cell(title)}</caption><tbody>{rows}</tbody></table>{below}"


def _fields(item: object) -> dict[str, object]:
    if not isinstance(item, msgspec.Struct):
        return {"": repr(item)}
    return {name: getattr(item, name) for name in item.__struct_fields__ if not name.startswith("_")}


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, list | tuple) and all(isinstance(word, str) for word in value):
        value = " ".join(value)
    text = printable(value if isinstance(value, str) else str(value))
    return escape(text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 1] + "…")


def _lines(lines: Sequence[str]) -> str:
    return "<br>".join(escape(printable(line)) for line in lines)
