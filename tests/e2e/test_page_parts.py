"""Parts of the page that need no guest: escapes, the tree, the reader of streams, tried in the browser itself."""

from __future__ import annotations

import functools
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.e2e.served import chromium
from vmon.core.text import UNSAFE, printable

pytest.importorskip("playwright")

if TYPE_CHECKING:
    from playwright.sync_api import Page

PAGE = Path(__file__).parents[2] / "src" / "vmon" / "api" / "page"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def blank() -> Iterator[Page]:
    """A page of the same origin as the scripts, with nothing on it."""
    handler = functools.partial(Quiet, directory=str(PAGE))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, chromium() as browser:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{server.server_port}/icon.svg")
        yield page
        server.shutdown()


def evaluate(page: Page, module: str, body: str, argument: Any) -> Any:
    """What a function of the page answers; `m` is the module."""
    return page.evaluate(
        f"async (a) => {{ const m = await import('/script/{module}.js'); {body} }}", argument
    )


def test_what_is_escaped_on_a_terminal_is_escaped_here(blank: Page) -> None:
    codes = [*range(0xD800), *range(0xE000, 0x10000), *range(0xE0000, 0xE0100)]
    said = evaluate(blank, "text", "return a.map((code) => m.printable(String.fromCodePoint(code)))", codes)
    assert said == [printable(chr(code)) for code in codes]
    assert sum(bool(UNSAFE.search(chr(code))) for code in codes) > 100


def test_marks_differ_from_what_the_guest_wrote(blank: Page) -> None:
    body = """
        const box = document.createElementNS("http://www.w3.org/1999/xhtml", "bdi");
        return a.map((text) => { m.fillGuestText(box, text); return [box.textContent, box.childElementCount]; })
    """
    told = evaluate(blank, "text", body, ["a\u202eb", "a\\u202eb", "<b>\x1b</b>", "\x00\x01"])
    assert told == [["a\\u202eb", 1], ["a\\u202eb", 0], ["<b>\\x1b</b>", 1], ["\\x00\\x01", 2]]


def record(pid: int, parent: int | None, name: str = "sh") -> dict[str, Any]:
    return {
        "key": f"{pid}@{pid}",
        "parent_key": None if parent is None else f"{parent}@{parent}",
        "pid": pid,
        "uid": 0,
        "name": name,
        "cmdline": [name, str(pid)],
        "exe": f"/bin/{name}",
        "container_id": None,
        "kernel_thread": False,
        "start_boottime_ns": pid,
        "user_time": 0,
        "system_time": 0,
    }


ROWS = """
    const forest = new m.Forest();
    forest.replace(a.first, 0);
    for (const [changed, gone] of a.then) forest.change(changed, gone, 1, 1);
    return forest.rows(a.how ?? {}).map((row) => [row.node.record.pid, row.depth, row.match]);
"""


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.integers(1, 30), st.none() | st.integers(1, 40), max_size=30), st.data())
def test_every_process_is_shown_once(
    blank: Page, parents: dict[int, int | None], data: st.DataObject
) -> None:
    """Whatever its parents are said to be: itself, nobody, one another."""
    gone = data.draw(st.sets(st.sampled_from(sorted(parents)))) if parents else set()
    first = [record(pid, parent) for pid, parent in parents.items()]
    then = [[[], [f"{pid}@{pid}" for pid in sorted(gone)]]]
    rows = evaluate(blank, "forest", ROWS, {"first": first, "then": then})
    assert sorted(row[0] for row in rows) == sorted(set(parents) - gone)
    below: dict[int, int] = {}
    for pid, depth, _ in rows:
        if depth:
            above = below[depth - 1]
            assert parents[pid] == above
        below[depth] = pid


def test_a_search_keeps_the_way_up(blank: Page) -> None:
    first = [record(1, None, "init"), record(2, 1), record(3, 2, "nginx"), record(4, 1, "cron")]
    rows = evaluate(blank, "forest", ROWS, {"first": first, "then": [], "how": {"text": "NGINX uid:0"}})
    assert rows == [[1, 0, False], [2, 1, False], [3, 2, True]]
    flat = evaluate(
        blank, "forest", ROWS, {"first": first, "then": [], "how": {"tree": False, "order": "name"}}
    )
    assert [row[0] for row in flat] == [4, 1, 3, 2]


def test_a_chain_of_thousands_is_no_trouble(blank: Page) -> None:
    first = [record(pid, pid - 1 or None) for pid in range(1, 20_001)]
    rows = evaluate(blank, "forest", ROWS, {"first": first, "then": []})
    assert len(rows) == 20_000 and rows[-1][1] == 19_999


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["event", "lost", "snapshot"]), st.text(max_size=20)), max_size=6),
    st.lists(st.integers(1, 12), min_size=1, max_size=20),
)
def test_a_stream_is_the_same_however_it_is_cut(
    blank: Page, told: list[tuple[str, str]], sizes: list[int]
) -> None:
    text = ": here\n\n" + "".join(
        f"id: {at}\nevent: {name}\ndata: {json.dumps(data)}\n\n" for at, (name, data) in enumerate(told)
    )
    pieces, at = [], 0
    while at < len(text):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(text[at : at + size])
        at += size
    body = """
        const found = [];
        const parser = new m.EventParser((event) => found.push([event.event, JSON.parse(event.data), event.id]));
        for (const piece of a) parser.feed(piece);
        return found;
    """
    found = evaluate(blank, "stream", body, pieces)
    assert found == [[name, data, str(at)] for at, (name, data) in enumerate(told)]
