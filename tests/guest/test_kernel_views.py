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


LEVELS = ("emerg", "alert", "crit", "err", "warn", "notice", "info", "debug")
FACILITIES = {0: "kern", 1: "user", 3: "daemon"}


def of_kmsg(text: str) -> dict[int, tuple[int, str, str, str, str | None, str | None]]:
    """Records of /dev/kmsg by their sequence: microseconds, facility, level, text as it is escaped there, device."""
    found = {}
    last = 0
    for line in text.split("\n"):
        if line.startswith(" "):
            name, _, value = line[1:].partition("=")
            at = {"SUBSYSTEM": 4, "DEVICE": 5}[name]
            found[last] = (*found[last][:at], value, *found[last][at + 1 :])
        elif line:
            head, _, said = line.partition(";")
            priority, sequence, usec = (int(word) for word in head.split(",")[:3])
            last = int(sequence)
            found[last] = (usec, FACILITIES[priority >> 3], LEVELS[priority & 7], said, None, None)
    return found


def test_dmesg(guest: LabGuest, vm: vmon.VirtualMachine) -> None:
    say(
        guest,
        "echo on > /proc/sys/kernel/printk_devkmsg;"
        "echo '<30>of a daemon' > /dev/kmsg; "
        "printf '<12>first\\nsecond \\001\\\\\\n' > /run/said;"
        "dd if=/run/said of=/dev/kmsg bs=1024 2>/dev/null; rm /run/said",
    )

    def compare() -> list[int]:
        told = of_kmsg(say(guest, "timeout 1 cat /dev/kmsg 2>/dev/null || true"))
        answer = vm.dmesg()
        seen = {}
        for record in answer:
            raw = record.text.encode("utf-8", "surrogateescape")
            said = "".join(chr(b) if 32 <= b < 127 and b != 92 else f"\\x{b:02x}" for b in raw)
            seen[record.sequence] = (
                round(record.time * 1e9) // 1000,
                record.facility,
                record.level,
                said,
                record.subsystem,
                record.device,
            )
        # The guest may have said more, and overwritten as much, since.
        assert max(told) - min(seen) > 100
        assert {seq: said for seq, said in seen.items() if seq <= max(told)} == {
            seq: said for seq, said in told.items() if seq >= min(seen)
        }
        first = [gap.count for gap in answer.coverage if gap.reason == "not resident"]
        assert first == ([min(seen)] if min(seen) else [])
        return sorted(seen)

    numbers = compare()
    records = vm.dmesg(after=numbers[-1] - 2)
    assert [record.sequence for record in records][:2] == numbers[-2:]
    by_text = {record.text: record for record in vm.dmesg()}
    daemon = by_text["of a daemon"]
    assert (daemon.facility, daemon.level, daemon.caller is not None) == ("daemon", "info", True)
    assert by_text["first\nsecond \1\\"].level == "warn"
    # Now so much that the ring goes round.
    say(
        guest,
        "i=0; while [ $i -lt 2500 ]; do"
        ' echo "vmon $i ${i}abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz" > /dev/kmsg; i=$((i+1)); done',
    )
    assert compare()[0] > 0
    say(guest, "echo ratelimit > /proc/sys/kernel/printk_devkmsg")
