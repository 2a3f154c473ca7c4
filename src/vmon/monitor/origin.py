"""Where a guest's events come from: its target, what it calls itself, its kernel and its boot.

Reads the guest, a millisecond. All of it but the target is the guest's own word.
"""

from __future__ import annotations

from vmon.core.ecs import Origin
from vmon.monitor.machine import VirtualMachine


def origin_of(vm: VirtualMachine) -> Origin:
    """As it is now; another one after a reboot. IdentifyError while no kernel runs."""
    guest = vm.guest
    boot_time = guest.boot_time or 0.0
    return Origin(
        target=guest.target,
        hostname=guest.hostname,
        release=guest.release,
        boot_time_ns=round(boot_time * 1e6) * 1000,
    )
