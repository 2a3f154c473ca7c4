"""`vmon serve` while nothing happens: its share of a core, its memory, and how long an answer takes.

CPU time is the server's own, of its threads too, out of /proc: other load of the host does not count.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from bench.command import VMON, command_environment
from bench.series import Results, measure_ms
from vmon.lab.guest import LabGuest

CPU_TARGET = 2.0
RSS_TARGET_MB = 120.0
PATIENCE_S = 60.0
STREAMS = {
    "nobody follows": (),
    "one follows processes": ("processes/stream",),
    "one follows events": ("events?on=process.exec",),
    "one follows both": ("processes/stream", "events?on=process.exec"),
}
VIEWS = ("processes", "processes?fields=pid,name", "processes/1/files", "modules", "sockets?all=true")


def cpu_s(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mb(pid: int) -> float:
    """MB that a process has in RAM."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextmanager
def server(guest: LabGuest) -> Iterator[tuple[int, httpx.Client]]:
    """A server on a socket file, and a client of it."""
    with tempfile.TemporaryDirectory(prefix="vmon-bench-") as folder:
        path = f"{folder}/s"
        command = [str(VMON), "serve", guest.name, "--listen", f"unix:{path}"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=command_environment())
        try:
            assert process.stderr is not None
            if "listening" not in (said := process.stderr.readline()):
                raise RuntimeError(said)
            threading.Thread(target=process.stderr.read, daemon=True).start()
            base = f"http://vmon/api/v1/vms/lab:{guest.name}/"
            transport = httpx.HTTPTransport(uds=path)
            with httpx.Client(transport=transport, base_url=base, timeout=PATIENCE_S) as client:
                yield process.pid, client
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


@contextmanager
def following(client: httpx.Client, paths: tuple[str, ...]) -> Iterator[None]:
    """Somebody takes these streams."""
    over = threading.Event()

    def take(path: str) -> None:
        with suppress(httpx.HTTPError), client.stream("GET", path) as reply:
            for _ in reply.iter_bytes():
                if over.is_set():
                    return

    threads = [threading.Thread(target=take, args=(path,), daemon=True) for path in paths]
    for thread in threads:
        thread.start()
    yield
    over.set()


def measure_serve(results: Results, guest: LabGuest, kernel: str, *, quick: bool) -> None:
    """Idle, then with followers, then answers."""
    seconds, rounds = (5.0, 1) if quick else (10.0, 3)
    for name, paths in STREAMS.items():
        with server(guest) as (pid, client):
            client.get("processes").raise_for_status()
            if any(path.startswith("events") for path in paths):
                client.put("probe").raise_for_status()
            with following(client, paths):
                time.sleep(1.0)
                shares = []
                for _ in range(rounds):
                    begin, used = time.monotonic(), cpu_s(pid)
                    time.sleep(seconds)
                    shares.append(100 * (cpu_s(pid) - used) / (time.monotonic() - begin))
                results.add(f"serve, {name}: of a core", "%", kernel, shares, CPU_TARGET)
                results.add(f"serve, {name}: RSS", "MB", kernel, [rss_mb(pid)], RSS_TARGET_MB)
    with server(guest) as (_, client):
        for view in VIEWS:
            values = measure_ms(lambda view=view: client.get(view).raise_for_status(), 5 if quick else 30)
            results.add(f"serve, GET {view}", "ms", kernel, values)
