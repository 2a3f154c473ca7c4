"""PatchCode of a real QEMU: whose pause it is, whose gdbstub, and that nothing of it is left."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.port.conftest import PATIENCE_S, USUAL_PAUSE_NS, Machine, memfd, qemu
from vmon.core.address import Gpa
from vmon.core.errors import (
    CodeDiffers,
    NotSupported,
    PauseLost,
    PhysReadError,
    TargetBusy,
    TargetError,
    UsageError,
)
from vmon.core.ports import Patch, PatchCode
from vmon.transport.patches import apply_patches
from vmon.transport.qemu import QemuGuest, attach_qemu, code

FIRST, SECOND = Gpa(0x2000), Gpa(0x2FFE)
OLD, NEW = b"\x0f\x1f\x44\x00\x00", b"\xe8\x01\x02\x03\x04"
pytestmark = pytest.mark.usefixtures("long_pauses")
PATCHES = [Patch(FIRST, OLD, NEW), Patch(SECOND, OLD, NEW)]


@contextmanager
def running(*arguments: str) -> Iterator[tuple[Machine, QemuGuest]]:
    """A QEMU whose firmware runs and finds nothing to boot."""
    with qemu("-m", "32M", *arguments, frozen=False) as machine, attach_qemu(machine.qmp_path) as guest:
        for place in (FIRST, SECOND):
            guest.ram.write(place, OLD)
        yield machine, guest


@pytest.fixture(params=["memfd", "anonymous"])
def guest(request: pytest.FixtureRequest) -> Iterator[QemuGuest]:
    with running(*(memfd("32M") if request.param == "memfd" else [])) as (_, found):
        yield found


def placed(guest: QemuGuest) -> list[bytes]:
    return [guest.ram.read(place, 5) for place in (FIRST, SECOND)]


def stub_chardevs(guest: QemuGuest) -> list[object]:
    return [chardev for chardev in guest.qmp.execute("query-chardev") if chardev["label"] == "gdb"]


@pytest.mark.parametrize("accel", ["tcg", "kvm"])
def test_all_places_in_one_pause(guest: QemuGuest, accel: str) -> None:
    """As under KVM too: code that never ran may be written so under TCG."""
    guest.accel = accel
    assert isinstance(guest, PatchCode)
    report = guest.patch(PATCHES)
    assert report.patches == 2 and 0 < report.paused_ns < PATIENCE_S * 1e9
    assert placed(guest) == [NEW, NEW]
    assert guest.state().status == "running" and not stub_chardevs(guest)
    guest.patch([Patch(patch.gpa, patch.new, patch.old) for patch in PATCHES])
    assert placed(guest) == [OLD, OLD]


@pytest.mark.parametrize("accel", ["tcg", "kvm"])
def test_old_bytes_that_are_not_there(guest: QemuGuest, accel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    guest.accel = accel
    wrong = [PATCHES[0], Patch(SECOND, b"12345", NEW)]
    with pytest.raises(CodeDiffers, match="0x2ffe"):
        guest.patch(wrong)
    # Changed between the look before the pause and the one in it.
    monkeypatch.setattr(code, "verify_patches", lambda patches, read: None)
    with pytest.raises(CodeDiffers, match="0x2ffe"):
        guest.patch(wrong)
    assert placed(guest) == [OLD, OLD] and guest.state().status == "running" and not stub_chardevs(guest)


def test_what_makes_no_sense_pauses_nothing(guest: QemuGuest) -> None:
    for patches, error in (
        ([Patch(FIRST, OLD, b"")], UsageError),
        ([Patch(Gpa(1 << 40), OLD, NEW)], PhysReadError),
    ):
        with pytest.raises(error):
            guest.patch(patches)
    assert guest.patch([]).paused_ns == 0
    assert guest._code is not None and guest._code._guard is None


@pytest.mark.parametrize("accel", ["tcg", "kvm"])
def test_somebody_elses_pause_stays(guest: QemuGuest, accel: str) -> None:
    guest.accel = accel
    guest.qmp.execute("stop")
    report = guest.patch(PATCHES)
    assert (report.paused_ns, report.patches) == (0, 2)
    assert guest.state().status == "paused" and not stub_chardevs(guest)
    guest.qmp.execute("cont")
    guest.patch([Patch(patch.gpa, patch.new, patch.old) for patch in PATCHES])
    assert guest.state().status == "running"


def test_a_machine_that_was_not_started_stays_so() -> None:
    with qemu("-m", "32M") as machine, attach_qemu(machine.qmp_path) as guest:
        guest.ram.write(FIRST, OLD)
        guest.patch(PATCHES[:1])
        assert guest.ram.read(FIRST, 5) == NEW and guest.state().status == "prelaunch"


def test_a_guest_that_migrates_is_refused() -> None:
    with qemu("-m", "32M", "-incoming", "defer") as machine, attach_qemu(machine.qmp_path) as guest:
        guest.ram.write(FIRST, OLD)
        with pytest.raises(NotSupported, match="inmigrate") as caught:
            guest.patch(PATCHES[:1])
        assert caught.value.hint and guest.ram.read(FIRST, 5) == OLD and not stub_chardevs(guest)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts a QEMU that becomes another user")
def test_a_qemu_of_another_user_opens_its_stub_in_a_folder_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[int, int]] = []

    def look(*arguments: object) -> None:
        assert guest._code and guest._code._guard
        status = guest._code._guard.folder.stat()
        seen.append((status.st_mode & 0o777, status.st_uid))
        apply_patches(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(code, "apply_patches", look)
    with running("-runas", "nobody") as (_, guest):
        guest.patch(PATCHES)
        assert placed(guest) == [NEW, NEW]
    assert len(seen) == 1 and seen[0][0] == 0o700 and seen[0][1] != 0


@pytest.mark.parametrize("accel", ["tcg", "kvm"])
def test_after_a_failure_inside_the_pause_the_guest_goes_on(
    guest: QemuGuest, accel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest.accel = accel

    def interrupted(*_: object) -> None:
        assert guest.state().status == "paused"
        raise KeyboardInterrupt

    monkeypatch.setattr(code, "apply_patches", interrupted)
    with pytest.raises(KeyboardInterrupt):
        guest.patch(PATCHES)
    assert guest.state().status == "running" and not stub_chardevs(guest)
    monkeypatch.undo()
    # The guardian is not armed any more: a pause of somebody else's is not ended by it.
    guest.qmp.execute("stop")
    assert guest._code and guest._code._guard and not guest._code._guard._armed
    guest.qmp.execute("cont")
    guest.patch(PATCHES)


def test_a_stub_in_use_is_left_alone(tmp_path: Path) -> None:
    stub = tmp_path / "gdb.sock"
    with running("-gdb", f"unix:{stub},server=on,wait=off") as (_, guest):
        with pytest.raises(TargetBusy) as caught:
            guest.patch(PATCHES)
        assert "gdbserver none" in caught.value.hint
        assert stub_chardevs(guest) and placed(guest) == [OLD, OLD]
        guest.accel = "kvm"  # which needs none
        guest._code.close()  # type: ignore[union-attr]
        guest._code = None
        guest.patch(PATCHES)
        assert stub_chardevs(guest) and stub.is_socket()


def test_a_stub_opened_at_run_time_is_left_alone_too(guest: QemuGuest, tmp_path: Path) -> None:
    stub = tmp_path / "gdb.sock"
    guest.qmp.monitor([f"gdbserver unix:{stub},server=on,wait=off"])
    with pytest.raises(TargetBusy):
        guest.patch(PATCHES)
    assert stub_chardevs(guest) and guest.state().status == "running"


def test_a_stub_that_a_dead_vmon_left_is_closed(guest: QemuGuest, tmp_path: Path) -> None:
    folder = tmp_path / "vmon-gdb-left"
    folder.mkdir()
    guest.qmp.monitor([f"gdbserver unix:{folder}/stub,server=on,wait=off"])
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"{folder}/stub")
        while guest.state().status == "running":
            time.sleep(0.01)
        with pytest.raises(TargetBusy):
            guest.patch(PATCHES)
    guest.qmp.execute("cont")
    while "disconnected" not in str(stub_chardevs(guest)):
        time.sleep(0.01)
    guest.patch(PATCHES)
    assert placed(guest) == [NEW, NEW] and not stub_chardevs(guest)


def test_a_stub_that_can_not_be_opened(
    guest: QemuGuest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    nowhere = tmp_path / "nowhere" / "stub"
    monkeypatch.setattr(code.Guard, "stub_path", property(lambda self: nowhere))
    with pytest.raises(TargetError, match="does not open its gdbstub") as caught:
        guest.patch(PATCHES)
    assert caught.value.hint and guest.state().status == "running"


@pytest.mark.parametrize("accel", ["tcg", "kvm"])
def test_two_that_change_code_take_turns(accel: str) -> None:
    more = ["-qmp", "unix:second.sock,server=on,wait=off"]
    with running(*more) as (machine, one), attach_qemu(str(machine.folder / "second.sock")) as other:

        def work(guest: QemuGuest, gpa: Gpa) -> int:
            guest.accel = accel
            for before, after in [(OLD, NEW), (NEW, OLD)] * 20:
                # Never 0: the pause of the other one is not taken for somebody else's.
                assert guest.patch([Patch(gpa, before, after)]).paused_ns > 0
            return 1

        with ThreadPoolExecutor() as pool:
            done = [pool.submit(work, one, FIRST), pool.submit(work, other, SECOND)]
            assert sum(item.result(5 * PATIENCE_S) for item in done) == 2
        assert placed(one) == [OLD, OLD] and one.state().status == "running" and not stub_chardevs(one)


@pytest.mark.parametrize("accel", ["tcg", "kvm"])
def test_past_the_deadline_the_guest_runs_though_we_hold_its_only_socket(
    guest: QemuGuest, accel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest.accel = accel
    monkeypatch.setattr(code, "LONGEST_PAUSE_NS", USUAL_PAUSE_NS)
    seen: list[str] = []

    def slow(*arguments: object) -> None:
        seen.append(guest.state().status)
        deadline = time.monotonic() + PATIENCE_S
        while guest.state().status != "running" and time.monotonic() < deadline:
            time.sleep(0.02)
        seen.append(guest.state().status)
        apply_patches(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(code, "apply_patches", slow)
    with pytest.raises(PauseLost):
        guest.patch(PATCHES)
    assert seen == ["paused", "running"]
    assert placed(guest) == [OLD, OLD] and guest.state().status == "running" and not stub_chardevs(guest)


def test_the_guardian_ends_with_the_guest(guest: QemuGuest) -> None:
    guest.patch(PATCHES)
    guard = guest._code and guest._code._guard
    assert guard and guard.is_running() and not guard.stub_path.exists()
    path: Callable[[], bool] = guard.folder.exists
    guest.close()
    assert not guard.is_running() and not path()
    again = attach_qemu(guest.qmp_path)  # the guardian's copy of the connection is closed too
    again.close()


def test_a_guardian_that_was_killed_is_replaced(guest: QemuGuest) -> None:
    guest.patch(PATCHES)
    guard = guest._code and guest._code._guard
    assert guard
    guard._process.kill()
    guard._process.wait()
    guest.patch([Patch(patch.gpa, patch.new, patch.old) for patch in PATCHES])
    assert guest._code and guest._code._guard and guest._code._guard.pid != guard.pid
    assert not guard.folder.exists()
