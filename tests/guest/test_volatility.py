"""Volatility 3 reads a dump and a symbol file that vmon wrote, and sees what vmon sees.

Volatility walks page tables of four levels alone, so guests that would use five are kept from it. Two kernels, for a
run takes half a minute: the oldest and the newest.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import vmon
from tests.guest.conftest import say
from vmon.core.errors import UsageError
from vmon.lab.guest import LabGuest

pytest.importorskip("volatility3")

GUESTS: dict[str, dict[str, Any]] = {"5.10": {"append": "no5lvl"}, "7.2": {"cpu": "max,la57=off"}}
PATIENCE_S = 600


@dataclass(frozen=True)
class Seized:
    """A guest as it was in one moment, and what vmon and Volatility need to look at it."""

    folder: Path
    dump: Path
    listed: vmon.VirtualMachine
    """The dump, attached."""

    def volatility(self, plugin: str) -> list[dict[str, Any]]:
        """The rows of a plugin; Volatility finds the symbol file by the banner."""
        words = [
            *(Path(sys.executable).with_name("vol"), "-q", "--offline"),
            *("--cache-path", self.folder / "cache", "-s", self.folder / "symbols"),
            *("-f", self.dump, "-r", "json", plugin),
        ]
        done = subprocess.run(
            [str(word) for word in words], capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        rows: list[dict[str, Any]] = json.loads(done.stdout[done.stdout.index("[") :])
        return rows


@pytest.fixture(scope="module", params=GUESTS)
def seized(
    request: pytest.FixtureRequest, overlay: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Seized]:
    kernel = request.param
    folder = tmp_path_factory.mktemp("seized")
    (folder / "cache").mkdir()
    (folder / "symbols" / "linux").mkdir(parents=True)
    with LabGuest.up(
        f"vol-{kernel}-{os.getpid()}", kernel=kernel, overlay=overlay, **GUESTS[kernel]
    ) as guest:
        assert guest.run("/lab/workload", timeout_s=90).out == b"ready\n"
        written = vmon.dump(guest.name, folder / "ram.elf", "elf", paused=True)
        assert written.paused_ns and say(guest, "echo it goes on") == "it goes on\n"
        with vmon.attach(guest.name) as vm:
            assert vm.guest.paging_levels == 4
            file = folder / "symbols" / "linux" / "guest.json.xz"
            record = vm.write_isf(file)
            assert record.symbols == len(vm.kernel.symbols) and record.size == file.stat().st_size
            with pytest.raises(UsageError, match="there already"):
                vm.write_isf(file)
    with vmon.attach(f"dump:{folder / 'ram.elf'}") as listed:
        yield Seized(folder, folder / "ram.elf", listed)


def readable(text: str) -> bool:
    """Volatility cuts a text at what is none."""
    return text.isascii() and text.isprintable()


def test_processes(seized: Seized) -> None:
    rows = seized.volatility("linux.pslist.PsList")
    theirs = {row["PID"]: (row["PPID"], row["UID"], row["GID"], row["COMM"]) for row in rows}
    records = [process.record() for process in seized.listed.processes()]
    # Volatility leaves out what has no namespaces any more: zombies.
    ours = {r.pid: (r.ppid, r.uid, r.gid, r.name) for r in records if r.mnt_namespace is not None}
    odd = {pid for pid, (*_, name) in ours.items() if not readable(name)}
    assert len(odd) < 3
    assert {pid: row for pid, row in theirs.items() if pid not in odd} == {
        pid: row for pid, row in ours.items() if pid not in odd
    }
    assert theirs.keys() == ours.keys()
    assert len(theirs) > 40


def test_open_files(seized: Seized) -> None:
    rows = seized.volatility("linux.lsof.Lsof")
    # Of threads that share their process's files vmon tells once.
    theirs = {(row["PID"], row["FD"]): row for row in rows if row["PID"] == row["TID"]}
    ours = {(r.pid, r.fd): r for process in seized.listed.processes() for r in process.files() or []}
    assert theirs.keys() == ours.keys()
    assert len(theirs) > 60
    compared = spelt_otherwise = 0
    for key, row in theirs.items():
        record, path = ours[key], str(row["Path"]).strip().removesuffix(" (deleted)")
        assert record.inode == row["Inode"], key
        if not path.startswith("/") or record.path is None or not readable(record.path):
            continue  # without a name, which each spells in its own way
        compared += 1
        # In a chroot it tells the path as the process sees it.
        assert record.path.endswith(path), key
        spelt_otherwise += record.path != path
    assert compared > 100 and spelt_otherwise <= 2


def test_system_calls_lead_where_their_names_say(seized: Seized) -> None:
    rows = seized.volatility("linux.check_syscall.Check_syscall")
    assert len({row["Index"] for row in rows if row["Table Name"] == "64bit"}) > 300
    symbols = seized.listed.kernel.symbols
    for row in rows:
        address = row["Handler Address"] | 0xFFFF << 48
        named = symbols.at(address)
        assert named is not None and named[1] == 0, row
        assert row["Handler Symbol"] != "UNKNOWN", row
        assert re.search(r"sys_|compat", row["Handler Symbol"]), row
