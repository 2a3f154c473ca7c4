"""A line of a screen is a list of spans, each a clean text and the part it plays; what a part looks like is told here.

Pure. The sixteen colours of the terminal and its own background are used, so a screen looks as its user likes it; where
NO_COLOR is set Textual takes the colours away, and nothing is told by colour alone.
"""

from __future__ import annotations

from typing import Literal

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from vmon.core.text import width
from vmon.tui.words import cut

Part = Literal["", "bold", "dim", "title", "cursor", "good", "warn", "bad", "key", "tree"]
Span = tuple[str, Part]
Line = list[Span]

STYLES: dict[Part, Style] = {
    "": Style(),
    "bold": Style(bold=True),
    "dim": Style(dim=True),
    "title": Style(reverse=True),
    "cursor": Style(color="black", bgcolor="cyan", bold=True),
    "good": Style(color="green"),
    "warn": Style(color="yellow"),
    "bad": Style(color="red", bold=True),
    "key": Style(color="cyan", bold=True),
    "tree": Style(color="cyan"),
}
NO_COLOUR = {**STYLES, "cursor": Style(reverse=True, bold=True)}


def length(line: Line) -> int:
    """Columns that it takes."""
    return sum(width(text) for text, _ in line)


def strip(line: Line, columns: int, *, coloured: bool, fill: Part = "", skip: int = 0) -> Strip:
    """Exactly so many columns of a line, from column `skip` on; with `fill` the whole line plays one part."""
    styles = STYLES if coloured else NO_COLOUR
    segments = [Segment(text, styles[fill or part]) for text, part in line]
    made = Strip(segments)
    if skip:
        made = made.crop(skip)
    return made.adjust_cell_length(columns, styles[fill])


def cut_line(line: Line, columns: int) -> Line:
    """At most so many columns, with an ellipsis where something is cut."""
    if length(line) <= columns:
        return line
    found: Line = []
    left = columns
    for text, part in line:
        if width(text) >= left:
            found.append((cut(text + " ", left) if left > 0 else "", part))
            return found
        found.append((text, part))
        left -= width(text)
    return found
