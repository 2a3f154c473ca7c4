"""Under `./dev guest --kvm` the guests really have KVM underneath: the lab, vmon and the guest agree on it."""

from __future__ import annotations

import os

import pytest

import vmon
from vmon.lab import accel
from vmon.lab.guest import LabGuest

pytestmark = pytest.mark.skipif(os.environ.get(accel.VARIABLE) != "kvm", reason="./dev guest --kvm runs it")


@pytest.mark.smoke
def test_guests_run_under_kvm(guest: LabGuest, vm: vmon.VirtualMachine) -> None:
    assert guest.record.accel == "kvm"
    assert vm.guest.hypervisor.startswith("kvm")
    clock = guest.run("cat /sys/devices/system/clocksource/clocksource0/available_clocksource").text
    assert "kvm-clock" in clock.split()
