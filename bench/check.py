"""`vmon check` of a guest with 500 processes that share nothing: all of it, and each subject alone."""

from __future__ import annotations

from functools import partial

from bench.guests import Guests
from bench.processes import COUNT
from bench.series import Results, measure_ms
from vmon.check.run import SUBJECTS
from vmon.lab.guest import LabGuest
from vmon.lab.kernels import find_kernel
from vmon.monitor.attach import attach

TARGET_MS = 2000.0


def measure_check(results: Results, guest: LabGuest, kernel: str, *, quick: bool) -> None:
    """Starts and ends a crowd in the guest."""
    rounds = 3 if quick else 9
    Guests.start_crowd(guest, COUNT)
    image = find_kernel(kernel).vmlinuz
    with attach(guest.name) as vm:
        found = len(vm.check())
        note = f"{found} findings"
        results.add(f"check, {COUNT} apart", "ms", kernel, measure_ms(vm.check, rounds), TARGET_MS, note)
        for subject in SUBJECTS:
            values = measure_ms(partial(vm.check, subject), rounds)
            results.add(f"check {subject}, {COUNT} apart", "ms", kernel, values)
        values = measure_ms(partial(vm.check, "text", image=image), rounds)
        results.add("check text with the kernel's file", "ms", kernel, values)
    Guests.end_processes(guest)
