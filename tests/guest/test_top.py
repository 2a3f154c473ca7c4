"""`vmon top` on a real terminal, against a real kernel: it shows what runs, ends a process, follows events."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator

import pytest

import vmon
from tests.guest.conftest import Guests, say
from vmon.core.errors import NotSupported
from vmon.lab.guest import LabGuest

pytest.importorskip("pyte")
pytest.importorskip("textual")

from tests.guest.screen import Terminal

KERNEL = "6.1"
"""What the kernel is makes no difference here: the readers and the probe have tests of their own."""
DEEP_COLOUR = re.compile(rb"\x1b\[[0-9;]*[34]8;[25];")
COLOUR = re.compile(rb"\x1b\[(?:[0-9]*;)*(?:3[0-7]|4[0-7]|9[0-7]|10[0-7])(?:;[0-9]*)*m")


@pytest.fixture
def lab(guests: Guests) -> LabGuest:
    return guests.get(KERNEL)


def there(guest: LabGuest, pid: int) -> bool:
    # A zombie has ended: its parent has not looked yet.
    return say(guest, f"grep -s State /proc/{pid}/status | grep -v Z || true") != ""


def test_it_shows_ends_and_follows(lab: LabGuest) -> None:
    pid = int(say(lab, "sleep 4242 >/dev/null 2>&1 & echo $!"))
    with Terminal("top", lab.name, "--interval", "0.5") as terminal:
        terminal.wait_for(r"^\S+ +lab:\S+ +Linux 6\.1\..* up \d")
        terminal.wait_for(r"CPU0\[.*CPU1\[")
        terminal.wait_for(r"\d+ tasks, \d+ thr, \d+ kthr")
        terminal.type("\\sleep 4242\r")
        terminal.wait_for(rf"^ +{pid} root .*sleep 4242")
        terminal.type("\r")
        terminal.wait_for(r"^0 .*/dev/")

        # The question names the process; no is no.
        terminal.type("k")
        terminal.wait_for(rf"End process {pid} sleep of ")
        terminal.wait_for(rf"key +{pid}@\d+")
        terminal.type("n")
        terminal.wait_for("nothing was done")
        assert there(lab, pid)
        terminal.type("s")
        terminal.wait_for(rf"Stop process {pid} sleep of ")
        terminal.type("y")
        terminal.wait_for(rf"^ +{pid} root +T ")
        assert "stopped" in say(lab, f"grep State /proc/{pid}/status")
        terminal.type("k")
        terminal.wait_for(rf"End process {pid} sleep of ")
        terminal.type("y")
        terminal.wait_for(rf"sleep \({pid}\): SIGKILL sent")
        assert not there(lab, pid)
        terminal.wait_for("no process fits|no process is selected")

        terminal.type("e")
        terminal.wait_for("Follow the events of ")
        terminal.type("y")
        terminal.wait_for(r"TIME +EVENT +PID")
        terminal.type("\\\x15event=file.open passwd\r")
        terminal.wait_without("events are not followed")
        terminal.wait_for("the probe is in the guest|instructions changed")
        say(lab, "cat /etc/passwd >/dev/null")
        terminal.wait_for(r"file\.open +\d+ +0 cat +/etc/passwd")

        terminal.resize(120, 30)
        terminal.wait_for(r"START +TIME .*NAME +COMMAND")
        terminal.type("q")
        assert terminal.end() == 0
        assert "probe: taken out in " in "\n".join(terminal.lines())
        assert COLOUR.search(terminal.raw)
        assert not DEEP_COLOUR.search(terminal.raw), "sixteen colours are enough"
    with vmon.attach(lab.name) as vm, pytest.raises(NotSupported):
        vm.rules()


def test_without_colours_and_ended_by_a_signal(lab: LabGuest) -> None:
    with Terminal("top", lab.name, "--read-only", "--tree", environment={"NO_COLOR": "1"}) as terminal:
        terminal.wait_for(r"\d+ tasks")
        terminal.wait_for("└─ ")
        terminal.type("k")
        terminal.wait_for("read-only: nothing is changed")
        os.kill(terminal.pid, signal.SIGTERM)
        assert terminal.end() == 0
        assert not COLOUR.search(terminal.raw)
        assert b"\x1b[?1049l" in terminal.raw, "the terminal is as it was"


@pytest.fixture
def own() -> Iterator[LabGuest]:
    """One that may reboot."""
    guest = LabGuest.up(f"top-{os.getpid()}", kernel=KERNEL, allow_reboot=True)
    yield guest
    guest.down()


def test_a_guest_that_reboots_and_goes_away(own: LabGuest) -> None:
    with Terminal("top", own.name, "--events") as terminal:
        terminal.wait_for("instructions changed")
        own.run("(sleep 1; reboot -f) >/dev/null 2>&1 &", timeout_s=60)
        terminal.wait_for("events are not followed any more")
        terminal.wait_for(r" up \d+(\.\d)?s ")
        own.down()
        terminal.wait_for("not read for .*: no lab guest")
        terminal.type("q")
        assert terminal.end() == 0
