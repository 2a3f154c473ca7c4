"""What the screen is made of: lines that are drawn when they are seen, so that a thousand more cost nothing.

Draws what it is given; every text was cleaned by who made the line. Reads nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.style import Style
from textual.binding import BindingType
from textual.events import Click
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widget import Widget

from vmon.core.text import width
from vmon.tui import columns
from vmon.tui.arrange import Placed
from vmon.tui.columns import Column, Context
from vmon.tui.line import Line, Part, strip
from vmon.tui.words import clean, fit


class Drawn(Widget):
    """A few lines of fixed text."""

    def __init__(self, id: str) -> None:
        super().__init__(id=id)
        self.lines: list[Line] = []

    def show(self, lines: list[Line]) -> None:
        """Show these instead; as high as they need."""
        if len(lines) != len(self.lines):
            self.styles.height = len(lines)
        if lines != self.lines:
            self.lines = lines
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """One of them."""
        if y >= len(self.lines):
            return Strip.blank(self.size.width, Style())
        return strip(self.lines[y], self.size.width, coloured=not self.app.no_color)


class Lines(ScrollView, can_focus=False):
    """Many lines under a heading that stays; `line_of` makes the ones that are seen."""

    def __init__(self, id: str) -> None:
        super().__init__(id=id)
        self._head: Line = []
        self._count = 0
        self._line_of: Callable[[int], Line] = lambda _: []
        self.skip = 0

    def show(self, head: Line, count: int, line_of: Callable[[int], Line], *, at_end: bool = False) -> None:
        """Show these instead; with `at_end` the last ones are kept in sight, if they were."""
        was_at_end = self.scroll_offset.y >= self._last_top()
        self._head, self._count, self._line_of = head, count, line_of
        self.virtual_size = Size(self.size.width, count + 1)
        if at_end and was_at_end:
            self.to_line(self._last_top())
        self.refresh()

    @property
    def count(self) -> int:
        """Lines under the heading."""
        return self._count

    def render_line(self, y: int) -> Strip:
        """The heading, or one of the lines."""
        coloured, room = not self.app.no_color, self.size.width
        if y == 0:
            return strip(self._head, room, coloured=coloured, fill="title", skip=self.skip)
        at = y - 1 + self.scroll_offset.y
        line = self._line_of(at) if at < self._count else []
        return strip(line, room, coloured=coloured, skip=self.skip)

    def page(self, by: int) -> None:
        """Half a screen up or down."""
        top = self.scroll_offset.y + by * max(1, self.size.height // 2)
        self.to_line(min(max(top, 0), self._last_top()))
        self.refresh()

    def to_line(self, at: int) -> None:
        """This line is the first under the heading."""
        self.scroll_to(y=at, animate=False, immediate=True, force=True)

    def _last_top(self) -> int:
        return max(0, self._count + 1 - self.size.height)


class ProcessTable(ScrollView, can_focus=True):
    """The processes. The selection stays with its process, wherever that goes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("up", "move(-1)"),
        ("down", "move(1)"),
        ("pageup", "move_page(-1)"),
        ("pagedown", "move_page(1)"),
        ("home", "edge(-1)"),
        ("end", "edge(1)"),
    ]  # fmt: skip

    class Moved(Message):
        """Another process is selected."""

    def __init__(self, id: str) -> None:
        super().__init__(id=id)
        self.placed: Sequence[Placed] = ()
        self.selected = ""
        """Key of the selected process."""
        self.followed = ""
        """Key of the process that is kept in sight; empty for none."""
        self.skip = 0
        """Columns of the last column that are out of sight on the left."""
        self.nothing = "reading…"
        self._cells = Context()
        self._sort, self._up = "cpu", False
        self._containers = False

    def show(
        self, placed: Sequence[Placed], context: Context, sort: str, *, up: bool, containers: bool
    ) -> None:
        """Show these instead. `up`: what is small stands at the top."""
        at = self.index()
        self.placed, self._cells, self._sort, self._up, self._containers = (
            placed,
            context,
            sort,
            up,
            containers,
        )
        self.virtual_size = Size(self.size.width, len(placed) + 1)
        if placed and self.index() < 0:
            # Its process ended or does not fit any more: the one that stands there now.
            self.selected = placed[min(max(at, 0), len(placed) - 1)].row.key
            self.post_message(self.Moved())
        if self.followed and self.followed == self.selected:
            self.keep_in_sight()
        self.refresh()

    def index(self) -> int:
        """Place of the selected process; -1 where it is not in the table."""
        return next((at for at, placed in enumerate(self.placed) if placed.row.key == self.selected), -1)

    @property
    def current(self) -> Placed | None:
        """The selected process."""
        at = self.index()
        return self.placed[at] if at >= 0 else None

    def select(self, at: int) -> None:
        """Select by place, and bring it into sight."""
        if self.placed:
            self.selected = self.placed[min(max(at, 0), len(self.placed) - 1)].row.key
            self.keep_in_sight()
            self.refresh()
            self.post_message(self.Moved())

    def keep_in_sight(self) -> None:
        """Scroll no further than is needed."""
        at, room = self.index(), max(1, self.size.height - 1)
        top = self.scroll_offset.y
        if at >= 0 and not top <= at < top + room:
            self.scroll_to(y=at if at < top else at - room + 1, animate=False, immediate=True, force=True)

    def action_move(self, by: int) -> None:
        """Up or down."""
        self.select(self.index() + by)

    def action_move_page(self, by: int) -> None:
        """A screen up or down."""
        self.select(self.index() + by * max(1, self.size.height - 2))

    def action_edge(self, where: int) -> None:
        """The first or the last."""
        self.select(0 if where < 0 else len(self.placed) - 1)

    def on_click(self, event: Click) -> None:
        """Nobody needs a mouse; who has one selects by it."""
        if event.y > 0:
            self.select(event.y - 1 + self.scroll_offset.y)

    def on_resize(self) -> None:
        """What was in sight stays so."""
        self.virtual_size = Size(self.size.width, len(self.placed) + 1)
        self.keep_in_sight()

    def render_line(self, y: int) -> Strip:
        """The heading, or a process."""
        room, coloured = self.size.width, not self.app.no_color
        shown = columns.shown(room, containers=self._containers)
        if y == 0:
            return strip(self._heading(shown), room, coloured=coloured, fill="title")
        at = y - 1 + self.scroll_offset.y
        if at >= len(self.placed):
            text = self.nothing if not self.placed and y == 1 else ""
            return strip([(text, "dim")], room, coloured=coloured)
        placed = self.placed[at]
        fill: Part = "cursor" if placed.row.key == self.selected else ""
        return strip(self._line(placed, shown, room), room, coloured=coloured, fill=fill)

    def _heading(self, shown: list[Column]) -> Line:
        line: Line = []
        for column in shown:
            title = column.title
            if column.name == self._sort:
                title = (
                    f"{title}{'▲' if self._up else '▼'}"
                    if width(title) < (column.width or 99)
                    else title.lower()
                )
            line.append(((fit(title, column.width, right=column.right) if column.width else title) + " ", ""))
        return line

    def _line(self, placed: Placed, shown: list[Column], room: int) -> Line:
        row, line, taken = placed.row, [], 0
        for column in shown[:-1]:
            text = fit(column.text(row, self._cells), column.width, right=column.right) + " "
            line.append((text, _part(column, row.state, self._cells.cpu.get(row.key, 0.0), placed)))
            taken += column.width + 1
        mark = "→" if row.key == self.followed else ""
        folded = f"[+{placed.below}] " if placed.below else ""
        words = shown[-1].text(row, self._cells)
        if row.name[:15] not in words and shown[-2].name != "name":
            words = f"({clean(row.name)}) {words}"
        rest = f"{folded}{words}"
        if self.skip:
            rest = rest[self.skip :]
        line += [
            (mark + placed.indent, "tree"),
            (fit(rest, max(room - taken, 1)), "" if placed.fits else "dim"),
        ]
        return line


def _part(column: Column, state: str, cpu: float, placed: Placed) -> Part:
    if not placed.fits:
        return "dim"
    if column.name == "cpu":
        return "bad" if cpu >= 0.8 else "warn" if cpu >= 0.2 else "" if cpu > 0 else "dim"
    if column.name == "state":
        return {"R": "good", "D": "bad", "Z": "bad", "T": "warn", "t": "warn"}.get(state, "")  # type: ignore[return-value]
    return "bold" if column.name == "pid" else ""


def page_lines(header: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[Line, Callable[[int], Line]]:
    """A table as lines: its heading, and what makes a line of it. Columns are as wide as the first thousand need."""
    widths = [
        max([width(name), *(min(width(clean(row[at])), 40) for row in rows[:1000])])
        for at, name in enumerate(header)
    ]

    def line_of(at: int) -> Line:
        cells = [clean(text) for text in rows[at]]
        head = [(fit(text, room) + "  ", "") for text, room in zip(cells[:-1], widths[:-1], strict=True)]
        return [*head, (cells[-1], "")]  # type: ignore[list-item]

    last = len(header) - 1
    return [
        (fit(name, room) + "  " if at < last else name, "")
        for at, (name, room) in enumerate(zip(header, widths, strict=True))
    ], line_of
