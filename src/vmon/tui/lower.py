"""The lower half of the screen: pages about the selected process or the guest, and its events as they happen.

Shows what the source answers, every text cleaned. Events are followed once somebody said yes to that; the last five
thousand are kept.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol, TypeVar

from vmon.core.errors import NoSuchProcess, VmonError
from vmon.core.events import Event
from vmon.tui.arrange import View, event_matches, words_of
from vmon.tui.line import Line, cut_line
from vmon.tui.source import Page, Row, Source, Subject
from vmon.tui.widgets import Drawn, Lines, page_lines
from vmon.tui.words import clean

T = TypeVar("T")
PAGES: tuple[tuple[str, Subject | None], ...] = (
    ("Files", "files"), ("Sockets", "sockets"), ("Maps", "maps"), ("Threads", "threads"), ("Stack", "stack"),
    ("Env", "env"), ("Events", None), ("Check", "check"), ("Rules", "rules"),
)  # fmt: skip
EVENTS_AT, CHECK_AT, RULES_AT = 6, 7, 8
OF_THE_GUEST = (EVENTS_AT, CHECK_AT, RULES_AT)
KEPT_EVENTS = 5000
POLL_S, BUSY_POLL_S, BUSY_EVENTS = 0.2, 0.01, 500
STOPPED = "events are not followed any more: the guest rebooted or went away (e: follow them again)"


class Upper(Protocol):
    """What the lower half asks of the screen that it is in."""

    source: Source
    view: View
    held: bool
    words_of_event: Callable[[Event], str]

    @property
    def pane_open(self) -> bool:
        """Whether the lower half is shown."""
        ...

    def selected(self) -> Row | None:
        """The process that is selected."""
        ...

    def say(self, text: str) -> None:
        """Say a sentence at the foot of the screen."""
        ...

    async def call(self, work: Callable[..., T], *arguments: object) -> T:
        """Call the source, in its thread."""
        ...


class LowerHalf(Lines):
    """One page at a time."""

    def __init__(self, id: str, upper: Upper) -> None:
        super().__init__(id=id)
        self.at = 0
        """Which page, of PAGES."""
        self._upper = upper
        self._events: deque[tuple[Event | None, str]] = deque(maxlen=KEPT_EVENTS)
        self._shown: list[tuple[Event | None, str]] = []

    def show_page(self, at: int) -> None:
        """Show a page, once it was read."""
        self.at, self.skip = at, 0
        self.draw_tabs()
        self.to_line(0)
        if at == EVENTS_AT:
            self.show_events()
        else:
            self.show([("reading…", "")], 0, lambda _: [])
            self.load_soon()

    def draw_tabs(self) -> None:
        """The names of the pages."""
        line: Line = []
        for at, (name, _) in enumerate(PAGES):
            line += [(str(at + 1), "key"), (f" {name} ", "title" if at == self.at else "")]
        self.screen.query_one("#tabs", Drawn).show([cut_line(line, self.app.size.width)])

    def load_soon(self) -> None:
        """Read the page; one that is still being read is not waited for."""
        self.run_worker(self.load(), group="page", exclusive=True)

    async def load(self) -> None:
        """Read the page, and show it if it is still the one that is wanted."""
        at = self.at
        subject = PAGES[at][1]
        if subject is None:
            return
        row = None if at in OF_THE_GUEST else self._upper.selected()
        try:
            page = await self._upper.call(self._upper.source.page, subject, row)
        except NoSuchProcess as error:
            page = Page(header=(error.message,), rows=(), nothing="")
        except VmonError as error:
            page = Page(header=("not read",), rows=(), nothing=error.message)
        if at == self.at:
            self._show_page(page, row)

    def _show_page(self, page: Page, row: Row | None) -> None:
        who = f"{row.pid} {clean(row.name)}: " if row is not None else ""
        head, line_of = page_lines(page.header, page.rows)
        rows = len(page.rows)
        more: list[Line] = []
        if not rows:
            more.append([(who + clean(page.nothing), "dim")])
        if page.missing:
            more.append([("not seen: " + clean("; ".join(page.missing)), "warn")])
        self.show(head, rows + len(more), lambda n: line_of(n) if n < rows else more[n - rows])

    # Events.

    async def follow_events(self) -> None:
        """Until they can't be followed any more. Changes the guest."""
        upper = self._upper
        try:
            said = await upper.call(upper.source.start_events)
        except VmonError as error:
            self._note(f"no events: {error.message}" + (f" ({error.hint})" if error.hint else ""))
            self.show_events()
            return
        self._note(said)
        self.show_events()
        while upper.source.following:
            events, told = await upper.call(upper.source.take_events)
            self._events.extend((event, "") for event in events)
            for text in told:
                self._note(text)
            if (events or told) and not upper.held:
                self.show_events()
            await asyncio.sleep(BUSY_POLL_S if len(events) >= BUSY_EVENTS else POLL_S)
        self._note(STOPPED)
        self.show_events()

    def _note(self, text: str) -> None:
        self._events.append((None, text))
        self._upper.say(text)

    def show_events(self) -> None:
        """Those that fit the filter, the last ones in sight."""
        upper = self._upper
        if not upper.pane_open or self.at != EVENTS_AT:
            return
        words = words_of(upper.view.filter)
        shown = [
            item
            for item in self._events
            if item[0] is None or not words or event_matches(words, item[0], upper.words_of_event(item[0]))
        ]
        if not shown:
            following = upper.source.following
            shown = [(None, "no event yet" if following else "events are not followed: e does")]
        self._shown = shown
        head: Line = [(f"{'TIME':>12}  {'EVENT':<15} {'PID':>7} {'UID':>5} {'NAME':<15} WHAT", "")]
        self.show(head, len(shown), self._event_line, at_end=True)

    def _event_line(self, at: int) -> Line:
        event, text = self._shown[at]
        if event is None:
            return [(clean(text), "warn")]
        who = f"{event.time_ns / 1e9:12.3f}  {event.event:<15} {event.pid:>7} {event.uid:>5} "
        said = clean(self._upper.words_of_event(event))
        line: Line = [(who, ""), (clean(event.name)[:15].ljust(15) + " ", "bold"), (said, "")]
        if event.verdict != "allowed":
            line.append((f"  {event.verdict.upper()} by rule {event.rule}", "bad"))
        return line
