"""Attach and identify: a kernel never met, a kernel met before, and where the time goes.

The clock starts when the imports are done and the monitor is connected; the connection is a series of its own.
"""

from __future__ import annotations

from collections.abc import Callable

from bench.caches import own_profile_cache
from bench.clockwork import stage_series
from bench.series import Results, measure_ms
from vmon.core.target import parse_target
from vmon.lab.guest import LabGuest
from vmon.monitor.attach import open_target
from vmon.monitor.machine import VirtualMachine

COLD_TARGET_MS = 150.0
WARM_TARGET_MS = 5.0
COLD_STAGES = {
    "find images": "vmon.kernel.identify.find_images",
    "read image": "vmon.kernel.identify.read_image",
    "kallsyms locate": "vmon.kernel.identify.locate_kallsyms",
    "kallsyms token tables": "vmon.kernel.kallsyms._token_tables",
    "kallsyms marker runs": "vmon.kernel.kallsyms._marker_runs",
    "kallsyms positions": "vmon.kernel.kallsyms._positions",
    "kallsyms place offsets": "vmon.kernel.kallsyms._place_offsets",
    "kallsyms find": "vmon.kernel.kallsyms.Kallsyms.find",
    "kallsyms keys": "vmon.kernel.kallsyms.Kallsyms._keys",
    "kallsyms addresses": "vmon.kernel.kallsyms.Kallsyms.addresses",
    "BTF init": "vmon.kernel.btf.Btf.__init__",
    "BTF walk": "vmon.kernel.btf.Btf._walk",
    "BTF find": "vmon.kernel.btf.Btf.find",
    "resolve structs": "vmon.kernel.identify.resolve_structs",
    "resolve enums": "vmon.kernel.identify.resolve_enums",
    "registers": "vmon.transport.qemu.guest.QemuGuest.registers",
    "run state": "vmon.transport.qemu.guest.QemuGuest.state",
    "read bases": "vmon.kernel.identify.read_bases",
    "save profile": "vmon.monitor.shelf.ProfileShelf.save",
    "list processes": "vmon.monitor.machine.VirtualMachine.processes",
}
WARM_STAGES = {
    name: COLD_STAGES[name]
    for name in ("find images", "registers", "run state", "read bases", "list processes")
} | {
    "shelf init": "vmon.monitor.shelf.ProfileShelf.__init__",
    "load profile": "vmon.monitor.shelf.ProfileShelf.load",
}


def measure_identify(results: Results, guest: LabGuest, kernel: str, *, quick: bool) -> None:
    """All series of this file for one guest."""
    target = parse_target(guest.name)
    attach_values = measure_ms(lambda: open_target(target).close(), 5 if quick else 20)
    results.add("attach (QMP, RAM map)", "ms", kernel, attach_values, note="open and close, no kernel work")
    opened = open_target(target)

    def first_list() -> list[tuple[int, str]]:
        vm = VirtualMachine(guest.name, opened)
        return [(process.pid, process.name) for process in vm.processes()]

    try:
        with own_profile_cache() as cache:
            measure_cold(results, kernel, first_list, cache.empty, quick=quick)
            measure_warm(results, kernel, first_list, quick=quick)
        registers = measure_ms(lambda: opened.regs and opened.regs.registers(), 10 if quick else 50)
        results.add("QMP round trip (registers)", "ms", kernel, registers)
    finally:
        opened.close()


def measure_cold(
    results: Results, kernel: str, work: Callable[[], object], forget: Callable[[], None], *, quick: bool
) -> None:
    """Empty cache before each round."""
    values = measure_ms(work, 5 if quick else 20, before=forget)
    results.add("cold identify + list", "ms", kernel, values, COLD_TARGET_MS)
    stage_series(results, "cold", kernel, COLD_STAGES, work, 3 if quick else 9, before=forget)


def measure_warm(results: Results, kernel: str, work: Callable[[], object], *, quick: bool) -> None:
    """The profile is there."""
    values = measure_ms(work, 10 if quick else 50)
    results.add("warm identify + list", "ms", kernel, values, WARM_TARGET_MS)
    stage_series(results, "warm", kernel, WARM_STAGES, work, 5 if quick else 15)
