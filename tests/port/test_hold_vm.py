"""HoldVm of a real QEMU: the guest stands still inside, and goes on whatever happens there."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.port.conftest import PATIENCE_S, USUAL_PAUSE_NS, qemu
from tests.port.test_patch_code import stub_chardevs
from vmon.core.errors import PauseLost
from vmon.core.ports import HoldVm
from vmon.transport.qemu import QemuGuest, attach_qemu, code


@pytest.fixture
def guest() -> Iterator[QemuGuest]:
    """Firmware that finds nothing to boot, on two CPUs."""
    with qemu("-m", "32M", "-smp", "2", frozen=False) as machine, attach_qemu(machine.qmp_path) as found:
        yield found


def test_registers_of_every_cpu_in_a_pause(guest: QemuGuest) -> None:
    assert isinstance(guest, HoldVm)
    for _ in range(3):
        with guest.held(PATIENCE_S) as pause:
            assert guest.state().status == "paused"
            assert not stub_chardevs(guest)
            pause.require_time()
            assert pause.paused_ns == 0
            assert [cpu.cpu for cpu in pause.registers] == [0, 1]
            again = [guest.registers(cpu) for cpu in (0, 1)]
            assert list(pause.registers) == again, "nothing moves"
        assert guest.state().status == "running"
        assert 0 < pause.paused_ns < PATIENCE_S * 1e9


def test_it_goes_on_when_something_fails_inside(guest: QemuGuest) -> None:
    with pytest.raises(ZeroDivisionError), guest.held(PATIENCE_S):
        raise ZeroDivisionError
    assert guest.state().status == "running"


def test_somebody_elses_pause_stays(guest: QemuGuest) -> None:
    guest.qmp.execute("stop")
    with guest.held(PATIENCE_S) as pause:
        pause.require_time()
    assert pause.paused_ns == 0
    assert guest.state().status == "paused"


def test_who_has_no_time_left_is_told(guest: QemuGuest) -> None:
    with guest.held(code.MARGIN_NS / 1e9) as pause, pytest.raises(PauseLost):
        pause.require_time()


def test_a_longer_pause_is_had_by_asking_and_ends_by_the_guardian(guest: QemuGuest) -> None:
    with guest.held(longest_s=PATIENCE_S) as pause:
        time.sleep(USUAL_PAUSE_NS / 1e9 + 0.3)
        pause.require_time()
        assert guest.state().status == "paused", "past what is usual"
    assert guest.state().status == "running"
    with guest.held(longest_s=0.3):
        deadline = time.monotonic() + PATIENCE_S
        while guest.state().status == "paused" and time.monotonic() < deadline:
            time.sleep(0.05)
        assert guest.state().status == "running", "the guardian let it go on"
