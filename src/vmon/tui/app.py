"""The screen of `vmon top`: a frame of the guest once a second, and what its user asks for.

All calls of the source are made in one thread of their own, so that keys are answered while a guest is slow. Nothing
is written to the guest but after a question that was answered with y. A guest that can't be read keeps its last frame,
with a line that says so, and is asked again.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from vmon.core.errors import GuestRebooted, VmonError
from vmon.core.events import Event
from vmon.tui import columns, dialogs
from vmon.tui.arrange import View, arrange
from vmon.tui.choosing import Choosing
from vmon.tui.columns import Context
from vmon.tui.header import header_lines
from vmon.tui.keys import HINTS, KEYS
from vmon.tui.line import Line, cut_line
from vmon.tui.lower import CHECK_AT, EVENTS_AT, OF_THE_GUEST, PAGES, RULES_AT, LowerHalf
from vmon.tui.rates import Rates
from vmon.tui.source import Frame, Row, Source, Verb
from vmon.tui.widgets import Drawn, ProcessTable
from vmon.tui.words import clean, folded

T = TypeVar("T")
SAID_FOR_S = 8.0
MOST_SAID_LINES = 3

CSS = """
Screen { background: ansi_default; color: ansi_default; layout: vertical; }
#header, #tabs, #foot { height: 1; }
#table { height: 1fr; scrollbar-size: 0 0; background: ansi_default; }
#pane { height: 50%; display: none; scrollbar-size: 0 0; background: ansi_default; }
#tabs { display: none; }
.open #pane, .open #tabs { display: block; }
.whole #table { display: none; }
.whole #pane { height: 1fr; }
Confirm { align: center middle; background: transparent; }
#box { width: 76; max-width: 100%; height: auto; border: ascii ansi_yellow; padding: 0 1; background: ansi_default; }
#question { height: 1; }
Help { background: ansi_default; }
#help { height: 1fr; scrollbar-size: 0 0; background: ansi_default; }
"""


def bindings() -> list[BindingType]:
    """Those of the table of keys, and the numbers of the pages."""
    # Tab would go to the next widget, which there is none to go to.
    found: list[BindingType] = [
        Binding(key.keys, key.action, key.text, show=False, priority="tab" in key.keys)
        for keys in KEYS.values()
        for key in keys
    ]
    # The table takes these first, where it is shown.
    found += [
        Binding(key, f"scroll_pane({by})", show=False)
        for key, by in (("up,pageup", -1), ("down,pagedown", 1))
    ]
    return [*found, *(Binding(str(at + 1), f"choose({at})", show=False) for at in range(len(PAGES)))]


class Top(Choosing):
    """One guest on the whole terminal."""

    CSS = CSS
    BINDINGS = bindings()
    ENABLE_COMMAND_PALETTE = False

    def __init__(
        self,
        source: Source,
        view: View,
        *,
        interval_s: float,
        read_only: bool,
        events: bool,
        say: Callable[[Event], str],
    ) -> None:
        super().__init__(ansi_color=True)
        self.theme = "ansi-dark"
        self.title = f"vmon top {clean(source.target)}"
        self.source = source
        self.view = view
        self.rates = Rates()
        self.frame: Frame | None = None
        self.problem = ""
        self._interval_s = interval_s
        self._read_only = read_only
        self._events_at_once = events
        self.words_of_event = say
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="guest")
        self._reading = False
        self._said = ""
        self._read_at = 0.0

    # The screen.

    def compose(self) -> ComposeResult:
        """From top to bottom."""
        yield Drawn("header")
        yield ProcessTable("table")
        yield Drawn("tabs")
        yield LowerHalf("pane", self)
        yield Drawn("foot")

    async def on_mount(self) -> None:
        """The first frame, and then one each interval."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP):
            with contextlib.suppress(ValueError, RuntimeError, NotImplementedError):
                loop.add_signal_handler(number, self.exit)
        self.table.focus()
        self.draw_foot()
        self.set_interval(self._interval_s, self._tick)
        self.run_worker(self.read())
        if self._events_at_once:
            self._open(EVENTS_AT)
            self.run_worker(self.pane.follow_events())

    async def on_unmount(self) -> None:
        """What the thread still does is let to its end."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def on_resize(self) -> None:
        """Everything once more, for the new size."""
        self.call_after_refresh(self.draw)

    async def call(self, work: Callable[..., T], *arguments: object) -> T:
        """Call the source, in its thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: work(*arguments))

    # Reading.

    def _tick(self) -> None:
        if not self.held and not self._reading:
            self.run_worker(self.read())

    async def read(self) -> None:
        """One frame, and the page that is open."""
        if self._reading:
            return
        self._reading = True
        try:
            frame = await self.call(self.source.frame)
        except VmonError as error:
            self.problem = error.message
        else:
            self._take(frame)
        finally:
            self._reading = False
        self.draw()
        if self.pane_open and self.pane.at not in (EVENTS_AT, CHECK_AT):
            await self.pane.load()

    def _take(self, frame: Frame) -> None:
        before = self.frame
        self.frame, self.problem = frame, ""
        self._read_at = asyncio.get_running_loop().time()
        self.rates.look(frame)
        if before is not None and before.boot != frame.boot:
            self.say(f"another kernel runs there now: Linux {frame.release}, {len(frame.rows)} processes")
            self.view.folded.clear()
        followed = self.table.followed
        if followed and all(row.key != followed for row in frame.rows):
            self.table.followed = ""
            self.say(f"the followed process {followed.partition('@')[0]} ended")

    def context(self) -> Context:
        """What cells need beside their process."""
        return Context(self.rates.cpu, self.frame.users if self.frame else {})

    def draw(self) -> None:
        """All of the screen."""
        frame = self.frame
        room = self.size.width
        if frame is None:
            words = f"the guest can't be read: {clean(self.problem)}" if self.problem else "reading…"
            self._drawn("header").show([cut_line([(words, "bad" if self.problem else "dim")], room)])
            return
        stale_s = asyncio.get_running_loop().time() - self._read_at
        self._drawn("header").show(header_lines(frame, self.rates, room, self.problem, stale_s))
        table, context = self.table, self.context()
        placed = arrange(frame.rows, self.view, context)
        table.nothing = f"no process fits {clean(self.view.filter)!r}" if self.view.filter else "no process"
        up = columns.BY_NAME[self.view.sort].largest_first is self.view.reverse
        containers = any(row.container for row in frame.rows)
        table.show(placed, context, self.view.sort, up=up, containers=containers)
        self.draw_foot()

    def say(self, text: str) -> None:
        """A sentence at the foot of the screen, for some seconds."""
        self._said = text
        self.draw_foot()
        self.set_timer(SAID_FOR_S, lambda: self._unsay(text))

    def _unsay(self, text: str) -> None:
        if self._said == text:
            self._said = ""
            self.draw_foot()

    def draw_foot(self) -> None:
        """The last line: what was said, what is typed, or the most used keys."""
        line: Line
        if self._typing:
            line = [(f"{self._typing}: ", "key"), (clean(self._typed), "bold"), ("_", "bold")]
            line.append(("  " + (self._said or "words; Enter keeps, Esc lets go"), "dim"))
        elif self._said:
            said: list[Line] = [[(text, "warn")] for text in folded(clean(self._said), self.size.width)]
            self._drawn("foot").show(said[:MOST_SAID_LINES])
            return
        else:
            line = [("held  ", "warn")] if self.held else []
            line += [("read-only  ", "dim")] if self._read_only else []
            if self.view.filter:
                line += [("filter ", "dim"), (clean(self.view.filter), "warn"), ("  ", "")]
            for key, words in HINTS:
                line += [(key, "key"), (f" {words} ", "")]
        self._drawn("foot").show([cut_line(line, self.size.width)])

    # The lower half.

    def action_details(self) -> None:
        """Of the selected process."""
        self._open(self.pane.at)

    def action_choose(self, at: int) -> None:
        """One page."""
        self._open(at)

    def action_page(self, by: int) -> None:
        """The next page; opens the lower half where it is closed."""
        self._open((self.pane.at + by) % len(PAGES) if self.pane_open else self.pane.at)

    def action_findings(self) -> None:
        """What a check finds, looked for anew."""
        self._open(CHECK_AT)

    def action_rules(self) -> None:
        """Rules in force."""
        self._open(RULES_AT)

    def action_whole(self) -> None:
        """The lower half on the whole screen."""
        if self.pane_open:
            self.screen_stack[0].toggle_class("whole")
            self.table.focus()
            self.call_after_refresh(self.draw)

    def action_scroll_pane(self, by: int) -> None:
        """Up or down."""
        self.pane.page(by)

    def action_sideways(self, by: int) -> None:
        """Of the lower half where it is open, else of the commands."""
        part = self.pane if self.pane_open else self.table
        part.skip = max(0, part.skip + by)
        part.refresh()

    def on_process_table_moved(self) -> None:
        """The page is of the process that is selected."""
        if self.pane_open and self.pane.at not in OF_THE_GUEST:
            self.pane.load_soon()

    def _open(self, at: int) -> None:
        self.screen_stack[0].add_class("open")
        self.pane.show_page(at)
        self.call_after_refresh(self.table.keep_in_sight)

    def selected(self) -> Row | None:
        """The process that is selected."""
        placed = self.table.current
        return placed.row if placed is not None else None

    def action_events(self) -> None:
        """Show them; where they are not followed, ask whether they should be."""
        if self.source.following:
            self._open(EVENTS_AT)
        elif self._may_change():
            lines = dialogs.question_of_events(self._guest_name())
            self.push_screen(dialogs.Confirm(lines), self._answer_of_events)

    def _answer_of_events(self, yes: bool | None) -> None:
        if yes:
            self._open(EVENTS_AT)
            self.run_worker(self.pane.follow_events())

    # Acts.

    def action_act(self, verb: Verb) -> None:
        """Ask, and then do it to the process that was named in the question."""
        placed = self.table.current
        if placed is None:
            self.say("no process is selected")
        elif self._may_change():
            row = placed.row
            user = columns.BY_NAME["user"].text(row, self.context())
            lines = dialogs.question(verb, row, self._guest_name(), user, probe_is_in=self.source.probe_is_in)
            self.push_screen(dialogs.Confirm(lines), lambda yes: self._answer(verb, row, yes=bool(yes)))

    def _answer(self, verb: Verb, row: Row, *, yes: bool) -> None:
        if yes:
            self.run_worker(self._act(verb, row))
        else:
            self.say("nothing was done")

    async def _act(self, verb: Verb, row: Row) -> None:
        try:
            said = await self.call(self.source.act, verb, row)
        except (VmonError, GuestRebooted) as error:
            said = f"{verb}: {error.message}" + (f" ({error.hint})" if error.hint else "")
        self.say(said)
        await self.read()

    def _may_change(self) -> bool:
        if self._read_only:
            self.say("read-only: nothing is changed in this guest (start without --read-only)")
        return not self._read_only

    def _guest_name(self) -> str:
        return (self.frame.hostname if self.frame else "") or self.source.target

    def action_help(self) -> None:
        """All keys."""
        self.push_screen(dialogs.Help())
