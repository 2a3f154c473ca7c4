"""The QEMU guests of this host, each under the name that vmon's other calls take.

Reads /proc of the host and knocks at QMP sockets; no guest is attached to, and none notices.
"""

from __future__ import annotations

from vmon.core.records.guest import HostGuestRecord
from vmon.lab import state
from vmon.transport import guests as transport

ACCESS = {"mapped": "mapped", "process": "process memory", "": ""}


def find_guests() -> list[HostGuestRecord]:
    """Every QEMU guest by process id. Takes 0.3 s when a QMP socket is taken by somebody."""
    lab = {record.pid: record.name for _, record in state.running()}
    return [
        HostGuestRecord(
            target=f"lab:{lab[found.pid]}" if found.pid in lab else found.target,
            pid=found.pid,
            name=found.name,
            accel=found.accel,
            ram_size=found.ram_bytes,
            ram_access=ACCESS[found.memory],
            qmp=[f"{offer.path} ({offer.state})" for offer in found.qmp],
            readable=not found.problem,
            problem=found.problem,
        )
        for found in transport.find_guests()
    ]
