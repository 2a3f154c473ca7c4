"""What lies over the screen for a moment: a question before the guest is changed, and the page of help.

Anything but y is a no. Texts of the guest come cleaned, and none of them is read as markup.
"""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.events import Key
from textual.screen import ModalScreen

from vmon.tui.keys import KEYS
from vmon.tui.line import Line, cut_line
from vmon.tui.source import Row, Verb
from vmon.tui.widgets import Drawn, Lines
from vmon.tui.words import clean, span

QUESTIONS: dict[Verb, tuple[str, str]] = {
    "kill": ("End process", "SIGKILL, sent by the guest's own kernel. It can't be taken back."),
    "terminate": ("Ask to end: process", "SIGTERM, sent by the guest's own kernel."),
    "suspend": ("Stop process", "SIGSTOP, sent by the guest's own kernel; r lets it go on."),
    "resume": ("Let go on: process", "SIGCONT, sent by the guest's own kernel."),
    "quarantine": (
        "Put into quarantine: process",
        "No exec, no file changed, no connection, until R. It outlasts this screen.",
    ),
    "release": ("Let out of quarantine: process", "Its rules are taken out of force."),
}
PROBE = "This puts a probe into the guest, which stands still for some 5 ms."
WIDEST = 76


def question(verb: Verb, row: Row, guest: str, user: str, *, probe_is_in: bool) -> list[Line]:
    """What is asked before something is done to a process."""
    ask, means = QUESTIONS[verb]
    lines: list[Line] = [
        [(f"{ask} ", "bold"), (f"{row.pid} {clean(row.name)}", "bad"), (f" of {clean(guest)}?", "bold")],
        [],
        [("key      ", "dim"), (row.key, "")],
        [("user     ", "dim"), (clean(user), "")],
        [("started  ", "dim"), ("+" + span(row.start_ns / 1e9), "")],
        [("command  ", "dim"), (clean(row.command), "")],
        [],
        [(means, "")],
    ]
    if not probe_is_in and verb != "release":
        lines.append([(PROBE, "warn")])
    return [*lines, [], YES_NO]


YES_NO: Line = [("y", "key"), (" yes   ", ""), ("any other key", "key"), (" no", "")]


def question_of_events(guest: str) -> list[Line]:
    """What is asked before events are followed."""
    return [
        [(f"Follow the events of {clean(guest)}?", "bold")],
        [],
        [(PROBE, "warn")],
        [("It tells what processes do, and is taken out when this screen ends,", "")],
        [("unless rules are in force.", "")],
        [],
        YES_NO,
    ]


class Confirm(ModalScreen[bool]):
    """A question; y is yes, everything else no."""

    def __init__(self, lines: list[Line]) -> None:
        super().__init__()
        self._lines = lines

    def compose(self) -> ComposeResult:
        """The box."""
        with Vertical(id="box"):
            yield Drawn("question")

    def on_mount(self) -> None:
        """As wide as the screen allows."""
        self._draw()

    def on_resize(self) -> None:
        """The same, anew."""
        self._draw()

    def _draw(self) -> None:
        room = max(10, min(self.app.size.width - 4, WIDEST) - 4)
        self.query_one(Drawn).show([cut_line(line, room) for line in self._lines])

    def on_key(self, event: Key) -> None:
        """The answer."""
        event.stop()
        event.prevent_default()
        self.dismiss(event.key == "y")


class Help(ModalScreen[None]):
    """Every key; the next one closes it, but for those that scroll."""

    def compose(self) -> ComposeResult:
        """One list on the whole screen."""
        yield Lines("help")

    def on_mount(self) -> None:
        """The table of keys."""
        lines = help_lines()
        self.query_one(Lines).show([("vmon top: keys", "")], len(lines), lambda at: lines[at])

    def on_key(self, event: Key) -> None:
        """Scroll, or close."""
        event.stop()
        event.prevent_default()
        steps = {"down": 1, "pagedown": 1, "up": -1, "pageup": -1}
        if event.key in steps:
            self.query_one(Lines).page(steps[event.key])
        else:
            self.dismiss(None)


def help_lines() -> list[Line]:
    """The table of keys, a group after another."""
    lines: list[Line] = [[("Up Down PgUp PgDn Home End", "key"), ("  choose a process", "")]]
    for group, keys in KEYS.items():
        lines += [[], [(group, "bold")]]
        for key in keys:
            asks = " (asks first)" if key.changes else ""
            lines.append([("  " + key.shown.ljust(8), "key"), (key.text + asks, "")])
    return lines
