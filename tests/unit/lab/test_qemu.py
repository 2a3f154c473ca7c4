"""The command line of a guest, as text."""

from pathlib import Path

import pytest

from vmon.core.errors import UsageError
from vmon.lab.qemu import Plan, command_line, parse_size


def line(plan: Plan, **more) -> str:
    fixed = {"kernel": Path("/k"), "initrd": Path("/i"), "kvm": False, "cpu": "max"}
    return " ".join(command_line(plan, Path("/run/g"), **{**fixed, **more}))


def test_the_default_guest():
    text = line(Plan("g", "6.1"))
    assert text.startswith("qemu-system-x86_64 -name g -nodefaults -no-user-config -display none")
    assert "-object memory-backend-memfd,id=ram0,size=512M,share=on -machine pc,memory-backend=ram0" in text
    assert text.count("-qmp unix:/run/g/qmp") == 4
    assert "-no-reboot" in text
    assert "thread=multi" in text
    assert "virtserialport,chardev=agent,name=org.vmon.lab" in text


def test_variants():
    assert "memory-backend" not in line(Plan("g", "6.1", ram_backend="anon"))
    assert "mem-path=/dev/shm/x,size=512M,share=on" in line(
        Plan("g", "6.1", ram_backend="file"), ram_file=Path("/dev/shm/x")
    )
    assert "-accel kvm -cpu host" in line(Plan("g", "6.1"), kvm=True, cpu="host")
    assert "-cpu Haswell " in line(Plan("g", "6.1", cpu="Haswell"))
    assert "-no-reboot" not in line(Plan("g", "6.1", allow_reboot=True))
    assert "-nic user,model=virtio-net-pci,restrict=on" in line(Plan("g", "6.1", nic=True))
    assert "virtserialport" not in line(Plan("g", "6.1"), serial_agent=True)
    assert line(Plan("g", "6.1", append="nokaslr")).endswith("vmon.name=g nokaslr")
    root = line(Plan("g", "6.1", rootfs="debian"), root_image=Path("/r.img"))
    assert "file=/r.img,id=root,if=none,format=raw,cache=unsafe,snapshot=on" in root


def test_a_guest_that_counts_instructions():
    text = line(Plan("g", "6.1", icount=True))
    assert "-accel tcg,thread=single," in text
    assert "-icount shift=0" in text
    assert "-icount" not in line(Plan("g", "6.1"))
    with pytest.raises(UsageError):
        Plan("g", "6.1", icount=True, cpus=2)


def test_only_a_microvm_is_told_its_clock():
    assert "tsc_early_khz=2300000" in line(Plan("g", "7.2", machine="microvm"), host_khz=2_300_000)
    assert "tsc_early_khz" not in line(Plan("g", "7.2", machine="microvm"), host_khz=2_300_000, kvm=True)
    assert "tsc_early_khz" not in line(Plan("g", "7.2"), host_khz=2_300_000)


@pytest.mark.parametrize(
    ("text", "size"), [("512M", 512 << 20), ("4G", 4 << 30), ("1024", 1 << 30), ("65536k", 64 << 20)]
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "M", "1X", "-1G", "1.5G", "٣G"])
def test_what_is_no_size(text):
    with pytest.raises(UsageError):
        parse_size(text)


@pytest.mark.parametrize("wrong", [{"ram_bytes": 1}, {"cpus": 0}, {"machine": "isapc"}, {"ram_backend": "x"}])
def test_plans_that_make_no_sense(wrong):
    with pytest.raises(UsageError):
        Plan("g", "6.1", **wrong)
