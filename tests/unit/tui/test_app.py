"""Every key of the screen, pressed; and what the screen then shows. Pictures are made here too, when asked."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.unit.tui.fake import NASTY, ROWS, SCENE, SCENE_EVENTS, FakeSource, event, text_of, until
from vmon.core.errors import NoKernelYet, TargetBusy
from vmon.tui.app import Top
from vmon.tui.arrange import View
from vmon.tui.dialogs import Confirm, Help
from vmon.tui.keys import KEYS

SCREENS = Path(__file__).parent / "screens"
PICTURES = Path(__file__).parents[3] / "docs" / "pictures"
WRITE = "VMON_SCREENS"
"""Set to 1, the stored screens are written anew."""


@pytest.fixture(autouse=True)
def what_is_said_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine may be slow."""
    monkeypatch.setattr("vmon.tui.app.SAID_FOR_S", 3600.0)


class Screen:
    """A running screen."""

    def __init__(self, app: Top, pilot: Any, source: FakeSource) -> None:
        self.app, self.pilot, self.source = app, pilot, source

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    def lines(self) -> list[str]:
        return text_of(self.app.export_screenshot(), self.app.size.width)

    async def says(self, text: str) -> None:
        await until(lambda: any(text in line for line in self.lines()), self.pilot)

    async def is_shown(self, kind: type) -> None:
        await until(lambda: isinstance(self.app.screen, kind), self.pilot)

    async def did(self, *what: str) -> None:
        await until(lambda: what in self.source.done, self.pilot)

    def pids(self) -> list[int]:
        return [placed.row.pid for placed in self.app.table.placed]


@asynccontextmanager
async def screen(
    view: View | None = None, size: tuple[int, int] = (80, 24), source: FakeSource | None = None, **more: Any
) -> AsyncIterator[Screen]:
    """Two frames were read, so that shares of CPU are known; further ones when a test asks for them."""
    source = source or FakeSource()
    options = {"interval_s": 3600.0, "read_only": False, "events": False, **more}
    app = Top(source, view or View(), say=lambda event: event.path or "", **options)
    async with app.run_test(size=size) as pilot:
        await until(lambda: app.frame is not None or bool(app.problem), pilot)
        if source.error is None:
            await app.read()
        await pilot.pause()
        yield Screen(app, pilot, source)


def play(play_it: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(play_it())


async def same_as_stored(shown: Screen, name: str) -> None:
    await shown.pilot.pause()
    lines = shown.lines()
    path = SCREENS / f"{name}.txt"
    if os.environ.get(WRITE):
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(lines) + "\n")
    assert path.read_text().splitlines() == lines


def picture(shown: Screen, name: str) -> None:
    """Written for the README when VMON_PICTURES=1 is set; the same at every run."""
    if os.environ.get("VMON_PICTURES"):
        PICTURES.mkdir(parents=True, exist_ok=True)
        svg = shown.app.export_screenshot(title=f"vmon top {shown.source.target}")
        (PICTURES / f"{name}.svg").write_text(svg)


def test_processes_at_80_by_24() -> None:
    async def body() -> None:
        async with screen() as shown:
            await same_as_stored(shown, "processes")

    play(body)


def test_tree_with_events_on_a_wide_screen() -> None:
    async def body() -> None:
        async with screen(View(tree=True, kernel_threads=True), size=(120, 30)) as shown:
            shown.source.events = [
                event(),
                event("process.exec", 23, path="/bin/nc", verdict="denied", rule=3),
            ]
            await shown.press("e")
            await shown.is_shown(Confirm)
            await shown.press("y")
            await shown.says("DENIED by rule 3")
            await until(lambda: not shown.app._said or bool(shown.app._unsay(shown.app._said)), shown.pilot)
            await same_as_stored(shown, "tree")

    play(body)


def test_question_before_a_process_is_ended() -> None:
    async def body() -> None:
        async with screen() as shown:
            await shown.press("k")
            await shown.is_shown(Confirm)
            await same_as_stored(shown, "kill")

    play(body)


ACTS = [
    ("k", "kill"),
    ("f9", "kill"),
    ("x", "terminate"),
    ("s", "suspend"),
    ("r", "resume"),
    ("Q", "quarantine"),
    ("R", "release"),
]


@pytest.mark.parametrize(("key", "verb"), ACTS)
def test_an_act_is_done_after_y_and_to_the_process_that_was_named(key: str, verb: str) -> None:
    async def body() -> None:
        async with screen() as shown:
            named = shown.app.table.selected
            await shown.press(key)
            await shown.is_shown(Confirm)
            assert any(named in line for line in shown.lines())
            await shown.press("y")
            await shown.did(verb, named)
            await shown.says(f"{verb} sent")

    play(body)


@pytest.mark.parametrize("answer", ["n", "escape", "enter", "q", "Y", "k"])
def test_anything_but_y_is_a_no(answer: str) -> None:
    async def body() -> None:
        async with screen() as shown:
            await shown.press("k")
            await shown.is_shown(Confirm)
            await shown.press(answer)
            await shown.says("nothing was done")
            assert not [what for what in shown.source.done if what[0] == "kill"]

    play(body)


def test_what_stands_elsewhere_when_the_answer_comes_is_left_alone() -> None:
    """The question names a process; the table may move while it is read."""

    async def body() -> None:
        async with screen() as shown:
            named = shown.app.table.selected
            await shown.press("k")
            await shown.is_shown(Confirm)
            shown.source.rows = [one for one in shown.source.rows if one.key != named]
            await shown.app.read()
            assert shown.app.table.selected != named
            await shown.press("y")
            await shown.did("kill", named)

    play(body)


@pytest.mark.parametrize(
    "key", [key.keys.split(",")[0] for keys in KEYS.values() for key in keys if key.changes]
)
def test_read_only_asks_nothing_and_does_nothing(key: str) -> None:
    async def body() -> None:
        async with screen(read_only=True) as shown:
            await shown.press(key)
            await shown.says("read-only: nothing is changed")
            assert not shown.source.done

    play(body)


def test_an_act_that_fails_says_why() -> None:
    async def body() -> None:
        async with screen() as shown:
            await shown.press("k")
            await shown.is_shown(Confirm)
            shown.source.error = TargetBusy("somebody \x1b[2J else", hint="end it")
            await shown.press("y")
            await shown.says("kill: somebody \\x1b[2J else (end it)")

    play(body)


def test_keys_that_sort() -> None:
    async def body() -> None:
        async with screen() as shown:
            assert shown.pids()[0] == 21, "who takes most of the CPU stands first"
            await shown.press("N")
            assert shown.pids() == [1, 20, 21, 22, 23]
            await shown.press("I")
            assert shown.pids() == [23, 22, 21, 20, 1]
            await shown.press("M")
            assert shown.pids() == [23, 22, 21, 20, 1]
            await shown.press("T")
            assert (shown.pids()[0], shown.app.view.sort) == (21, "time")
            await shown.press("P")
            assert shown.app.view.sort == "cpu"
            await shown.press("greater_than_sign")
            assert shown.app.view.sort == "mem"
            await shown.press("less_than_sign", "less_than_sign")
            assert shown.app.view.sort == "state"
            await shown.press("K")
            assert 2 in shown.pids()

    play(body)


def test_tree_and_its_branches() -> None:
    async def body() -> None:
        async with screen(View(sort="pid")) as shown:
            await shown.press("t", "down")
            assert shown.app.table.selected == "20@20000000000"
            assert any("└─ " in line or "├─ " in line for line in shown.lines())
            await shown.press("minus")
            assert 21 not in shown.pids()
            assert any("[+1]" in line for line in shown.lines())
            await shown.press("plus")
            assert 21 in shown.pids()
            await shown.press("minus", "asterisk")
            assert 21 in shown.pids()
            await shown.press("f5")
            assert not shown.app.view.tree

    play(body)


def test_filter_is_typed_and_no_letter_of_it_is_a_key() -> None:
    async def body() -> None:
        async with screen() as shown:
            await shown.press("backslash", *"skq http", "backspace")
            assert shown.app.view.filter == "skq htt"
            assert shown.pids() == []
            await shown.says("no process fits")
            await shown.press("ctrl+u", *"httpd")
            assert sorted(shown.pids()) == [20, 21]
            await shown.press("enter")
            assert shown.app.view.filter == "httpd"
            await shown.press("f4", "escape")
            assert shown.app.view.filter == ""
            assert not shown.source.done

    play(body)


def test_search_moves_the_selection() -> None:
    async def body() -> None:
        async with screen(View(sort="pid")) as shown:
            await shown.press("n")
            await shown.says("nothing is sought")
            await shown.press("slash", *"httpd", "enter")
            assert shown.app.table.selected == "20@20000000000"
            await shown.press("n")
            assert shown.app.table.selected == "21@21000000000"
            await shown.press("n")
            assert shown.app.table.selected == "20@20000000000"
            await shown.press("f3", *"nowhere")
            await shown.says("nothing fits 'nowhere'")
            assert shown.app.table.selected == "20@20000000000"
            await shown.press("escape")

    play(body)


def test_what_is_pasted_presses_no_key() -> None:
    async def body() -> None:
        from textual.events import Paste

        async with screen() as shown:
            shown.app.post_message(Paste("ky"))
            await shown.pilot.pause()
            assert not isinstance(shown.app.screen, Confirm)
            await shown.press("slash")
            shown.app.post_message(Paste("slee\np"))
            await shown.pilot.pause()
            await shown.says("search: slee p")

    play(body)


def test_pages_of_a_process() -> None:
    async def body() -> None:
        async with screen(View(sort="pid")) as shown:
            await shown.press("enter")
            await shown.did("page", "files", "1@1000000000")
            await shown.says("/dev/null")
            await shown.press("tab")
            await shown.did("page", "sockets", "1@1000000000")
            await shown.press("down")
            await shown.did("page", "sockets", "20@20000000000")
            await shown.press("6")
            await shown.says("it has no environment")
            await shown.says("not seen: pages: swapped in 2")
            await shown.press("shift+tab")
            await shown.did("page", "stack", "20@20000000000")
            await shown.press("right", "left", "right_square_bracket", "left_square_bracket", "w")
            await until(lambda: not shown.app.table.display, shown.pilot)
            await shown.press("w", "c")
            await shown.did("page", "check", "")
            await shown.press("u")
            await shown.did("page", "rules", "")
            await shown.press("7")
            await shown.says("events are not followed")
            await shown.press("escape")
            assert not shown.app.pane_open
            await shown.press("right")
            assert shown.app.table.skip == 8

    play(body)


def test_follow_hold_and_leave() -> None:
    async def body() -> None:
        async with screen(View(sort="pid")) as shown:
            await shown.press("end", "F")
            followed = shown.app.table.followed
            assert followed == "23@23000000000"
            shown.source.rows = [one for one in shown.source.rows if one.key != followed]
            await shown.app.read()
            await shown.says("the followed process 23 ended")
            assert shown.app.table.followed == ""
            await shown.press("F", "escape")
            assert shown.app.table.followed == ""
            await shown.press("home", "pagedown", "pageup", "up", "space")
            assert shown.app.held
            await shown.press("space")
            assert not shown.app.held

    play(body)


def test_help_shows_every_key() -> None:
    async def body() -> None:
        async with screen(size=(100, 60)) as shown:
            await shown.press("question_mark")
            await shown.is_shown(Help)
            said = "\n".join(shown.lines())
            assert all(key.text in said for keys in KEYS.values() for key in keys)
            await shown.press("down", "up", "h")
            await until(lambda: not isinstance(shown.app.screen, Help), shown.pilot)

    play(body)


@pytest.mark.parametrize("key", ["q", "f10", "ctrl+c"])
def test_the_end(key: str) -> None:
    async def body() -> None:
        async with screen() as shown:
            await shown.pilot.press(key)
            await until(lambda: shown.app._exit, shown.pilot)

    play(body)


def test_every_key_of_the_table_is_bound_to_an_action_that_there_is() -> None:
    for keys in KEYS.values():
        for key in keys:
            assert hasattr(Top, f"action_{key.action.partition('(')[0]}"), key


def test_events_from_the_beginning_and_their_filter() -> None:
    async def body() -> None:
        async with screen(events=True) as shown:
            await shown.did("events")
            shown.source.events = [event(), event(path=NASTY), event("net.connect", 23)]
            shown.source.told = ["lost: 7 file.open: the ring was full"]
            await shown.says("lost: 7")
            await shown.says("net.connect")
            assert not any("\x1b" in line or "\u202e" in line for line in shown.lines())
            await shown.press("backslash", *"event=net.connect", "enter")
            await until(
                lambda: not any("shadow" in line and "file.open" in line for line in shown.lines()),
                shown.pilot,
            )
            shown.source.following = False
            await shown.says("events are not followed any more")

    play(body)


def test_events_that_somebody_else_takes() -> None:
    async def body() -> None:
        async with screen() as shown:
            await shown.press("e")
            await shown.is_shown(Confirm)
            shown.source.error = TargetBusy("another vmon takes the events", hint="end it")
            await shown.press("y")
            await shown.says("no events: another vmon takes the events (end it)")

    play(body)


def test_a_guest_that_goes_away_and_another_kernel() -> None:
    async def body() -> None:
        async with screen() as shown:
            shown.source.error = NoKernelYet("it still \x1bboots")
            await shown.app.read()
            await shown.says("not read for")
            await shown.says("it still \\x1bboots")
            assert shown.pids(), "the last frame stays"
            shown.source.error = None
            shown.source.more = {"boot": "1.1", "release": "7.2.0"}
            await shown.app.read()
            await shown.says("another kernel runs there now: Linux 7.2.0")

    play(body)


def test_a_guest_that_can_not_be_read_from_the_first() -> None:
    async def body() -> None:
        source = FakeSource()
        source.error = NoKernelYet("firmware")
        async with screen(source=source) as shown:
            await shown.says("the guest can't be read: firmware")

    play(body)


def test_what_a_guest_writes_reaches_no_terminal_as_it_is() -> None:
    async def body() -> None:
        async with screen(View(sort="pid"), size=(160, 24)) as shown:
            said = "\n".join(shown.lines())
            assert "\\x1b[31m[bold]evil\\n\\u202e" in said
            assert not any(char in said for char in "\x1b\u202e\udcff")

    play(body)


def test_a_screen_that_is_made_smaller_and_larger() -> None:
    async def body() -> None:
        rows = [*ROWS, *(msgspec.structs.replace(ROWS[-1], key=f"{n}@1", pid=n) for n in range(100, 160))]
        source = FakeSource()
        source.rows = rows
        async with screen(View(sort="pid"), source=source) as shown:
            await shown.press("end")
            for size in ((40, 10), (200, 50), (20, 5), (80, 24)):
                await shown.pilot.resize_terminal(*size)
                await shown.pilot.pause()
                assert all(len(line) <= size[0] for line in shown.lines())
            await shown.says("159 ")

    play(body)


def test_colours_are_the_sixteen_of_the_terminal_and_none_where_they_are_not_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def body() -> None:
        async with screen() as shown:
            table = shown.app.table
            segments = [segment for y in range(5) for segment in table.render_line(y)]
            colours = {segment.style.color for segment in segments if segment.style and segment.style.color}
            assert colours
            assert all(colour.number is not None and colour.number < 16 for colour in colours)

    play(body)
    monkeypatch.setenv("NO_COLOR", "1")

    async def plain() -> None:
        async with screen() as shown:
            assert shown.app.no_color
            table = shown.app.table
            cursor = [segment.style for segment in table.render_line(table.index() + 1) if segment.style]
            assert cursor
            assert all(style.reverse and style.color is None for style in cursor)

    play(plain)


def test_pictures_of_the_readme() -> None:
    async def body() -> None:
        source = FakeSource()
        source.rows, source.at_s = list(SCENE), 118.0
        users = {0: "root", 33: "www-data", 100: "messagebus", 999: "systemd-coredump", 1000: "anna"}
        source.more = {"users": users, "release": "6.1.0-56-cloud-amd64"}
        source.events = list(SCENE_EVENTS)
        async with screen(View(sort="cpu", tree=True), size=(120, 34), source=source, events=True) as shown:
            await shown.says("DENIED by rule 3")
            shown.app._unsay(shown.app._said)
            await shown.press("slash", *"[kworker", "enter")
            assert shown.app.table.selected.startswith("2317@")
            picture(shown, "top-tree")
            await shown.press("k")
            await shown.is_shown(Confirm)
            await shown.says("End process 2317 kworkerds of web1?")
            picture(shown, "top-kill")

    play(body)
