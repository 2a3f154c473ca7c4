"""What is known of a lab guest between two commands: one folder a guest, guest.json in it.

Reads and writes run_folder()/lab and looks at /proc on this host. A pid alone proves nothing: it is believed
only with the start time it had, so that a guest long gone is not taken for whoever got its number.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vmon.core.errors import TargetNotFound, UsageError
from vmon.core.folders import run_folder
from vmon.core.target import LAB_NAME

RECORD = "guest.json"
RAM_LINK = "ram"
SOCKET_PATH_LIMIT = 107


@dataclass(frozen=True, slots=True)
class Record:
    """A lab guest as it was started."""

    name: str
    pid: int
    pid_start: int
    """Start time of the QEMU process in clock ticks since the host's boot, as in /proc/PID/stat."""
    release: str
    """uname -r of the kernel it was booted with."""
    series: str
    """Line of the matrix, or "" for a kernel given by path without one."""
    package: str
    ram_bytes: int
    cpus: int
    cpu: str
    accel: str
    """kvm or tcg"""
    machine: str
    ram_backend: str
    ram_file: str
    """Path of the RAM's file in /dev/shm, or ""."""
    rootfs: str
    qmp_sockets: tuple[str, ...]
    command: tuple[str, ...]
    created: float
    """Unix time in seconds."""


def lab_folder() -> Path:
    """Where the guests' folders are."""
    return run_folder() / "lab"


def guest_folder(name: str) -> Path:
    """A guest's folder, whether it is there or not; UsageError where the name can't be one."""
    if not LAB_NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} can't name a guest", hint="letters, digits, dots, dashes; a letter or digit first"
        )
    folder = lab_folder() / name
    if len(str(folder / "qmp0.sock").encode()) > SOCKET_PATH_LIMIT:
        raise UsageError(
            f"{folder} is too long a path for a socket", hint="a shorter name, or a shorter VMON_RUN_DIR"
        )
    return folder


def save(folder: Path, record: Record) -> None:
    """Write guest.json in one step."""
    temporary = folder / f".{RECORD}"
    temporary.write_text(json.dumps(asdict(record), indent=1))
    temporary.replace(folder / RECORD)


def load(folder: Path) -> Record | None:
    """The record in a guest's folder; None while there is none, or none that this version can read."""
    try:
        fields: dict[str, Any] = json.loads((folder / RECORD).read_text())
        fields["qmp_sockets"] = tuple(fields["qmp_sockets"])
        fields["command"] = tuple(fields["command"])
        return Record(**fields)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def running() -> Iterator[tuple[Path, Record]]:
    """The guests that run, by name."""
    lab = lab_folder()
    for folder in sorted(lab.iterdir()) if lab.is_dir() else ():
        record = load(folder)
        if record is not None and is_alive(record.pid, record.pid_start):
            yield folder, record


def find(name: str) -> tuple[Path, Record]:
    """The running guest of that name; TargetNotFound says which there are."""
    folder = guest_folder(name)
    record = load(folder)
    if record is None or not is_alive(record.pid, record.pid_start):
        there = ", ".join(other.name for _, other in running())
        raise TargetNotFound(
            f"no lab guest {name} is running",
            hint=f"running: {there}" if there else f"`vmon lab up {name}` boots one",
        )
    return folder, record


def process_start(pid: int) -> int | None:
    """Start time of a process in clock ticks, None where it is gone or a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def is_alive(pid: int, start: int) -> bool:
    """Whether that very process still runs."""
    return process_start(pid) == start


def find_qemu(folder: Path) -> tuple[int, int] | None:
    """Pid and start time of the QEMU that works in a folder, also where no guest.json was written yet."""
    record = load(folder)
    if record is not None:
        return (record.pid, record.pid_start) if is_alive(record.pid, record.pid_start) else None
    try:
        pid = int((folder / "qemu.pid").read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    start = process_start(pid)
    return (
        (pid, start)
        if start is not None and os.fsencode(folder / "qemu.pid") in command.split(b"\0")
        else None
    )


def remove(folder: Path) -> None:
    """Take away a guest's folder and its RAM file."""
    with contextlib.suppress(OSError):
        (folder / RAM_LINK).readlink().unlink()
    shutil.rmtree(folder, ignore_errors=True)
