"""Memory of the monitor on a guest of 64 GB that uses little of it: as much as on a small one.

The guest's RAM is sparse in a shared memfd (mapped by the monitor), or private memory of QEMU (read through
/proc/PID/mem). The peak is VmHWM of a new process that identifies and lists processes: pages of guest RAM that it
touches through the mapping count, although they are QEMU's.
"""

from __future__ import annotations

import json
import subprocess
import sys

from bench.caches import own_profile_cache
from bench.command import command_environment
from bench.guests import Guests
from bench.series import Results, measure_ms
from vmon.core.errors import VmonError
from vmon.lab.guest import LabGuest

TARGET_MB = 150.0
LARGE_BYTES = 64 << 30
CHILD = """
import json, pathlib, re, sys, time
import vmon
begin = time.perf_counter()
with vmon.attach(sys.argv[1]) as vm:
    first = len(vm.processes())
    took = time.perf_counter() - begin
    ms, cached = vm._identity.duration_ms, vm._identity.from_cache
    records = vm.snapshot().records()
    status = pathlib.Path("/proc/self/status").read_text()
numbers = {name: int(kb) / 1024 for name, kb in re.findall(r"(VmHWM|RssAnon|RssFile|RssShmem):\\s+(\\d+) kB", status)}
print(json.dumps({**numbers, "ms": took * 1e3, "identify_ms": ms, "processes": first, "from_cache": cached}))
"""


def in_new_process(target: str) -> dict[str, float]:
    """Identify and list in a new Python; its peak of memory."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, target],
        capture_output=True,
        text=True,
        check=False,
        env=command_environment(),
        timeout=300,
    )
    if done.returncode:
        raise VmonError(done.stderr.strip().rpartition("\n")[2] or "the child failed")
    answer: dict[str, float] = json.loads(done.stdout)
    return answer


def measure_memory(results: Results, guest: LabGuest, kernel: str, where: str, *, quick: bool) -> None:
    """Peak memory and identify time of new processes: kernel never met, and met."""
    rounds = 2 if quick else 5
    with own_profile_cache() as cache:
        for kind, forget in (("cold", cache.empty), ("warm", None)):
            answers: list[dict[str, float]] = []
            measure_ms(
                lambda answers=answers: answers.append(in_new_process(guest.name)), rounds, before=forget
            )
            last = answers[-1]
            parts = ", ".join(f"{name} {last[name]:.0f}" for name in ("RssAnon", "RssFile", "RssShmem"))
            peaks = [answer["VmHWM"] for answer in answers]
            results.add(f"peak RSS, {where}, {kind}", "MB", kernel, peaks, TARGET_MB, f"at the end: {parts}")
            spans = [answer["ms"] for answer in answers]
            results.add(
                f"attach to list, {where}, {kind}", "ms", kernel, spans, note="new process, imports in it"
            )


def measure_large_guests(results: Results, guests: Guests, kernel: str, *, quick: bool) -> None:
    """The 64 GB guest twice; a host that can't have it says so."""
    for where, plan in LARGE_PLANS.items():
        try:
            guest = guests.up(where.replace(" ", "-"), kernel, boot_timeout_s=300, **plan)
            measure_memory(results, guest, kernel, where, quick=quick)
        except Exception as error:
            results.add(f"peak RSS, {where}", "MB", kernel, [], TARGET_MB, f"failed: {error}"[:300])
        finally:
            guests.down(f"bench-{where.replace(' ', '-')}-{kernel}")


LARGE_PLANS = {
    "64G memfd": {"ram_bytes": LARGE_BYTES},
    "64G procmem": {
        "ram_bytes": LARGE_BYTES,
        "ram_backend": "anon",
        # Hosts refuse to promise 64 GB to a process that will use little: it does not ask for the promise.
        "qemu_args": (
            *("-object", "memory-backend-ram,id=sparse,size=64G,reserve=off"),
            *("-machine", "memory-backend=sparse"),
        ),
    },
}
