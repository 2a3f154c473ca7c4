"""A lab guest lives in a QEMU process of its own, apart from the terminal and from whoever started it.

    with LabGuest.up("try", kernel="6.1") as guest:
        print(guest.run("cat /proc/1/status").text)

Starts and ends processes of this host and keeps its files in run_folder()/lab/NAME. `up` returns when the
agent in the guest answers; when it fails nothing is left. Any number of guests may be brought up at a time,
from threads or processes.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from vmon.core.errors import LabError, TargetGone, VmonError
from vmon.lab import state
from vmon.lab.accel import choose as choose_accel
from vmon.lab.agent import AgentChannel, Completed
from vmon.lab.disks import debian_image, make_scratch
from vmon.lab.kernels import Kernel, find_kernel
from vmon.lab.lock import file_lock
from vmon.lab.matrix import DEFAULT
from vmon.lab.progress import Progress
from vmon.lab.qemu import BINARY, QMP_SOCKETS, Accel, Machine, Plan, RamBackend, Rootfs, command_line
from vmon.lab.rootfs import build_initramfs

BOOT_TIMEOUT_S = 90.0
RUN_TIMEOUT_S = 60.0
TERM_S = 3.0
CONSOLE_LINES = 30

# Popen objects of guests started here: they reap QEMU when it ends, and must not be collected before.
_started: dict[int, subprocess.Popen[bytes]] = {}


class LabGuest:
    """A running lab guest. Made by `up` and `find`."""

    def __init__(self, folder: Path, record: state.Record) -> None:
        self.folder = folder
        self.record = record
        self._agent = AgentChannel(folder, self.is_running)

    @classmethod
    def up(
        cls,
        name: str,
        *,
        kernel: str = DEFAULT,
        ram_bytes: int = 512 << 20,
        cpus: int = 1,
        cpu: str = "",
        machine: Machine = "pc",
        ram_backend: RamBackend = "memfd",
        rootfs: Rootfs = "busybox",
        disk: bool = False,
        nic: bool = False,
        append: str = "",
        accel: Accel = "auto",
        overlay: Path | None = None,
        root_image: Path | None = None,
        allow_reboot: bool = False,
        icount: bool = False,
        qemu_args: Sequence[str] = (),
        boot_timeout_s: float = BOOT_TIMEOUT_S,
    ) -> Self:
        """Boot a guest and wait until it takes commands.

        `kernel` is a series of the matrix or the path of a vmlinuz, `overlay` a folder whose files are laid
        over the guest's root (with debian its lab/ alone), `root_image` a disk to run from instead of the
        Debian one; `icount` emulates the CPU and lets the guest's clocks count its instructions. LabError where
        it does not come up, with the end of its console; UsageError for a plan that makes no sense.
        """
        plan = Plan(
            name, kernel, ram_bytes, cpus, cpu, machine, ram_backend, rootfs, disk, nic, append, allow_reboot,
            icount, tuple(qemu_args),
        )  # fmt: skip
        folder = state.guest_folder(name)
        found = find_kernel(kernel)
        with_kvm = choose_accel("tcg" if icount else accel) == "kvm"
        _claim(folder)
        try:
            record = _start(plan, folder, found, with_kvm=with_kvm, overlay=overlay, root_image=root_image)
            guest = cls(folder, record)
            guest.wait_ready(boot_timeout_s)
        except BaseException as error:
            told = _last_words(folder) if isinstance(error, VmonError) else []
            _end(folder)
            state.remove(folder)
            if isinstance(error, VmonError):
                raise LabError(
                    f"guest {name} did not come up: {error.message}", hint=error.hint, log=told
                ) from error
            raise
        return guest

    @classmethod
    def find(cls, name: str) -> Self:
        """The running guest of that name; TargetNotFound says which there are."""
        return cls(*state.find(name))

    @classmethod
    def list(cls) -> list[Self]:
        """The running guests by name."""
        return [cls(folder, record) for folder, record in state.running()]

    @property
    def name(self) -> str:
        """Its name."""
        return self.record.name

    @property
    def pid(self) -> int:
        """Process id of its QEMU."""
        return self.record.pid

    @property
    def qmp_sockets(self) -> tuple[Path, ...]:
        """QMP sockets; each serves one client at a time."""
        return tuple(Path(path) for path in self.record.qmp_sockets)

    @property
    def console(self) -> str:
        """What its kernel wrote to the serial console."""
        with contextlib.suppress(OSError):
            return (self.folder / "console.log").read_text(errors="replace")
        return ""

    def describe(self) -> dict[str, Any]:
        """What is known of it, ready for JSON: names and values of guest.json."""
        return asdict(self.record)

    def is_running(self) -> bool:
        """Whether its QEMU is there."""
        return state.is_alive(self.record.pid, self.record.pid_start)

    def run(
        self,
        command: str | Sequence[str],
        *,
        stdin: bytes = b"",
        timeout_s: float = RUN_TIMEOUT_S,
        check: bool = False,
    ) -> Completed:
        """Run a command in the guest as root and wait for its end; one at a time, others wait.

        A string is a line of shell, a sequence one argument each. Processes that it leaves in the background
        go on. With `check`, LabError where the exit status is not 0. LabError too when it takes more than
        `timeout_s` seconds, and then it is killed; TargetGone when the guest ends meanwhile.
        """
        line = command if isinstance(command, str) else shlex.join(command)
        done = self._agent.run(os.fsencode(line), stdin, timeout_s)
        return done.check() if check else done

    def wait_ready(self, timeout_s: float = BOOT_TIMEOUT_S) -> None:
        """Wait until the agent answers, as after a reboot; LabError or TargetGone when it does not."""
        deadline = time.monotonic() + timeout_s
        with Progress(f"booting {self.name}, kernel {self.record.release}, {self.record.accel}") as progress:
            while True:
                try:
                    self._agent.ping(min(1.0, max(0.1, deadline - time.monotonic())))
                    return
                except TargetGone:
                    raise
                except LabError:
                    if time.monotonic() > deadline:
                        raise
                progress.tick()

    def down(self) -> None:
        """End the guest and take away its files. May be called twice."""
        down(self.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def __repr__(self) -> str:
        return f"LabGuest({self.name!r}, pid={self.pid}, kernel={self.record.release!r})"


def down(name: str) -> bool:
    """End a guest, also one half made, and take away its files; False where there was nothing."""
    folder = state.guest_folder(name)
    if not folder.exists():
        return False
    _end(folder)
    state.remove(folder)
    return True


def down_all() -> list[str]:
    """End every lab guest of this user; their names."""
    lab = state.lab_folder()
    names = sorted(path.name for path in lab.iterdir() if path.is_dir()) if lab.is_dir() else []
    return [name for name in names if down(name)]


def _claim(folder: Path) -> None:
    """Make the guest's folder; what a dead guest left is cleared away."""
    with file_lock(folder.parent / ".lock", f"waiting for the name {folder.name}"):
        if folder.exists():
            if state.find_qemu(folder) is not None:
                raise LabError(
                    f"guest {folder.name} is up already", hint=f"`vmon lab down {folder.name}` ends it"
                )
            state.remove(folder)
        folder.mkdir(mode=0o700)


def _start(
    plan: Plan,
    folder: Path,
    kernel: Kernel,
    *,
    with_kvm: bool,
    overlay: Path | None,
    root_image: Path | None,
) -> state.Record:
    for end in ("in", "out"):
        os.mkfifo(folder / f"agent.{end}", 0o600)
    initrd = folder / "initrd"
    initrd.write_bytes(build_initramfs(kernel, overlay))
    ram_file = _make_ram_file(plan, folder) if plan.ram_backend == "file" else None
    if root_image is None and plan.rootfs == "debian":
        root_image = debian_image()
    if plan.disk:
        make_scratch(folder / "scratch.img")
    cpu = plan.cpu or ("host" if with_kvm else kernel.series.tcg_cpu if kernel.series else "max")
    command = command_line(
        plan,
        folder,
        kernel=kernel.vmlinuz,
        initrd=initrd,
        kvm=with_kvm,
        cpu=cpu,
        ram_file=ram_file,
        root_image=root_image,
        host_khz=_host_khz(),
        # Of a bare vmlinuz nobody knows what is built in: a serial port every kernel has.
        serial_agent=not kernel.has("virtio_console"),
    )
    try:
        with (folder / "qemu.log").open("wb") as log:
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/"
            )
    except FileNotFoundError as error:
        raise LabError(f"{BINARY} is not installed", hint="run ./dev setup on a Debian machine") from error
    _started[child.pid] = child
    start = state.process_start(child.pid)
    record = state.Record(
        name=plan.name,
        pid=child.pid,
        pid_start=-1 if start is None else start,
        release=kernel.release,
        series=kernel.series.name if kernel.series else "",
        package=kernel.package,
        ram_bytes=plan.ram_bytes,
        cpus=plan.cpus,
        cpu=cpu,
        accel="kvm" if with_kvm else "tcg",
        machine=plan.machine,
        ram_backend=plan.ram_backend,
        ram_file=str(ram_file or ""),
        rootfs=plan.rootfs,
        qmp_sockets=tuple(f"{folder}/qmp{number}.sock" for number in range(QMP_SOCKETS)),
        command=tuple(command),
        created=time.time(),
    )
    state.save(folder, record)
    return record


def _make_ram_file(plan: Plan, folder: Path) -> Path:
    handle, path = tempfile.mkstemp(prefix=f"vmon-{plan.name}-", suffix=".ram", dir="/dev/shm")
    os.close(handle)
    # The link is what `remove` goes by, also when guest.json never came to be.
    (folder / state.RAM_LINK).symlink_to(path)
    return Path(path)


def _host_khz() -> int:
    with contextlib.suppress(OSError):
        match = re.search(r"^cpu MHz\s*: (\d+)\.(\d{3})", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        return int(match[1] + match[2]) if match else 0
    return 0


def _end(folder: Path) -> None:
    """Stop the QEMU that works in a folder: politely, then not."""
    found = state.find_qemu(folder)
    if found is None:
        return
    pid, start = found
    for sign, patience_s in ((signal.SIGTERM, TERM_S), (signal.SIGKILL, TERM_S)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, sign)
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            if not state.is_alive(pid, start):
                if (child := _started.pop(pid, None)) is not None:
                    child.wait()
                return
            time.sleep(0.005)
    raise LabError(f"QEMU process {pid} does not end")


def _last_words(folder: Path) -> list[str]:
    """The end of what QEMU and the guest's console said."""
    lines: list[str] = []
    for file in ("qemu.log", "console.log"):
        with contextlib.suppress(OSError):
            lines += (folder / file).read_text(errors="replace").strip().splitlines()[-CONSOLE_LINES:]
    return [line.rstrip() for line in lines if line.strip()]
