"""In which order processes stand in the table, and which: sorted, filtered, as a tree with folded branches.

Pure. Loops that a lying guest puts into its tree are cut: every process stands in it once.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from vmon.core.events import Event
from vmon.tui.columns import BY_NAME, NAMES, Context
from vmon.tui.source import Row

MOST_INDENT = 40
"""Columns; deeper generations stand as if they were not deeper."""


@dataclass(slots=True)
class View:
    """What the user has chosen to see."""

    sort: str = "cpu"
    reverse: bool = False
    tree: bool = False
    kernel_threads: bool = False
    filter: str = ""
    folded: set[str] = field(default_factory=set)
    """Keys of processes whose descendants are not shown."""

    def step_sort(self, by: int) -> None:
        """Sort by the next column, or the one before."""
        self.sort = NAMES[(NAMES.index(self.sort) + by) % len(NAMES)]
        self.reverse = False


class Placed(msgspec.Struct, frozen=True, gc=False):
    """A process at its place."""

    row: Row
    indent: str = ""
    """What is drawn before its command in a tree."""
    below: int = 0
    """Descendants that are folded away under it."""
    fits: bool = True
    """False for one that is shown only because a descendant fits the filter."""


def words_of(filter_text: str) -> list[str]:
    """The words of a filter."""
    return filter_text.lower().split()


def matches(words: list[str], text: str, fields: dict[str, str]) -> bool:
    """Whether every word is in the text, or, as name=value, says what a field is; one that begins with ! must not."""
    return all(
        not _has(word[1:], text, fields) if word[0] == "!" else _has(word, text, fields) for word in words
    )


def _has(word: str, text: str, fields: dict[str, str]) -> bool:
    name, sign, value = word.partition("=")
    return fields[name] == value if sign and name in fields else word in text


def row_matches(words: list[str], row: Row, context: Context) -> bool:
    """Text is looked for in pid, user, name, command and container; fields are pid, uid and state."""
    if not words:
        return True
    user = context.users.get(row.uid, "") if row.uid is not None else ""
    text = " ".join((str(row.pid), user, row.name, row.command, row.container or "")).lower()
    return matches(words, text, {"pid": str(row.pid), "uid": str(row.uid), "state": row.state.lower()})


def event_matches(words: list[str], event: Event, said: str) -> bool:
    """Text is looked for in pid, kind, name, program, container and object; fields are pid, uid and event."""
    if not words:
        return True
    parts = (str(event.pid), event.event, event.name, event.exe or "", event.container_id or "", said)
    return matches(
        words, " ".join(parts).lower(), {"pid": str(event.pid), "uid": str(event.uid), "event": event.event}
    )


def arrange(rows: list[Row], view: View, context: Context) -> list[Placed]:
    """The table, from top to bottom."""
    chosen = rows if view.kernel_threads else [row for row in rows if not row.kernel_thread]
    words = words_of(view.filter)
    fitting = {row.key for row in chosen if row_matches(words, row, context)}
    ordered = _sorted(chosen, view, context)
    if not view.tree:
        return [Placed(row) for row in ordered if row.key in fitting]
    return _as_tree(ordered, view, fitting)


def _sorted(rows: list[Row], view: View, context: Context) -> list[Row]:
    column = BY_NAME[view.sort]
    by_pid = sorted(rows, key=lambda row: row.pid)
    order = column.order
    return sorted(
        by_pid,
        key=lambda row: order(row, context),
        reverse=column.largest_first is not view.reverse,
    )


def _as_tree(rows: list[Row], view: View, fitting: set[str]) -> list[Placed]:
    by_key = {row.key: row for row in rows}
    children: dict[str | None, list[Row]] = {}
    for row in rows:
        parent = row.parent if row.parent in by_key and row.parent != row.key else None
        children.setdefault(parent, []).append(row)
    wanted = _with_ancestors(fitting, by_key)
    found: list[Placed] = []
    seen: set[str] = set()

    def walk(root: Row) -> None:
        stack = [(root, "", "")]
        while stack:
            row, first, rest = stack.pop()
            if row.key in seen:
                continue
            seen.add(row.key)
            below = [
                child for child in children.get(row.key, []) if child.key in wanted and child.key not in seen
            ]
            hidden = 0
            if row.key in view.folded and below:
                hidden = _count(below, children, wanted, seen)
                below = []
            found.append(Placed(row, first, hidden, row.key in fitting))
            if len(rest) >= MOST_INDENT:
                rest = rest[: MOST_INDENT - 1] + "…"
            for at, child in reversed(list(enumerate(below))):
                last = at == len(below) - 1
                stack.append((child, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  ")))

    for root in children.get(None, []):
        if root.key in wanted:
            walk(root)
    for row in rows:  # whose parents are a loop
        if row.key in wanted and row.key not in seen:
            walk(row)
    return found


def _with_ancestors(fitting: set[str], by_key: dict[str, Row]) -> set[str]:
    wanted: set[str] = set()
    for key in fitting:
        at: str | None = key
        while at is not None and at in by_key and at not in wanted:
            wanted.add(at)
            at = by_key[at].parent
    return wanted


def _count(below: list[Row], children: dict[str | None, list[Row]], wanted: set[str], seen: set[str]) -> int:
    """How many are folded away; they count as seen."""
    count, stack = 0, list(below)
    while stack:
        row = stack.pop()
        if row.key in seen or row.key not in wanted:
            continue
        seen.add(row.key)
        count += 1
        stack.extend(children.get(row.key, []))
    return count
