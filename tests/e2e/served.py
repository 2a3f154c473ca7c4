"""A server with its page on a live lab guest, and Chromium to look at it: what the tests of the page are made from."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from vmon.lab.guest import LabGuest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
VMON = Path(sys.executable).with_name("vmon")
DEADLINE_MS = 60_000
"""Of anything that the page shall come to show: a loaded machine is slow, and a broken page never does."""
UNSEEN = ("status of 401", "Password forms should")
"""What Chromium says in its console of a page that asks who it is before anybody has signed in."""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Server:
    """`vmon serve` for some guests, on a port of its own, with a token for each role."""

    def __init__(self, folder: Path, targets: list[str]) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self._targets = targets
        self._token_file = folder / "tokens"
        subprocess.run([VMON, "serve", "--new-token-file", self._token_file], check=True, capture_output=True)
        lines = re.findall(r"^(\w+):(\S+)$", self._token_file.read_text(), re.M)
        self.tokens = dict(lines)
        self._log = folder / "serve.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        command = [VMON, "serve", *self._targets, "--token-file", self._token_file]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--listen", self.url.removeprefix("http://")], stdout=log, stderr=log
            )
        address = self.url.removeprefix("http://").split(":")
        while self._process.poll() is None:
            with socket.socket() as client:
                client.settimeout(1)
                if client.connect_ex((address[0], int(address[1]))) == 0:
                    return
        raise AssertionError(self._log.read_text())

    def call(self, method: str, path: str, body: object = None) -> Any:
        """What a program, not a browser, asks as an operator."""
        request = urllib.request.Request(
            f"{self.url}/api/v1{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "authorization": f"Bearer {self.tokens['operator']}",
                "content-type": "application/json",
            },
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def add_rules(self, vm: str, rules: list[dict[str, Any]]) -> list[int]:
        found = self.call("POST", f"/vms/{vm}/rules", {"rules": rules})
        return [int(record["number"]) for record in found["records"]]

    def drop_rule(self, vm: str, number: int) -> None:
        self.call("DELETE", f"/vms/{vm}/rules/{number}")

    def end(self) -> None:
        """As Ctrl-C does; the probe is taken out unless rules are in force."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = None


@contextmanager
def own_run_folder() -> Iterator[Path]:
    """Guests of this test process have a run folder of their own; at the end nothing is left in it."""
    folder = Path(f"/tmp/vmon-p{os.getpid()}")  # short: a socket's path has 107 bytes
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VMON_RUN_DIR", str(folder))
        try:
            yield folder
        finally:
            left = [guest.name for guest in LabGuest.list()]
            for name in left:
                LabGuest.find(name).down()
            shutil.rmtree(folder, ignore_errors=True)
        assert not left, f"guests left running by the tests: {left}"


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless Chromium that keeps nothing and calls nobody."""
    if not Path(CHROMIUM).exists():
        pytest.skip("chromium is not installed: ./dev setup")
    from playwright.sync_api import sync_playwright

    # Chromium's own start script complains of variables that it does not know; that is nobody's business here.
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as home:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=FLAGS, env={**os.environ, "HOME": home}
        )
        try:
            yield browser
        finally:
            browser.close()


class Visitor:
    """Somebody with a browser window of their own, and what its console said."""

    def __init__(self, browser: Browser, server: Server, **window: Any) -> None:
        window.setdefault("viewport", {"width": 1440, "height": 860})
        self._context = browser.new_context(**window)
        self._context.set_default_timeout(DEADLINE_MS)
        self.page: Page = self._context.new_page()
        self.server = server
        self.said: list[str] = []
        self.page.on("console", lambda message: self._hear(message.type, message.text))
        self.page.on(
            "response",
            lambda answer: (
                answer.status in (400, 404, 500) and self.said.append(f"{answer.status} {answer.url}")
            ),
        )
        self.page.on("pageerror", lambda error: self._hear("error", str(error)))

    def _hear(self, kind: str, text: str) -> None:
        if kind in ("error", "warning") and not any(known in text for known in UNSEEN):
            self.said.append(f"{kind}: {text}")

    def sign_in(self, role: str = "operator") -> Page:
        self.page.goto(self.server.url)
        self.page.fill("#token", self.server.tokens[role])
        self.page.keyboard.press("Enter")
        self.page.wait_for_selector("a.vm-name")
        return self.page

    def visit(self, vm: str, tab: str = "processes", role: str = "operator") -> Page:
        """Signed in, at a tab of a VM, once something of it is shown."""
        self.sign_in(role)
        self.go(vm, tab)
        return self.page

    def go(self, vm: str, tab: str) -> None:
        self.page.evaluate(f"location.hash = '#/vm/{vm.replace(':', '%3A')}/{tab}'")
        self.page.wait_for_selector(f".tabs a[aria-current=page][href$={tab}]")
        if tab == "processes":
            self.page.wait_for_selector(".processes .virtual-row:visible")

    def close(self) -> None:
        self._context.close()
