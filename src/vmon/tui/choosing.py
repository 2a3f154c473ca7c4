"""Keys that choose what is seen of a guest, and change nothing in it: order, tree, filter, search, whom to follow.

While words are typed no key does anything else, and what is pasted presses none: a name is never a command.
"""

from __future__ import annotations

from textual.app import App
from textual.events import Key as KeyEvent
from textual.events import Paste

from vmon.tui.arrange import View, row_matches, words_of
from vmon.tui.columns import Context
from vmon.tui.lower import LowerHalf
from vmon.tui.widgets import Drawn, ProcessTable
from vmon.tui.words import clean

LONGEST_TYPED = 200


class Choosing(App[None]):
    """The half of the screen's application that has no need of the guest."""

    view: View
    held = False
    """Whether the screen stands still."""
    _typing = ""
    """What the words are for that are typed: filter or search; empty where none are."""
    _typed = ""
    _sought = ""

    def draw(self) -> None:
        """All of the screen."""
        raise NotImplementedError

    def draw_foot(self) -> None:
        """The last line."""
        raise NotImplementedError

    def say(self, text: str) -> None:
        """A sentence at the foot of the screen."""
        raise NotImplementedError

    def context(self) -> Context:
        """What cells need beside their process."""
        raise NotImplementedError

    @property
    def table(self) -> ProcessTable:
        """The processes."""
        return self.screen_stack[0].query_one("#table", ProcessTable)

    @property
    def pane(self) -> LowerHalf:
        """The lower half."""
        return self.screen_stack[0].query_one("#pane", LowerHalf)

    def _drawn(self, name: str) -> Drawn:
        return self.screen_stack[0].query_one(f"#{name}", Drawn)

    @property
    def pane_open(self) -> bool:
        """Whether the lower half is shown."""
        return self.screen_stack[0].has_class("open")

    def action_tree(self) -> None:
        """As a tree, or not."""
        self.view.tree = not self.view.tree
        self.draw()
        self.table.keep_in_sight()

    def action_fold(self) -> None:
        """The branch under the selected process."""
        if self.table.current is not None:
            self.view.folded.add(self.table.selected)
            self.draw()

    def action_unfold(self) -> None:
        """The same the other way."""
        self.view.folded.discard(self.table.selected)
        self.draw()

    def action_unfold_all(self) -> None:
        """Every branch."""
        self.view.folded.clear()
        self.draw()

    def action_sort_next(self, by: int) -> None:
        """By the next column."""
        self.view.step_sort(by)
        self.say(f"sorted by {self.view.sort}")
        self.draw()

    def action_sort(self, name: str) -> None:
        """By one column."""
        self.view.sort, self.view.reverse = name, False
        self.draw()

    def action_reverse(self) -> None:
        """The other way round."""
        self.view.reverse = not self.view.reverse
        self.draw()

    def action_kernel_threads(self) -> None:
        """Show them, or not."""
        self.view.kernel_threads = not self.view.kernel_threads
        self.draw()

    def action_follow(self) -> None:
        """The selected process, or nobody."""
        table = self.table
        table.followed = "" if table.followed == table.selected else table.selected
        self.say(f"following {table.followed.partition('@')[0]}" if table.followed else "following nobody")
        table.refresh()

    def action_hold(self) -> None:
        """Let the screen stand still; the guest goes on."""
        self.held = not self.held
        self.draw_foot()

    def action_filter(self) -> None:
        """Type a filter."""
        self._type("filter", self.view.filter)

    def action_search(self) -> None:
        """Type what is sought."""
        self._type("search", "")

    def _type(self, what: str, text: str) -> None:
        self._typing, self._typed = what, text
        self.draw_foot()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """While words are typed no key does anything else."""
        return not self._typing and (action != "page" or len(self.screen_stack) == 1)

    def on_key(self, event: KeyEvent) -> None:
        """A key while words are typed."""
        if not self._typing:
            return
        event.stop()
        event.prevent_default()
        if event.key == "enter":
            self._end_typing()
        elif event.key == "escape":
            self._typed = ""
            self._end_typing()
        elif event.key in ("backspace", "ctrl+h"):
            self._take_typed(self._typed[:-1])
        elif event.key in ("ctrl+u", "ctrl+w"):
            self._take_typed("")
        elif event.is_printable and event.character:
            self._take_typed(self._typed + event.character)

    def on_paste(self, event: Paste) -> None:
        """Pasted text is words or nothing: it never presses keys."""
        event.stop()
        if self._typing:
            self._take_typed(self._typed + " ".join(event.text.split()))

    def _take_typed(self, text: str) -> None:
        self._typed = text[:LONGEST_TYPED]
        if self._typing == "filter":
            self.view.filter = self._typed
            self.draw()
            self.pane.show_events()
        elif self._typed:
            self._sought = self._typed
            self._find(0)
        self.draw_foot()

    def _end_typing(self) -> None:
        if self._typing == "filter":
            self.view.filter = self._typed
            self.pane.show_events()
        self._typing = self._typed = ""
        self.draw()

    def action_next_match(self) -> None:
        """Of what was sought."""
        if self._sought:
            self._find(1)
        else:
            self.say("nothing is sought: / does")

    def _find(self, step: int) -> None:
        table, words, context = self.table, words_of(self._sought), self.context()
        count = len(table.placed)
        begin = table.index() + step
        for at in (place % count for place in range(begin, begin + count) if count):
            if row_matches(words, table.placed[at].row, context):
                table.select(at)
                return
        self.say(f"nothing fits {clean(self._sought)!r}")

    def action_leave(self) -> None:
        """What is on top: the lower half, the followed process, the filter."""
        screen = self.screen_stack[0]
        if self.pane_open:
            screen.remove_class("open", "whole")
        elif self.table.followed:
            self.table.followed = ""
        else:
            self.view.filter = ""
        self.table.focus()
        self.draw()
