"""Every way to run a guest that changes how it is reached or how its memory is laid out, against its own /proc."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

import vmon
from tests.guest.compare import assert_agrees, settles
from tests.guest.conftest import PATIENCE_S, boot
from vmon.core.errors import NoTypeInformation, TargetBusy
from vmon.core.ports import RamRange
from vmon.lab.guest import LabGuest

GIB = 1 << 30

# A name, what is special, and what vmon must then say.
VARIANTS = {
    "process-memory": ("6.1", {"ram_backend": "anon"}, {"ram_access": "process memory", "paging_levels": 5}),
    "shared-file": ("6.12", {"ram_backend": "file", "machine": "q35"}, {"ram_access": "mapped"}),
    "four-levels": ("7.2", {"cpu": "max,la57=off"}, {"paging_levels": 4}),
    "no5lvl": ("6.18", {"append": "no5lvl"}, {"paging_levels": 4}),
    "kpti": ("5.10", {"append": "pti=on"}, {"paging_levels": 4}),
    "kpti-five-levels": ("6.1", {"append": "pti=on"}, {"paging_levels": 5}),
    "no-kaslr": ("6.1", {"append": "nokaslr"}, {"kaslr_slide": 0}),
    "six-gib-pc": ("7.2", {"ram_bytes": 6 * GIB}, {"ram_size": 6 * GIB}),
    "six-gib-q35-process-memory": (
        "6.1",
        {"ram_bytes": 6 * GIB, "machine": "q35", "ram_backend": "anon"},
        {"ram_size": 6 * GIB, "ram_access": "process memory"},
    ),
    "debian-root": ("6.12", {"rootfs": "debian", "cpus": 2}, {"cpus_online": 2}),
    "microvm": ("6.12", {"machine": "microvm"}, {"ram_access": "mapped"}),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_variant_agrees_with_proc(variant: str, overlay: Path) -> None:
    kernel, options, expected = VARIANTS[variant]
    with boot(f"v-{variant}-{os.getpid()}", kernel=kernel, overlay=overlay, **options) as guest:
        assert guest.run("/lab/workload", timeout_s=PATIENCE_S).out == b"ready\n"
        with vmon.attach(guest.name) as vm:
            info = vm.guest
            assert {name: getattr(info, name) for name in expected} == expected
            assert_agrees(guest, vm, 34 * 40)
            if info.ram_size > 4 * GIB:
                assert_uses_high_ram(vm)


def assert_uses_high_ram(vm: vmon.VirtualMachine) -> None:
    """The RAM is split around the PCI hole, and what was read lies on the far side of it too."""
    low, high = vm.ram.ranges[0], vm.ram.ranges[-1]
    assert high.gpa == 4 * GIB
    assert low.end_gpa < 4 * GIB
    assert sum(part.size_bytes for part in vm.ram.ranges) == 6 * GIB
    offset = vm.kernel.memory.bases.page_offset_base
    assert any(int(task) - offset >= 4 * GIB for task in vm.snapshot().tasks)


@pytest.fixture(scope="module")
def plain(overlay: Path) -> Iterator[LabGuest]:
    with LabGuest.up(f"plain-{os.getpid()}", kernel="6.1", overlay=overlay) as guest:
        yield guest


class TestPlainGuest:
    """One guest of 6.1, reached in every way."""

    def test_every_spelling_of_a_target_is_the_same_guest(self, plain: LabGuest) -> None:
        spellings = (plain.name, f"lab:{plain.name}", f"pid:{plain.pid}", f"qmp:{plain.qmp_sockets[1]}")
        for spelling in spellings:
            with vmon.attach(spelling) as vm:
                assert vm.guest.hostname == plain.name
                assert vm.process(1).name == "busybox"

    @pytest.mark.parametrize("form", ["raw", "elf", "lime"])
    def test_dump_of_a_running_guest(self, plain: LabGuest, form: str, tmp_path: Path) -> None:
        file = tmp_path / f"ram.{form}"
        calls = []
        with vmon.attach(plain.name) as vm:
            before = programs(vm)
        written = vmon.dump(plain.name, file, form, lambda done, total: calls.append((done, total)))  # type: ignore[arg-type]
        assert calls[-1] == (512 << 20, 512 << 20)
        assert file.stat().st_blocks * 512 < written.ram_bytes / 2, "a dump is sparse"
        with vmon.attach(plain.name) as vm, vmon.attach(f"dump:{file}") as dead:
            assert dead.guest.build_id == vm.guest.build_id
            now, then = programs(vm), programs(dead)
            assert len(then) >= 6
            # A command that ran a moment ago was ending.
            assert then.items() <= before.items() | now.items() | {(key, None) for key in then}
            with pytest.raises(vmon.VmonError):
                vmon.dump(plain.name, file, "raw")

    def test_paused_guest_is_read_all_the_same(self, plain: LabGuest) -> None:
        with vmon.attach(plain.name) as vm:
            watch = vm._connection.watch

            def compare() -> None:
                before = list(programs(vm))
                watch.qmp.execute("stop")  # type: ignore[union-attr]
                try:
                    assert list(programs(vm)) == before
                    assert vm.reboots == 0
                finally:
                    watch.qmp.execute("cont")  # type: ignore[union-attr]

            # A command that ran a moment ago may end in between.
            settles(compare)

    def test_reading_never_writes(self, plain: LabGuest) -> None:
        """Pages that the guest does not touch are byte for byte the same after everything was read."""
        with vmon.attach(plain.name) as vm:
            watch = vm._connection.watch
            watch.qmp.execute("stop")  # type: ignore[union-attr]
            try:
                before = [vm.ram.read(part.gpa, part.size_bytes) for part in populated(vm)]
                for process in vm.processes():
                    assert process.record().pid == process.pid
                    assert process.files() is not None
                    assert process.maps() is not None
                assert vm.guest.release
                assert [vm.ram.read(part.gpa, part.size_bytes) for part in populated(vm)] == before
            finally:
                watch.qmp.execute("cont")  # type: ignore[union-attr]

    def test_taken_monitor_sockets_are_named(self, plain: LabGuest) -> None:
        with contextlib.ExitStack() as stack:
            for path in plain.qmp_sockets:
                client = stack.enter_context(socket.socket(socket.AF_UNIX))
                client.connect(str(path))
                assert client.recv(100)
            with pytest.raises(TargetBusy) as caught:
                vmon.attach(plain.name)
            assert caught.value.hint
        with vmon.attach(plain.name) as vm:
            assert vm.process(1)

    def test_guest_without_btf_is_said_to_be_one(self, plain: LabGuest, tmp_path: Path) -> None:
        file = tmp_path / "ram"
        vmon.dump(plain.name, file, "raw")
        with vmon.attach(plain.name) as vm:
            kernel = vm.kernel
            types = kernel.memory.gpa(kernel.symbol("__start_BTF"))
        with file.open("r+b") as ram:
            ram.seek(types)
            ram.write(bytes(24))
        os.environ["VMON_CACHE_DIR"], old = str(tmp_path / "cache"), os.environ.get("VMON_CACHE_DIR")
        try:
            with pytest.raises(NoTypeInformation, match=r"6\.1"):
                vmon.attach(f"dump:{file}")
        finally:
            del os.environ["VMON_CACHE_DIR"]
            if old:
                os.environ["VMON_CACHE_DIR"] = old


def programs(vm: vmon.VirtualMachine) -> dict[str, str | None]:
    """The program of each process, by its key."""
    return {process.key: process.exe for process in vm.processes() if not process.kernel_thread}


def populated(vm: vmon.VirtualMachine) -> list[RamRange]:
    return list(vm.ram.populated())
