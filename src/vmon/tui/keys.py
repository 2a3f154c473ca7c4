"""The keys of the screen, in one table: what Textual binds, what the help shows, and what the tests press.

Pure.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Key:
    """Keys that do the same."""

    keys: str
    """By Textual's names, the first one is shown as `shown`."""
    shown: str
    action: str
    text: str
    changes: bool = False
    """Whether it changes the guest, after confirmation."""


KEYS: dict[str, tuple[Key, ...]] = {
    "Look": (
        Key("enter", "Enter", "details", "files, sockets, maps, threads, stack, environment of the process"),
        Key("tab", "Tab", "page(1)", "the next page of the lower half; 1 to 9 choose one"),
        Key("shift+tab", "S-Tab", "page(-1)", "the page before"),
        Key("left_square_bracket", "[", "scroll_pane(-1)", "the lower half up"),
        Key("right_square_bracket", "]", "scroll_pane(1)", "the lower half down"),
        Key("w", "w", "whole", "the lower half on the whole screen, and back"),
        Key("left", "Left", "sideways(-8)", "text to the left of a line"),
        Key("right", "Right", "sideways(8)", "text that the line has no room for"),
        Key("c", "c", "findings", "what vmon check finds"),
        Key("u", "u", "rules", "rules in force in the guest"),
        Key("space", "Space", "hold", "hold the screen still, and go on"),
        Key("escape", "Esc", "leave", "close what is open; let go of filter and followed process"),
    ),
    "Choose": (
        Key("slash,f3", "/", "search", "search: the selection goes to what fits"),
        Key("n", "n", "next_match", "the next one that fits"),
        Key(
            "backslash,f4",
            "\\",
            "filter",
            "show only what fits: words, all of them; !word: without; uid=0, state=r",
        ),
        Key("t,f5", "t", "tree", "as a tree"),
        Key("minus", "-", "fold", "fold the branch of a tree"),
        Key("plus,equals_sign", "+", "unfold", "unfold it"),
        Key("asterisk", "*", "unfold_all", "unfold all"),
        Key("greater_than_sign,f6", ">", "sort_next(1)", "sort by the next column"),
        Key("less_than_sign", "<", "sort_next(-1)", "sort by the column before"),
        Key("I", "I", "reverse", "the other way round"),
        Key("P", "P", "sort('cpu')", "sort by CPU"),
        Key("M", "M", "sort('mem')", "sort by memory"),
        Key("T", "T", "sort('time')", "sort by CPU time"),
        Key("N", "N", "sort('pid')", "sort by pid"),
        Key("K", "K", "kernel_threads", "threads of the kernel too"),
        Key("F", "F", "follow", "follow the process: it is kept in sight"),
    ),
    "Change the guest": (
        Key("e", "e", "events", "events as they happen: puts the probe in", changes=True),
        Key("k,f9", "k", "act('kill')", "end the process (KILL)", changes=True),
        Key("x", "x", "act('terminate')", "ask it to end (TERM)", changes=True),
        Key("s", "s", "act('suspend')", "stop it", changes=True),
        Key("r", "r", "act('resume')", "let it go on", changes=True),
        Key("Q", "Q", "act('quarantine')", "let it compute, and nothing else", changes=True),
        Key("R", "R", "act('release')", "let it out of quarantine", changes=True),
    ),
    "Else": (
        Key("question_mark,h,f1", "?", "help", "this page"),
        Key("q,f10,ctrl+c", "q", "quit", "end"),
    ),
}
HINTS = (
    ("?", "help"), ("q", "end"), ("/", "search"), ("\\", "filter"), ("t", "tree"), ("<>", "sort"), ("Enter", "more"),
    ("e", "events"), ("k", "kill"),
)  # fmt: skip
