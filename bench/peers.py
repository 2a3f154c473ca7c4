"""vmon beside its peers on the same bytes of RAM: pakunoda builds a symbol file, Volatility 3 lists processes with it.

Each is run as a whole command on one dump of one guest. The guest is booted without 5-level paging, which Volatility 3
can't walk. A peer that fails is a line of the output that says so.
"""

from __future__ import annotations

import csv
import io
import re
import subprocess
import sys
import time
from pathlib import Path

from bench.caches import own_profile_cache
from bench.command import VMON, command_environment, run
from bench.guests import Guests
from bench.series import Results, Series, Spans, cpu_ns, measure_ms
from vmon.core.errors import VmonError
from vmon.lab.guest import LabGuest

BIN = Path(sys.executable).parent
PEER_TIMEOUT_S = 300.0
COUNT = 100


class PeerFailed(Exception):
    """A peer did not do its job; the text is its last line."""


def command_s(*command: str | Path) -> tuple[float, float, str]:
    """Seconds of a command, CPU seconds of it, and what it wrote."""
    begin, cpu_begin = time.perf_counter(), cpu_ns()
    try:
        done = subprocess.run(
            [str(word) for word in command],
            capture_output=True,
            text=True,
            check=False,
            env=command_environment(),
            timeout=PEER_TIMEOUT_S,
        )
    except FileNotFoundError:
        raise PeerFailed(f"{command[0]} is not installed (bench extra)") from None
    except subprocess.TimeoutExpired:
        raise PeerFailed(f"more than {PEER_TIMEOUT_S:.0f} s") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise PeerFailed(f"exit status {done.returncode}: {said[-1] if said else ''}")
    return time.perf_counter() - begin, (cpu_ns() - cpu_begin) / 1e9, done.stdout


def measure_peers(results: Results, guests: Guests, kernel: str, *, quick: bool) -> None:
    """Dump a guest of this kernel, run everyone on the dump."""
    try:
        guest = guests.up("peers", kernel, cpu_words="la57=off")
        Guests.start_many(guest, COUNT)
        # What ran the last command in the guest is still on its way out.
        time.sleep(1)
        dump = _dump(results, guest, kernel, guests.scratch(f"{kernel}.raw"))
    except VmonError as error:
        results.add("peers", "s", kernel, [], note=f"no guest for them: {error}"[:300])
        guests.down(f"bench-peers-{kernel}")
        return
    guests.down(f"bench-peers-{kernel}")
    try:
        _on_dump(results, kernel, dump, guests.scratch(f"{kernel}-symbols"), quick=quick)
    finally:
        dump.unlink(missing_ok=True)


def _dump(results: Results, guest: LabGuest, kernel: str, path: Path) -> Path:
    from vmon.core.target import parse_target
    from vmon.monitor.attach import open_target
    from vmon.transport.dump.write import write_dump

    opened = open_target(parse_target(guest.name))
    try:
        begin = time.perf_counter()
        written = write_dump(opened.ram, path, "raw")
        rate = written.ram_bytes / 1e6 / (time.perf_counter() - begin)
    finally:
        opened.close()
    results.add("dump, raw", "MB/s", kernel, [rate], note=f"{written.stored_bytes >> 20} MiB stored")
    return path


def _on_dump(results: Results, kernel: str, dump: Path, symbols: Path, *, quick: bool) -> None:
    rounds = 2 if quick else 5
    target = f"dump:{dump}"
    with own_profile_cache() as cache:
        values = measure_ms(lambda: run(VMON, "ps", target), rounds, before=cache.empty)
        cold = results.add("vmon ps on a dump, cold", "s", kernel, values.scaled(1e-3))
        values = measure_ms(lambda: run(VMON, "ps", target), rounds)
        warm = results.add("vmon ps on a dump, warm", "s", kernel, values.scaled(1e-3))
        *_, listed = command_s(VMON, "ps", target, "-o", "csv")
        # Volatility 3 leaves out what has no nsproxy any more: zombies and processes on their way out.
        ours = {int(row["pid"]) for row in csv.DictReader(io.StringIO(listed)) if row["mnt_namespace"]}

    isf = symbols / "linux" / "guest.json"
    isf.parent.mkdir(parents=True)
    extract = _peer(
        results,
        "pakunoda extract",
        kernel,
        1,
        [BIN / "pakunoda", "extract", "-q", "--offline", "--no-donor", "-o", isf, dump],
    )
    if extract is None:
        results.add("volatility3 linux.pslist", "s", kernel, [], note="no symbol file: pakunoda failed")
        return
    results.add("pakunoda / vmon cold", "x", kernel, [extract[0].median / cold.median])
    # Its own cache folder: the first run indexes the symbol file, later ones find it there.
    (symbols / "cache").mkdir()
    vol = [BIN / "vol", "-q", "--offline", "--cache-path", symbols / "cache", "-s", symbols, "-f", dump]
    first = _peer(results, "volatility3 linux.pslist, first", kernel, 1, [*vol, "linux.pslist.PsList"])
    if first is None:
        return
    theirs = {int(pid) for pid in re.findall(r"^0x[0-9a-f]+\t(\d+)\t", first[1], re.MULTILINE)}
    same = "the same" if ours == theirs else f"DIFFERENT: {sorted(ours ^ theirs)[:8]}"
    note = f"{len(theirs)} processes, vmon {len(ours)}, {same}"
    later = _peer(
        results,
        "volatility3 linux.pslist, later",
        kernel,
        1 if quick else 3,
        [*vol, "linux.pslist.PsList"],
        note,
    )
    if later is not None:
        results.add("volatility3 later / vmon warm", "x", kernel, [later[0].median / warm.median])
    both = extract[0].median + first[0].median
    results.add("pakunoda + volatility3 first / vmon cold", "x", kernel, [both / cold.median])


def _peer(
    results: Results, name: str, kernel: str, rounds: int, command: list[str | Path], note: str = ""
) -> tuple[Series, str] | None:
    """Run a peer; None where it failed, which is said."""
    values = Spans()
    output = ""
    try:
        for _ in range(rounds):
            seconds, cpu_seconds, output = command_s(*command)
            values.append(seconds)
            values.cpu.append(cpu_seconds)
    except PeerFailed as error:
        results.add(name, "s", kernel, values, note=f"failed: {error}"[:300])
        return None
    return results.add(name, "s", kernel, values, note=note), output
