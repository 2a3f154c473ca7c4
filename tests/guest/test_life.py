"""A guest boots while it is looked at, is reset, forks like mad. vmon is never wrong, or says that it can't."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from pathlib import Path

import pytest

import vmon
from tests.guest.compare import assert_agrees
from tests.guest.conftest import PATIENCE_S, boot
from vmon.core.errors import IdentifyError, NoKernelYet, TargetError
from vmon.core.records.guest import GuestRecord
from vmon.lab.guest import LabGuest
from vmon.lab.kernels import find_kernel
from vmon.lab.rootfs import build_initramfs


@pytest.mark.parametrize("kernel", ("5.10", "7.2"))
def test_polled_from_power_on(kernel: str) -> None:
    """Every answer during boot is an error of identification or the truth."""
    name = f"boot-{kernel}-{os.getpid()}"
    booted: list[LabGuest] = []
    thread = threading.Thread(target=lambda: booted.append(LabGuest.up(name, kernel=kernel)))
    thread.start()
    refused, seen = 0, []
    try:
        going_on = True
        while going_on:
            # Once more after it has booted: on a busy machine no look may have come to an end before.
            going_on = thread.is_alive()
            try:
                with vmon.attach(name) as vm:
                    processes = {process.pid: process.name for process in vm.processes()}
                    assert vm.guest.release.startswith(kernel)
                    # For a moment kthreadd still has the name of the swapper that forked it.
                    assert processes.get(2, "kthreadd") in ("kthreadd", "swapper/0")
                    assert processes[1]
                    seen.append(len(processes))
            except IdentifyError:
                refused += 1
            except TargetError:
                time.sleep(0.01)
        thread.join()
        assert booted, "the guest did not boot"
        assert refused >= 1
        assert seen
        assert seen[-1] > 40
    finally:
        thread.join()
        for guest in booted:
            guest.down()


def test_reset_is_noticed_and_the_dead_kernel_is_never_shown_again(overlay: Path) -> None:
    name = f"reset-{os.getpid()}"
    with (
        LabGuest.up(name, kernel="6.1", overlay=overlay, allow_reboot=True) as guest,
        vmon.attach(name) as vm,
    ):
        assert guest.run("sleep 1000 >/dev/null 2>&1 &").status == 0
        old = vm.guest
        assert any(process.name == "sleep" for process in vm.processes())
        qmp = vm._connection.watch.qmp  # type: ignore[union-attr]
        # It stands still as it is reset, or on a busy machine it could be up again before anybody looks.
        qmp.execute("stop")
        qmp.execute("system_reset")
        reset_at = asked_at = time.monotonic()
        # vmon asks the hypervisor four times a second: for that long it may not have noticed.
        with pytest.raises(IdentifyError):
            while asked_at < reset_at + 0.5:
                asked_at = time.monotonic()
                assert is_same(vm.guest, old)
        # A client that attaches now finds the whole dead kernel in RAM and must not take it for alive.
        with pytest.raises(NoKernelYet):
            vmon.attach(name)
        qmp.execute("cont")
        begin = time.monotonic()
        while True:
            with contextlib.suppress(IdentifyError):
                assert not is_same(vm.guest, old)
                break
            assert time.monotonic() < begin + PATIENCE_S
        assert vm.reboots == 1
        guest.wait_ready()
        assert vm.guest.boot_time != old.boot_time
        assert_agrees(guest, vm, 34 * 10)
        assert vm.reboots == 1


def is_same(one: GuestRecord, other: GuestRecord) -> bool:
    """Whether it is the same boot of a kernel."""
    return (one.kaslr_slide, one.text_address) == (other.kaslr_slide, other.text_address)


def test_another_kernel_by_kexec_is_noticed_though_nothing_is_reset(overlay: Path, tmp_path: Path) -> None:
    following = find_kernel("7.2")
    both = tmp_path / "overlay"
    shutil.copytree(overlay, both)
    shutil.copy(following.vmlinuz, both / "lab" / "next")
    (both / "lab" / "next.initrd").write_bytes(build_initramfs(following, overlay))
    name = f"kexec-{os.getpid()}"
    with LabGuest.up(name, kernel="6.1", ram_bytes=1 << 30, overlay=both) as guest, vmon.attach(name) as vm:
        assert vm.guest.release.startswith("6.1.")
        resets = vm._connection.watch.state().resets  # type: ignore[union-attr]
        arguments = guest.run("cat /proc/cmdline").text.strip()
        guest.run(f"/lab/workload kexec /lab/next /lab/next.initrd '{arguments}' >/dev/console 2>&1 &")
        deadline = time.monotonic() + PATIENCE_S
        release = ""
        while not release.startswith("7.2"):
            assert time.monotonic() < deadline, guest.console[-2000:]
            time.sleep(0.2)
            with contextlib.suppress(IdentifyError):
                release = vm.guest.release
        guest.wait_ready()
        assert vm._connection.watch.state().resets == resets  # type: ignore[union-attr]
        assert vm.reboots == 1
        assert_agrees(guest, vm, 34 * 10)


def test_fork_storm(overlay: Path) -> None:
    """Polled while the guest forks as fast as it can: no error, no stable process missed, no row that is garbage."""
    with LabGuest.up(f"storm-{os.getpid()}", kernel="6.12", cpus=2, overlay=overlay) as guest:
        with vmon.attach(guest.name) as vm:
            stable = {process.key for process in vm.processes() if not process.name.startswith("kworker")}
            assert guest.run("/lab/workload storm 600 >/tmp/storm 2>&1 &").status == 0
            until = time.monotonic() + 8
            snapshots = short_lived = 0
            while time.monotonic() < until or snapshots < 20:
                snapshot = vm.snapshot()
                keys = {snapshot.key(row) for row in range(len(snapshot))}
                records = snapshot.records()
                assert len(snapshot.files) == len(snapshot.sockets) == len(snapshot)
                missing = stable - keys
                assert not missing - ended(guest, missing)
                for record in records:
                    assert 0 < record.pid < 1 << 22
                    assert record.state in "RSDTtXZPI"
                    # None is said of who ended while it was read.
                    assert record.uid in (0, 33, 1000) or (record.uid is None and ended(guest, {record.key}))
                    assert record.name.isprintable()
                    short_lived += record.name in ("workload", "true")
                snapshots += 1
            ending = "touch /tmp/storm-end; until [ -s /tmp/storm ]; do sleep 0.1; done; cat /tmp/storm"
            forks = int(guest.run(ending, timeout_s=PATIENCE_S).out)
        assert short_lived >= snapshots
        assert forks > 500


def ended(guest: LabGuest, keys: set[str]) -> set[str]:
    """Of these processes, those that the guest itself no longer has."""
    if not keys:
        return set()
    alive = guest.run("ls /proc").out.split()
    return {key for key in keys if key.split("@")[0].encode() not in alive}


def test_two_thousand_processes(overlay: Path) -> None:
    with boot(f"many-{os.getpid()}", kernel="6.18", ram_bytes=1 << 30, overlay=overlay) as guest:
        assert guest.run("ulimit -u unlimited; /lab/workload many 2000", timeout_s=600).out == b"ready\n"
        with vmon.attach(guest.name) as vm:
            assert_agrees(guest, vm, 34 * 2000)
