"""A lab guest is one QEMU command line: no defaults, nothing shown, sockets and FIFOs in one folder.

Pure: builds argument lists from a Plan, starts nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from vmon.core.errors import UsageError
from vmon.lab.rootfs import PORT_NAME

RamBackend = Literal["memfd", "anon", "file"]
Machine = Literal["pc", "q35", "microvm"]
Accel = Literal["auto", "kvm", "tcg"]
Rootfs = Literal["busybox", "debian"]

BINARY = "qemu-system-x86_64"
QMP_SOCKETS = 4
TCG_BUFFER_MIB = 128
# Quiet, for each line on an emulated serial port costs; the clocks as a guest of today trusts them, for
# calibrating them costs half a second under TCG.
KERNEL_WORDS = (
    "console=ttyS0 quiet loglevel=3 panic=-1 random.trust_cpu=on tsc=reliable no_timer_check "
    "rcupdate.rcu_expedited=1"
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a guest is made of."""

    name: str
    kernel: str
    """A series of the matrix or the path of a vmlinuz."""
    ram_bytes: int = 512 << 20
    cpus: int = 1
    cpu: str = ""
    """QEMU's -cpu; empty: the accelerator's and the kernel's own default."""
    machine: Machine = "pc"
    ram_backend: RamBackend = "memfd"
    rootfs: Rootfs = "busybox"
    disk: bool = False
    """A scratch ext4 disk at /mnt."""
    nic: bool = False
    """A network card that reaches this QEMU alone, not the world."""
    append: str = ""
    """More words for the kernel's command line."""
    allow_reboot: bool = False
    """Whether a reset boots again; else QEMU ends."""
    icount: bool = False
    """Whether the guest's clocks count instructions, one a nanosecond, instead of time. One CPU, TCG alone."""
    qemu_args: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for value, choices in (
            (self.machine, get_args(Machine)),
            (self.ram_backend, get_args(RamBackend)),
            (self.rootfs, get_args(Rootfs)),
        ):
            if value not in choices:
                raise UsageError(f"{value!r} is not one of {', '.join(choices)}")
        if self.ram_bytes < 64 << 20 or not 1 <= self.cpus <= 255:
            raise UsageError("a guest has at least 64 MiB of RAM and 1 to 255 CPUs")
        if self.icount and self.cpus != 1:
            raise UsageError("instructions are counted with one CPU")


def parse_size(text: str) -> int:
    """Bytes from `512M`, `4G`, `65536K` or a plain number of MiB, as QEMU's -m reads them."""
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
    number, unit = (text[:-1], text[-1:].upper()) if text[-1:].isalpha() else (text, "M")
    if unit not in units or not (number.isascii() and number.isdigit()):
        raise UsageError(f"{text!r} is not a size", hint="write 512M or 4G")
    return int(number) * units[unit]


def command_line(
    plan: Plan,
    folder: Path,
    *,
    kernel: Path,
    initrd: Path,
    kvm: bool,
    cpu: str,
    ram_file: Path | None = None,
    root_image: Path | None = None,
    serial_agent: bool = False,
    host_khz: int = 0,
) -> list[str]:
    """The whole command.

    `serial_agent` puts the agent on the second serial port instead of virtio-serial.

    `host_khz` is the frequency of this host's time stamp counter, 0 if not known.
    """
    line = [BINARY, "-name", plan.name, "-nodefaults", "-no-user-config", "-display", "none"]
    line += ["-pidfile", str(folder / "qemu.pid")]
    # Code translated once is kept in that buffer: a big guest that runs many programs fills it again and again.
    buffer_mib = max(TCG_BUFFER_MIB, plan.ram_bytes >> 23)
    threads = "single" if plan.icount else "multi"
    line += ["-accel", "kvm"] if kvm else ["-accel", f"tcg,thread={threads},tb-size={buffer_mib}"]
    if plan.icount:
        line += ["-icount", "shift=0"]
    line += ["-cpu", plan.cpu or cpu, "-smp", str(plan.cpus)]
    line += _ram(plan, ram_file)
    for number in range(QMP_SOCKETS):
        line += ["-qmp", f"unix:{folder}/qmp{number}.sock,server=on,wait=off"]
    line += ["-chardev", f"file,id=console,path={folder}/console.log", "-serial", "chardev:console"]
    line += ["-chardev", f"pipe,id=agent,path={folder}/agent"]
    if serial_agent:
        line += ["-serial", "chardev:agent"]
    else:
        line += ["-device", "virtio-serial-pci,max_ports=2"]
        line += ["-device", f"virtserialport,chardev=agent,name={PORT_NAME}"]
    words = [KERNEL_WORDS, f"vmon.name={plan.name}"]
    if root_image is not None:
        words.append("vmon.root")
        line += _disk("root", root_image, "qcow2" if root_image.suffix == ".qcow2" else "raw", snapshot=True)
    if plan.disk:
        words.append("vmon.disk")
        line += _disk("scratch", folder / "scratch.img", "raw", snapshot=False)
    if plan.nic:
        words.append("vmon.nic")
        line += ["-nic", "user,model=virtio-net-pci,restrict=on"]
    if plan.machine == "microvm" and not kvm and host_khz:
        # There is no timer to calibrate the TSC by, newer kernels hang without, and TCG's is the host's.
        words.append(f"tsc_early_khz={host_khz}")
    if not plan.allow_reboot:
        line.append("-no-reboot")
    line += [
        "-kernel",
        str(kernel),
        "-initrd",
        str(initrd),
        "-append",
        " ".join([*words, plan.append]).strip(),
    ]
    return [*line, *plan.qemu_args]


def _ram(plan: Plan, ram_file: Path | None) -> list[str]:
    mebibytes = f"{plan.ram_bytes >> 20}M"
    machine = "microvm,pcie=on,acpi=on" if plan.machine == "microvm" else plan.machine
    match plan.ram_backend:
        case "anon":
            return ["-machine", machine, "-m", mebibytes]
        case "memfd":
            backend = "memory-backend-memfd,id=ram0"
        case "file":
            backend = f"memory-backend-file,id=ram0,mem-path={ram_file}"
    return [
        *("-object", f"{backend},size={mebibytes},share=on"),
        *("-machine", f"{machine},memory-backend=ram0", "-m", mebibytes),
    ]


def _disk(name: str, path: Path, form: str, *, snapshot: bool) -> list[str]:
    drive = f"file={path},id={name},if=none,format={form},cache=unsafe,snapshot={'on' if snapshot else 'off'}"
    return ["-drive", drive, "-device", f"virtio-blk-pci,drive={name},serial={name}"]
