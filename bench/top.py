"""`vmon top` on a terminal, one look a second at a guest of 500 processes: its share of a core, and what it sends."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from pathlib import Path

from bench.command import VMON, command_environment
from bench.guests import Guests
from bench.series import Results
from vmon.core.errors import VmonError
from vmon.lab.guest import LabGuest

COUNT = 500
SHARE_TARGET = 5.0
SIZES = {"80x24": (80, 24), "200x60": (200, 60)}
SETTLE_S = 3.0
LONGEST_START_S = 120.0
TICKS = os.sysconf("SC_CLK_TCK")


def measure_top(results: Results, guest: LabGuest, kernel: str, *, quick: bool) -> None:
    """Rounds of some seconds each, on a small screen and on a large one; as a tree, and with events followed."""
    Guests.start_many(guest, COUNT)
    try:
        for name, size in SIZES.items():
            for words in ((), ("--tree", "--kernel-threads"), ("--events",)):
                shares, sent = _watch(
                    guest, size, words, rounds=2 if quick else 5, seconds=4.0 if quick else 8.0
                )
                said = " ".join(("vmon top", *words))
                results.add(f"{said}, {name}, share of a core", "%", kernel, shares, SHARE_TARGET)
                results.add(f"{said}, {name}, sent to the terminal", "KiB/s", kernel, sent)
    finally:
        Guests.end_processes(guest)


def _watch(
    guest: LabGuest, size: tuple[int, int], words: tuple[str, ...], *, rounds: int, seconds: float
) -> tuple[list[float], list[float]]:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(
            VMON, ["vmon", "top", guest.name, *words], {**command_environment(), "TERM": "xterm-256color"}
        )
    try:
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
        _wait_for(terminal, b" tasks, ")
        _read(terminal, SETTLE_S)
        shares, sent = [], []
        for _ in range(rounds):
            begin, used = time.monotonic(), _cpu_s(pid)
            count = _read(terminal, seconds)
            passed = time.monotonic() - begin
            shares.append((_cpu_s(pid) - used) / passed * 100)
            sent.append(count / passed / 1024)
        os.write(terminal, b"q")
        _read(terminal, SETTLE_S)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)
    return shares, sent


def _wait_for(terminal: int, text: bytes) -> None:
    """Until it is shown: Python starts in a second, and on a loaded machine in many."""
    shown, end = b"", time.monotonic() + LONGEST_START_S
    while text not in shown:
        if not select.select([terminal], [], [], max(0.0, end - time.monotonic()))[0]:
            raise VmonError("vmon top shows nothing", hint="run it by hand")
        shown += os.read(terminal, 1 << 16)


def _read(terminal: int, seconds: float) -> int:
    """Bytes that came within so long; less where the other end is gone."""
    count, end = 0, time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if select.select([terminal], [], [], left)[0]:
            try:
                count += len(os.read(terminal, 1 << 16))
            except OSError:
                break
    return count


def _cpu_s(pid: int) -> float:
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / TICKS
