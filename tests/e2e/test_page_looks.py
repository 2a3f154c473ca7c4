"""How the page looks: it fits a phone and a wide screen, is read by everybody, in light and dark; its pictures.

With VMON_PICTURES=1 (`./dev pictures`) the pictures of the README are written anew to docs/pictures.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.conftest import Visit
from tests.e2e.test_page import VM
from vmon.lab.guest import LabGuest

pytest.importorskip("playwright")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")

if TYPE_CHECKING:
    from playwright.sync_api import Page

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
MOST_BYTES = 200_000
TABS = ("processes", "events", "rules", "asks", "findings", "about")
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 1.5,
    "is_mobile": True,
    "has_touch": True,
}
WIDE: dict[str, Any] = {"viewport": {"width": 1600, "height": 900}}
TOO_WIDE = """() => {
    const found = [];
    for (const element of document.querySelectorAll("body *")) {
        const box = element.getBoundingClientRect();
        if (!box.width || !box.height || getComputedStyle(element).visibility === "hidden") continue;
        if (element.closest(".subtabs, .cell, .unseen, bdi, thead, option")) continue;
        if (box.right > innerWidth + 1 || box.left < -1) found.push(`${element.tagName}.${element.className}`);
    }
    return found;
}"""
"""Elements that stick out of the window; what scrolls or is cut with dots on purpose is left out."""


LIFE = {
    "gunicorn": (
        33,
        "--bind 127.0.0.1:9000 shop:app",
        "work() { while :; do sleep 7; cat /srv/shop/orders/* >/dev/null; done; }; work & work & work",
    ),
    "postgres": (
        1000,
        "-D /var/lib/postgresql",
        "wait_for() { while :; do sleep 60; done; }; wait_for & wait_for",
    ),
    "backup": (
        1000,
        "--to 10.0.0.9:/backup",
        "exec 3<>/tmp/pipe; while :; do read -t 2 x <&3; read key </srv/shop/secret.pem;"
        " echo day >/srv/shop/backup.tar; done",
    ),
}
"""What runs in the pictures: the user, arguments, and a script that behaves a little as its name says."""


@pytest.fixture(scope="module")
def busy(served_guest: LabGuest) -> LabGuest:
    """A guest in which a person finds something to look at."""
    served_guest.run(
        "mkdir -p /srv/shop/orders /opt/shop; echo 1 > /srv/shop/orders/1; echo key > /srv/shop/secret.pem;"
        "mkfifo /tmp/pipe; chmod -R 777 /srv/shop /tmp/pipe",
        check=True,
    )
    for name, (user, arguments, script) in LIFE.items():
        path = f"/opt/shop/{name}"
        served_guest.run(
            ["sh", "-c", 'printf "#!/bin/sh\n%s\n" "$1" >$0; chmod +x $0', path, script], check=True
        )
        served_guest.run(
            f"start-stop-daemon -S -b -c {user} -x {path} -- {arguments} >/dev/null 2>&1", check=True
        )
    return served_guest


def open_details(page: Page, name: str) -> None:
    for _ in range(20):
        page.locator(".virtual-row:visible", has_text=name).first.click()
        page.locator(".details-body .facts").first.wait_for()
        if name in page.locator(".details h2").inner_text():
            return
        page.keyboard.press("Escape")  # the row moved from under the mouse: another process came or went
    raise AssertionError(f"{name} can't be chosen")


@pytest.mark.parametrize("window", [PHONE, WIDE], ids=["phone", "wide"])
def test_nothing_sticks_out(busy: LabGuest, visitor: Visit, window: dict[str, Any]) -> None:
    someone = visitor(**window)
    page = someone.sign_in()

    def check(what: str) -> None:
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), what
        assert page.evaluate(TOO_WIDE) == [], what

    check("list")
    for tab in TABS:
        someone.go(VM, tab)
        page.wait_for_timeout(200)
        check(tab)
    someone.go(VM, "processes")
    open_details(page, "httpd")
    for tab in ("Timeline", "Files", "Sockets", "Maps", "Threads", "Environment", "Overview"):
        page.get_by_role("tab", name=tab).click()
        page.wait_for_timeout(200)
        check(tab)
    page.click("[data-act=kill]")
    page.wait_for_selector("dialog[open]")
    check("question")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Help and keys").click()
    page.wait_for_selector("dialog[open]")
    check("help")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_read_it(busy: LabGuest, visitor: Visit, scheme: str) -> None:
    """The rules of WCAG 2.1 A and AA that a program can check, contrast included."""
    someone = visitor(color_scheme=scheme)
    rules = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}

    def check(what: str) -> None:
        found = axe.Axe().run(page, options=rules)
        assert found.response["passes"], "nothing was looked at"
        assert found.violations_count == 0, f"{what}: {found.generate_report()}"

    page = someone.page
    page.goto(someone.server.url)
    page.wait_for_selector("#token")
    check("sign in")
    page = someone.sign_in()
    check("list")
    for tab in TABS:
        someone.go(VM, tab)
        page.wait_for_timeout(300)
        check(tab)
    someone.go(VM, "processes")
    open_details(page, "httpd")
    check("details")
    page.get_by_role("tab", name="Files").click()
    page.locator(".details-body td").first.wait_for()
    check("files")
    page.click("[data-act=kill]")
    page.wait_for_selector("dialog[open]")
    check("question")


def test_a_switch_for_light_and_dark(visitor: Visit) -> None:
    page = visitor(color_scheme="light").sign_in()

    def ground() -> str:
        return str(page.evaluate("getComputedStyle(document.documentElement).backgroundColor"))

    light = ground()
    button = page.get_by_role("button", name="Colours")
    assert button.inner_text() == "Auto"
    button.click()
    assert button.inner_text() == "Light" and ground() == light
    button.click()
    assert button.inner_text() == "Dark" and ground() != light
    page.reload()
    page.wait_for_selector("a.vm-name")
    assert ground() != light, "the choice is kept"


def test_motion_is_reduced_where_that_is_asked_for(visitor: Visit) -> None:
    page = visitor(reduced_motion="reduce").sign_in()
    name = """() => {
        const row = document.createElement("div");
        row.className = "fresh";
        document.body.append(row);
        return getComputedStyle(row).animationName;
    }"""
    assert page.evaluate(name) == "none"
    assert visitor().sign_in().evaluate(name) == "appear"


class Camera:
    """Takes pictures: into docs/pictures where they are to be written anew, else to be thrown away."""

    def __init__(self, folder: Path) -> None:
        self._folder = PICTURES if os.environ.get("VMON_PICTURES") else folder
        self._folder.mkdir(parents=True, exist_ok=True)

    def take(self, page: Page, name: str) -> None:
        path = self._folder / f"page-{name}.png"
        page.screenshot(path=path, animations="disabled")
        assert path.stat().st_size < MOST_BYTES, f"{path}: {path.stat().st_size} bytes"


def test_pictures(busy: LabGuest, visitor: Visit, tmp_path: Path) -> None:
    camera = Camera(tmp_path)
    screen = {"width": 1280, "height": 760}
    someone = visitor(viewport=screen, color_scheme="light")
    page = someone.visit(VM, "rules")
    page.get_by_label("Path", exact=True).fill("/srv/shop/secret.pem")
    page.get_by_text("Add this rule").click()
    page.locator("dialog").get_by_text("Add it").click()
    page.locator("tr", has_text="secret.pem").wait_for()
    someone.go(VM, "events")
    page.locator(".link.live").wait_for()
    page.locator(".virtual-row:visible.refused", has_text="secret.pem").nth(2).wait_for()
    page.locator(".toast").wait_for(state="detached")
    page.get_by_label("Search events").fill("shop")
    page.locator(".status", has_text="shown").wait_for()
    camera.take(page, "events")

    someone.go(VM, "processes")
    open_details(page, "backup")
    page.get_by_role("tab", name="Timeline").click()
    page.locator(".timeline .refused").first.wait_for()
    page.mouse.move(0, 0)
    camera.take(page, "process")
    page.click("[data-act=kill]")
    page.wait_for_selector("dialog[open]")
    camera.take(page, "kill")
    page.keyboard.press("Escape")

    someone.go(VM, "rules")
    page.locator("tr", has_text="secret.pem").locator("td.number").wait_for()
    camera.take(page, "rules")

    dark = visitor(viewport=screen, color_scheme="dark").visit(VM)
    open_details(dark, "gunicorn")
    camera.take(dark, "dark")

    phone = visitor(**PHONE, color_scheme="light")
    small = phone.visit(VM)
    small.locator(".virtual-row:visible", has_text="backup").wait_for()
    camera.take(small, "phone")
    open_details(small, "backup")
    small.get_by_role("tab", name="Timeline").click()
    small.locator(".timeline .refused").first.wait_for()
    camera.take(small, "phone-process")
    someone.page.locator("tr", has_text="secret.pem").get_by_role("button", name="Drop").click()
    page.locator("dialog").get_by_text("Drop it").click()
    page.locator("tr", has_text="secret.pem").wait_for(state="detached")
