"""How the page fares in a browser with 2,000 processes: frames while it scrolls and is updated; how soon it tells.

A headless Chromium without a GPU, on the same cores as the guest and the server: a person has it better.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.e2e.served import Server, Visitor, chromium

from bench.guests import Guests
from bench.series import Results
from vmon.lab.guest import LabGuest

if TYPE_CHECKING:
    from playwright.sync_api import Page

COUNT = 2000
FRAME_MS = 1000 / 60
LONG_TASK_MS = 50.0
SCROLL = """([seconds, step]) => new Promise((resolve) => {
    const box = document.querySelector(".processes .grid");
    const frames = [];
    const tasks = [];
    const observer = new PerformanceObserver((list) => tasks.push(...list.getEntries().map((task) => task.duration)));
    observer.observe({ type: "longtask" });
    const end = performance.now() + seconds * 1000;
    let before = 0;
    let by = step;
    let lowest = 0;
    const frame = (now) => {
        if (before) frames.push(now - before);
        before = now;
        const last = box.scrollTop;
        box.scrollTop += by;
        lowest = Math.max(lowest, box.scrollTop);
        if (by && box.scrollTop === last) by = -by;
        if (now < end) requestAnimationFrame(frame);
        else {
            observer.disconnect();
            resolve({ frames, tasks, lowest });
        }
    };
    requestAnimationFrame(frame);
})"""
SEEN = """(text) => { window.seen = new Promise((resolve) => {
    const look = () => {
        const rows = [...document.querySelectorAll(".virtual-row")];
        if (rows.some((row) => !row.hidden && row.textContent.includes(text))) resolve(Date.now());
        else requestAnimationFrame(look);
    };
    look();
}); }"""


def measure_page(results: Results, guests: Guests, kernel: str, *, quick: bool) -> None:
    """All series of this file, on a guest of its own."""
    guest = guests.up("page", kernel, ram_bytes=1 << 30, cpus=2)
    seconds = 5 if quick else 20
    target = f"lab:{guest.name}"
    folder = guests.scratch("page")
    folder.mkdir()
    server = Server(folder, [target])
    server.start()
    try:
        with chromium() as browser:
            visitor = Visitor(browser, server)
            page = visitor.visit(target)
            measure_seen(results, page, guest, kernel, 5 if quick else 20)
            guests.start_many(guest, COUNT)
            # Ten processes and more a second come and go: each look changes the tree.
            guest.run("(while :; do sleep 0.1; done) >/dev/null 2>&1 &")
            measure_opening(results, visitor, target, kernel, 3 if quick else 10)
            measure_frames(results, page, server, kernel, seconds)
            visitor.close()
    finally:
        server.end()
        guests.down(guest.name)


def measure_seen(results: Results, page: Page, guest: LabGuest, kernel: str, rounds: int) -> None:
    """From the start of a process to its row: between these two, as the start lies between two moments of the host."""
    most, least = [], []
    for number in range(rounds):
        page.evaluate(SEEN, f"sleep 77{number:02}")
        before = time.time()
        guest.run(f"sleep 77{number:02} >/dev/null 2>&1 &")
        after = time.time()
        at = page.evaluate("() => window.seen") / 1000
        most.append(at - before)
        least.append(max(at - after, 0.0))
    results.add("page: a new process is seen, at most", "s", kernel, most, 1.0)
    results.add("page: a new process is seen, at least", "s", kernel, least)


def measure_opening(results: Results, visitor: Visitor, target: str, kernel: str, rounds: int) -> None:
    """From choosing the tab to the first rows of 2,000 processes."""
    page, spans = visitor.page, []
    for _ in range(rounds):
        visitor.go(target, "about")
        began = time.monotonic()
        visitor.go(target, "processes")
        spans.append(time.monotonic() - began)
    page.locator(".status", has_text="2,0").wait_for()
    results.add(f"page: open the tree of {COUNT:,} processes", "s", kernel, spans)


def measure_frames(results: Results, page: Page, server: Server, kernel: str, seconds: int) -> None:
    """Frames while nobody scrolls, and while somebody does, by a row and by a page a frame."""
    for what, step in (
        ("at rest", 0),
        ("scrolling by 26 px a frame", 26),
        ("scrolling by 700 px a frame", 700),
    ):
        used = cpu_s(server.pid)
        began = time.monotonic()
        found = page.evaluate(SCROLL, [seconds, step])
        share = (cpu_s(server.pid) - used) / (time.monotonic() - began)
        frames = sorted(found["frames"])
        slow = [task for task in found["tasks"] if task >= LONG_TASK_MS]
        longest = f", the longest {max(slow):.0f} ms" if slow else ""
        p95 = frames[len(frames) * 95 // 100]
        results.add(
            f"page: frame, {what}",
            "ms",
            kernel,
            frames,
            2 * FRAME_MS,
            f"95 % below {p95:.1f} ms, {len(frames)} frames in {seconds} s; {len(slow)} tasks over 50 ms{longest}; "
            f"the server used {share:.0%} of a core",
        )


def cpu_s(pid: int) -> float:
    """CPU time of a process so far, its threads included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
