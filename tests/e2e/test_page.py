"""The page on a live guest: what happens in the guest is seen, and what is clicked happens in the guest."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.conftest import Visit
from tests.e2e.served import DEADLINE_MS, Server
from vmon.lab.guest import LabGuest

pytest.importorskip("playwright")

VM = "lab:web1"
SEEN = """(text) => new Promise((resolve) => {
    const look = () => {
        const rows = [...document.querySelectorAll(".virtual-row")].filter((row) => !row.hidden);
        if (rows.some((row) => row.textContent.includes(text))) resolve(Date.now());
        else requestAnimationFrame(look);
    };
    look();
})"""
"""When a row with this text is first shown, in milliseconds since 1970."""
HOSTILE = "<img src=x onerror=hit=1>"
BIDI = "\u202etxt.exe\x1b[31m"
"""Reorders what follows, and would turn a terminal red."""


def start(guest: LabGuest, command: str) -> int:
    """A process that goes on in the guest; its pid."""
    return int(guest.run(f"{command} >/dev/null 2>&1 & echo $!", check=True).out)


def runs(guest: LabGuest, pid: int) -> bool:
    """Whether the guest itself still has it, and not as a zombie."""
    state = guest.run(f"sed -n 's/^State:.//p' /proc/{pid}/status 2>/dev/null").out
    return bool(state.strip()) and not state.startswith(b"Z")


def until(condition: object, what: str) -> None:
    """Wait for what the guest says of itself."""
    end = time.monotonic() + DEADLINE_MS / 1000
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, what
        time.sleep(0.1)


def test_without_a_probe_it_is_said(visitor: Visit) -> None:
    """First, since the others put it in."""
    looker = visitor()
    page = looker.visit(VM, "events", role="viewer")
    page.get_by_text("No probe is in this guest.").wait_for()
    put = page.get_by_role("button", name="Put the probe in")
    assert put.get_attribute("aria-disabled") == "true" and "viewer" in (put.get_attribute("title") or "")
    page = visitor().visit(VM, "events")
    page.get_by_role("button", name="Put the probe in").click()
    page.locator(".toast", has_text="The probe is in").wait_for()
    page.locator(".link.live").wait_for()
    # The other window learns of it without being asked.
    looker.page.locator(".link.live").wait_for()


def test_a_new_process_is_seen(served_guest: LabGuest, visitor: Visit) -> None:
    page = visitor().visit(VM)
    page.evaluate(f"() => {{ window.seen = ({SEEN})('sleep 4242'); }}")
    before = time.time()
    start(served_guest, "sleep 4242")
    after = time.time()
    at = page.evaluate("() => window.seen") / 1000
    print(f"a new process was seen between {at - after:.2f} and {at - before:.2f} s after its start")


def test_a_click_kills_and_the_guest_agrees(served_guest: LabGuest, visitor: Visit) -> None:
    page = visitor().visit(VM)
    pid = start(served_guest, "sleep 4343")
    row = page.locator(".virtual-row:visible", has_text="sleep 4343")
    row.click()
    page.locator(".details h2", has_text=str(pid)).wait_for()
    page.click("[data-act=kill]")
    dialog = page.locator("dialog")
    assert page.evaluate("document.activeElement.textContent") == "Cancel"
    said = dialog.inner_text()
    assert str(pid) in said and "sleep" in said and f"{pid}@" in said and "web1" in said
    # Cancel does nothing.
    page.keyboard.press("Enter")
    dialog.wait_for(state="detached")
    assert runs(served_guest, pid)
    assert page.evaluate("document.activeElement.dataset.act") == "kill"
    page.click("[data-act=kill]")
    dialog.get_by_text("Kill it").click()
    page.locator(".toast", has_text="is killed").wait_for()
    row.wait_for(state="hidden")
    page.locator(".details .tag", has_text="ended").wait_for()
    assert page.locator("[data-act=kill]").get_attribute("aria-disabled") == "true"
    until(lambda: not runs(served_guest, pid), "the guest still has it")


def test_suspend_and_resume(served_guest: LabGuest, visitor: Visit) -> None:
    page = visitor().visit(VM)
    pid = start(served_guest, "sleep 4848")
    page.locator(".virtual-row:visible", has_text="sleep 4848").click()
    page.click("[data-act=suspend]")
    page.get_by_text("Suspend it").click()
    page.locator(".virtual-row:visible.stopped", has_text="sleep 4848").wait_for()
    until(
        lambda: served_guest.run(f"grep State /proc/{pid}/status").out.startswith(b"State:\tT"), "not stopped"
    )
    page.click("[data-act=resume]")
    page.get_by_text("Resume it").click()
    page.locator("[data-act=suspend]").wait_for()
    until(lambda: b"S (sleeping)" in served_guest.run(f"grep State /proc/{pid}/status").out, "not resumed")


def test_a_rule_denies_and_the_denial_is_seen(served_guest: LabGuest, visitor: Visit) -> None:
    window = visitor()
    page = window.visit(VM, "rules")
    served_guest.run("echo secret > /tmp/secret", check=True)
    page.get_by_label("Path", exact=True).fill("/tmp/secret")
    page.get_by_text("Add this rule").click()
    assert "/tmp/secret" in page.locator("dialog").inner_text()
    page.locator("dialog").get_by_text("Add it").click()
    drop = page.locator("tr", has_text="/tmp/secret").get_by_role("button", name="Drop")
    drop.wait_for()
    window.go(VM, "events")
    page.locator(".link.live").wait_for()
    page.get_by_label("Only refused").check()
    refused = served_guest.run("cat /tmp/secret")
    assert refused.status != 0 and b"not permitted" in refused.err
    row = page.locator(".virtual-row:visible.refused", has_text="/tmp/secret").first
    row.wait_for()
    assert "denied" in row.inner_text() and "cat" in row.inner_text()
    row.click()
    page.locator(".details dd", has_text="/tmp/secret").wait_for()
    window.go(VM, "rules")
    page.locator("tr", has_text="/tmp/secret").locator("td.number", has_text="1").wait_for()

    page.get_by_role("button", name="Switch to observing").click()
    page.locator("dialog").get_by_text("Observe only").click()
    page.locator(".tag", has_text="Observing").wait_for()
    assert served_guest.run("cat /tmp/secret").out == b"secret\n"
    page.get_by_role("button", name="Switch to enforcing").click()
    page.locator("dialog").get_by_text("Enforce them").click()
    page.locator(".tag", has_text="Enforcing").wait_for()
    assert served_guest.run("cat /tmp/secret").status != 0

    drop.click()
    page.locator("dialog").get_by_text("Drop it").click()
    drop.wait_for(state="detached")
    assert served_guest.run("cat /tmp/secret").out == b"secret\n"


def test_quarantine_and_the_timeline(served_guest: LabGuest, visitor: Visit) -> None:
    page = visitor().visit(VM)
    # It starts no program, which it may no longer in quarantine: it waits at a pipe that nobody writes to.
    loop = "exec 3<>/tmp/pipe; while :; do read -t 1 x <&3; echo x > /tmp/by-4949; done"
    pid = start(served_guest, f"mkfifo /tmp/pipe; sh -c '{loop}'")
    page.locator(".virtual-row:visible", has_text="by-4949").first.click()
    page.click("[data-act=quarantine]")
    page.get_by_text("Quarantine it").click()
    page.locator(".virtual-row:visible .tag", has_text="quarantine").wait_for()
    page.locator("[data-act=release]").wait_for()
    page.get_by_role("tab", name="Timeline").click()
    page.locator(".timeline .refused").first.wait_for()
    assert served_guest.run("rm -f /tmp/by-4949; sleep 2; cat /tmp/by-4949").status != 0
    page.click("[data-act=release]")
    page.get_by_text("Release it").click()
    page.locator(".virtual-row:visible .tag", has_text="quarantine").wait_for(state="detached")
    served_guest.run(f"kill -9 {pid}")


def test_an_ask_is_answered(served_guest: LabGuest, visitor: Visit) -> None:
    window = visitor()
    page = window.visit(VM, "asks")
    served_guest.run("echo yes > /tmp/asked", check=True)
    rule = {"events": ["file.open"], "path": "/tmp/asked", "action": "ask", "timeout_ms": 30_000}
    (number,) = window.server.add_rules(VM, [rule])
    assert served_guest.run("cat /tmp/asked").status != 0, "nobody listens: the fallback denies"
    page.get_by_role("button", name="Answer asks here").click()
    page.locator(".tag", has_text="Answering here").wait_for()
    page.locator(".link.live").wait_for()
    with ThreadPoolExecutor(1) as pool:
        for answer, became in (("Allow", "allowed"), ("Deny", "denied"), ("Kill the process", "killed")):
            doing = pool.submit(served_guest.run, "cat /tmp/asked")
            card = page.locator(".ask")
            card.wait_for()
            said = card.inner_text()
            assert "cat" in said and "/tmp/asked" in said and "left, then deny" in said
            assert page.locator(".tabs .badge", has_text="1").count() >= 1
            card.get_by_role("button", name=answer).click()
            card.wait_for(state="detached")
            assert became in page.locator(".past li").first.inner_text()
            done = doing.result(timeout=60)
            assert (done.out == b"yes\n") == (answer == "Allow"), (answer, done.out, done.err)
    page.get_by_role("button", name="Stop answering").click()
    page.locator(".tag", has_text="Not answering here").wait_for()
    window.server.drop_rule(VM, number)


def test_what_a_process_holds(served_guest: LabGuest, visitor: Visit) -> None:
    page = visitor().visit(VM)
    page.locator(".virtual-row:visible", has_text="httpd").click()
    for tab, text in (
        ("Files", "socket:["),
        ("Sockets", ":80"),
        ("Maps", "/bin/busybox"),
        ("Threads", "httpd"),
        ("Environment", "PATH"),
    ):
        page.get_by_role("tab", name=tab).click()
        page.locator(".details-body td", has_text=text).first.wait_for()


def test_a_viewer_looks_and_changes_nothing(served_guest: LabGuest, visitor: Visit) -> None:
    window = visitor()
    page = window.visit(VM, role="viewer")
    pid = start(served_guest, "sleep 4545")
    page.locator(".virtual-row:visible", has_text="sleep 4545").click()
    for act in ("suspend", "kill", "quarantine"):
        each = page.locator(f"[data-act={act}]")
        each.wait_for()
        assert each.get_attribute("aria-disabled") == "true"
        assert "viewer" in (each.get_attribute("title") or "")
        each.click(force=True)
        assert page.locator("dialog").count() == 0
    page.get_by_role("tab", name="Environment").click()
    page.get_by_text("shown to operators only").wait_for()
    window.go(VM, "rules")
    assert page.get_by_text("Add this rule").get_attribute("aria-disabled") == "true"
    # Nor does the server do it for one who leaves the page aside.
    status = page.evaluate(
        f"fetch('/api/v1/vms/{VM}/processes/{pid}/kill', {{method: 'POST', body: '{{}}',"
        "headers: {'content-type': 'application/json'}}).then((answer) => answer.status)"
    )
    assert status == 403 and runs(served_guest, pid)
    window.said.clear()  # the browser tells of the 403
    served_guest.run(f"kill {pid}")


FINDING = {
    "check": "process.hidden",
    "severity": "critical",
    "attack": ["T1014"],
    "subject": f"process 4242 {HOSTILE}",
    "said": "It is off the task list, and runs.",
    "evidence": ["pid table: 4242 \u202exe.txt", "task list: nothing"],
    "could_be": "a process that ended while it was looked at",
    "pid": 4242,
    "address": 18446744071579755392,
}


def test_findings(served_guest: LabGuest, visitor: Visit) -> None:
    page = visitor().visit(VM, "findings")
    page.get_by_role("button", name="Check now").click()
    page.locator(".status", has_text="checked at").wait_for()
    answer = {
        "coverage": [{"what": "LSTAR", "reason": "not looked for", "count": 0, "detail": ""}],
        "records": [FINDING],
    }
    page.route("**/check", lambda route: route.fulfill(json=answer))
    page.get_by_role("button", name="Check now").click()
    card = page.locator(".card.critical")
    card.wait_for()
    said = card.inner_text()
    for text in (
        "critical",
        HOSTILE,
        "off the task list",
        "\\u202e",
        "It could also be",
        "T1014",
        "attack.mitre.org",
    ):
        assert text in said, text
    page.get_by_text("Not seen: LSTAR not looked for.").wait_for()
    assert page.locator(".tabs .badge.danger", has_text="1").count() == 1
    assert page.locator("main a[href^=http], img").count() == 0


def test_hostile_names_are_inert(served_guest: LabGuest, visitor: Visit) -> None:
    script = f"/tmp/{HOSTILE}"
    served_guest.run(
        ["sh", "-c", 'printf "#!/bin/sh\\nsleep 4646\\n" > "$0"; chmod +x "$0"', script], check=True
    )
    served_guest.run(["sh", "-c", '"$0" "$1" >/dev/null 2>&1 &', script, BIDI], check=True)
    page = visitor().visit(VM)
    row = page.locator(".virtual-row:visible", has_text="onerror=hit=1")
    row.wait_for()
    assert row.locator(".c-name bdi").inner_text() == HOSTILE[:15]
    assert row.locator(".escape").all_inner_texts() == ["\\u202e", "\\x1b"]
    row.click()
    page.locator(".details h2", has_text=HOSTILE[:15]).wait_for()
    for tab in ("Timeline", "Files", "Maps", "Overview"):
        page.get_by_role("tab", name=tab).click()
    page.click("[data-act=kill]")
    assert HOSTILE[:15] in page.locator("dialog").inner_text()
    page.keyboard.press("Escape")
    page.get_by_label("Search processes").fill("onerror=hit")
    page.locator(".status", has_text="1 match of").wait_for()
    assert page.evaluate("typeof hit") == "undefined"
    assert page.locator("img, main script, iframe").count() == 0
    assert (
        page.evaluate("/[\\u202e\\u001b]/.test(document.body.innerText + document.body.innerHTML)") is False
    )
    served_guest.run("pkill -f 'sleep 4646'")


def test_the_keyboard_alone_kills(served_guest: LabGuest, visitor: Visit) -> None:
    window = visitor()
    page = window.page
    page.goto(window.server.url)
    page.wait_for_selector("#token:focus")
    page.keyboard.type(window.server.tokens["operator"])
    page.keyboard.press("Enter")
    page.wait_for_selector("a.vm-name")
    pid = start(served_guest, "sleep 4747")

    def tab_to(selector: str) -> None:
        for _ in range(40):
            if page.evaluate(f"document.activeElement.matches({selector!r})"):
                return
            page.keyboard.press("Tab")
        raise AssertionError(f"no way by the keyboard to {selector}")

    tab_to("a.vm-name")
    page.keyboard.press("Enter")
    page.locator(".virtual-row:visible", has_text="sleep 4747").wait_for()
    page.keyboard.press("/")
    page.keyboard.type("sleep 4747")
    page.locator(".status", has_text="1 match of").wait_for()
    page.keyboard.press("Enter")
    page.wait_for_selector(".grid:focus .active")
    page.keyboard.press("Enter")
    page.wait_for_selector(".details h2:focus")
    tab_to("[data-act=kill]")
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog [data-first]:focus")
    page.keyboard.press("Escape")
    page.wait_for_selector("[data-act=kill]:focus")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.locator(".toast", has_text="is killed").wait_for()
    until(lambda: not runs(served_guest, pid), "the guest still has it")
    page.keyboard.press("Escape")
    page.wait_for_selector(".details", state="detached")
    page.wait_for_selector(".grid:focus")
    page.keyboard.press("?")
    page.wait_for_selector("dialog[open]")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")


def test_a_wrong_token_and_a_server_that_goes(visitor: Visit, server: Server) -> None:
    window = visitor()
    page = window.page
    page.goto(server.url)
    page.fill("#token", "x" * 40)
    page.keyboard.press("Enter")
    page.locator("#signin-error", has_text="no token of this server").wait_for()
    window.visit(VM)
    server.end()
    page.locator(".banner", has_text="No longer live").wait_for()
    page.locator(".link.down").wait_for()
    assert page.locator(".virtual-row:visible").count() > 0, "what was last heard stays to be read"
    server.start()
    # Sessions end with the server, so the page asks again who is there.
    page.wait_for_selector("#token")
    page.fill("#token", server.tokens["operator"])
    page.keyboard.press("Enter")
    page.locator(".link.live").wait_for()
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_selector("#token")
    window.said.clear()  # the browser tells of connections that were refused
