"""What is in the kernel, against the guest's own word: /proc and /sys read inside at that moment, on every kernel."""

from __future__ import annotations

import vmon
from tests.guest.conftest import say
from vmon.lab.guest import LabGuest


def test_modules(guest: LabGuest, vm: vmon.VirtualMachine) -> None:
    told = say(guest, "modprobe veth; modprobe bridge; modprobe overlay; cat /proc/modules")
    seen = vm.modules()
    lines = []
    for record in seen:
        users = "".join(f"{name}," for name in record.used_by) or "-"
        taints = f" ({record.taints})" if record.taints else ""
        lines.append(
            f"{record.name} {record.size} {record.references} {users} {record.state} "
            f"{record.address:#018x}{taints}"
        )
    assert lines == told.splitlines()
    assert {"veth", "bridge", "llc"} <= {record.name for record in seen}
    assert seen.coverage == []
    # The guest as others use it has none of them.
    say(guest, "rmmod bridge veth overlay")
