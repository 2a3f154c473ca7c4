"""Bridges to other tools: a symbol file for Volatility 3 beside pakunoda's, and how fast RAM becomes a file.

The symbol file is written by both from the same guest, one after the other: by vmon live and from the dump, by pakunoda
from the dump, which is all that it reads. The dump goes to the host's shared memory, so no disk is measured; the guest
is filled first, for what counts is resident pages.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.command import VMON, run
from bench.guests import Guests
from bench.peers import BIN, PeerFailed, command_s
from bench.series import Results, Spans, measure_ms
from vmon.core.errors import VmonError
from vmon.lab.guest import LabGuest
from vmon.monitor.attach import dump

MEMORY_FOLDER = Path("/dev/shm")
ISF_TARGET_S = 3.0
RAM_BYTES = 2 << 30
FILLED_MIB = 1024


@contextmanager
def in_memory() -> Iterator[Path]:
    """A folder in the host's memory."""
    folder = Path(tempfile.mkdtemp(prefix="vmon-bench-", dir=MEMORY_FOLDER))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measure_bridges(results: Results, guests: Guests, kernel: str, *, quick: bool) -> None:
    """Boot a guest with 1 GiB of its RAM in use, and end it."""
    guest = guests.up("bridges", kernel, ram_bytes=RAM_BYTES)
    try:
        _fill(guest)
        with in_memory() as folder:
            _dumps(results, guest, kernel, folder, 3 if quick else 7)
            _symbol_files(results, guest, kernel, folder, 2 if quick else 5)
    finally:
        guests.down(f"bench-bridges-{kernel}")


def _fill(guest: LabGuest) -> None:
    """Pages with something in them, in a file of the guest's memory."""
    script = f"mount -t tmpfs -o size=90% none /mnt && yes | head -c {FILLED_MIB}m > /mnt/full"
    done = guest.run(script, timeout_s=300)
    if done.status:
        raise VmonError(f"the guest's memory could not be filled: {done.err!r}")


def _dumps(results: Results, guest: LabGuest, kernel: str, folder: Path, rounds: int) -> None:
    for form, paused in (("raw", False), ("elf", False), ("lime", False), ("elf", True)):
        rates, pauses, stored = [], [], 0
        for _ in range(rounds):
            # A name of its own: to free the file before is no part of it.
            path = folder / f"ram.{form}"
            begin = time.perf_counter()
            written = dump(guest.name, path, form, paused=paused)  # type: ignore[arg-type]
            rates.append(written.stored_bytes / 1e6 / (time.perf_counter() - begin))
            stored = written.stored_bytes
            path.unlink()
            if written.paused_ns:
                pauses.append(written.paused_ns / 1e6)
        note = f"{stored >> 20} MiB that are not zero"
        results.add(f"dump, {form}{', paused' * paused}", "MB/s", kernel, rates, note=note)
        if pauses:
            results.add("guest held for it", "ms", kernel, pauses, note=note)


def _symbol_files(results: Results, guest: LabGuest, kernel: str, folder: Path, rounds: int) -> None:
    path = folder / "ours.json"
    seconds = measure_ms(lambda: run(VMON, "isf", guest.name, "-o", path, "--force"), rounds).scaled(1e-3)
    size = f"{path.stat().st_size / 1e6:.1f} MB"
    ours = results.add("vmon isf, whole command", "s", kernel, seconds, ISF_TARGET_S, note=size)
    packed = folder / "ours.json.xz"
    seconds = measure_ms(lambda: run(VMON, "isf", guest.name, "-o", packed, "--force"), rounds).scaled(1e-3)
    results.add("vmon isf, .xz", "s", kernel, seconds, note=f"{packed.stat().st_size / 1e6:.1f} MB")
    ram, theirs = folder / "ram.raw", folder / "theirs.json"
    dump(guest.name, ram, "raw")
    values = Spans()
    try:
        for _ in range(2):
            theirs.unlink(missing_ok=True)
            took, cpu, _ = command_s(
                BIN / "pakunoda", "extract", "-q", "--offline", "--no-donor", "-o", theirs, ram
            )
            values.append(took)
            values.cpu.append(cpu)
    except PeerFailed as error:
        results.add("pakunoda extract", "s", kernel, values, note=f"failed: {error}"[:300])
        return
    note = f"{theirs.stat().st_size / 1e6:.1f} MB"
    other = results.add("pakunoda extract", "s", kernel, values, note=note)
    results.add("pakunoda / vmon isf", "x", kernel, [other.median / ours.median])
