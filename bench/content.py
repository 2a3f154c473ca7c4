"""Files out of the guest's page cache: finding pages, reading and hashing them, beside hashlib on the same bytes."""

from __future__ import annotations

import hashlib

from bench.series import Results, measure_ms
from vmon.lab.guest import LabGuest
from vmon.linux import pagecache
from vmon.monitor.attach import attach

SIZE_MB = 96
FILE = "/tmp/bench-content"
HASH_TARGET = 1.25
"""How many times hashlib's own time hashing a file in the guest may take."""


def measure_content(results: Results, guest: LabGuest, kernel: str, *, quick: bool) -> None:
    """All series of this file for one guest; makes a file in it and removes it."""
    rounds = 5 if quick else 20
    done = guest.run(f"dd if=/dev/urandom of={FILE} bs=1M count={SIZE_MB} 2>/dev/null", timeout_s=120)
    assert done.status == 0, done.err
    try:
        with attach(guest.name) as vm:
            content = vm.read_file(FILE)
            data = content.data
            assert content.sha256().sha256 == hashlib.sha256(data).hexdigest()
            plain = measure_ms(lambda: hashlib.sha256(data).hexdigest(), rounds)
            ours = measure_ms(content.sha256, rounds)
            size = f"{SIZE_MB} MB"
            results.add(f"hashlib, {size} in our memory", "ms", kernel, plain)
            results.add(f"sha256 of a file, {size}", "ms", kernel, ours)
            # CPU time, which a busy host does not stretch.
            ratios = [one / other for one, other in zip(ours.cpu, plain.cpu, strict=False)]
            results.add("the same against hashlib, CPU", "x", kernel, ratios, HASH_TARGET)
            results.add(f"data of a file, {size}", "ms", kernel, measure_ms(lambda: content.data, rounds))
            mapping = content.mapping
            found = measure_ms(lambda: pagecache.find_pages(vm.wide_kernel, mapping), rounds)
            results.add(f"find its pages, {size}", "ms", kernel, found)
            results.add(
                "a file by its path", "ms", kernel, measure_ms(lambda: vm.read_file("/bin/sh"), rounds)
            )
            results.add("hashed processes", "ms", kernel, measure_ms(vm.hashed_processes, rounds))
    finally:
        guest.run(f"rm -f {FILE}", timeout_s=60)
