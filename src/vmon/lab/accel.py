"""KVM is used only where a guest was seen to boot under it: a /dev/kvm alone proves nothing.

Some hosts have one on which a stock kernel never comes up (an emulated or a filtered KVM). So the first
`auto` of each boot of the host tries it: kernel 6.1 with an init that powers off. The outcome is kept under
the cache folder, keyed by the host's boot id and QEMU's version.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Literal

from vmon.core.errors import LabError, UsageError
from vmon.core.folders import cache_folder
from vmon.lab.cpio import CpioWriter
from vmon.lab.kernels import fetch_busybox, find_kernel
from vmon.lab.lock import file_lock
from vmon.lab.matrix import DEFAULT
from vmon.lab.progress import Progress
from vmon.lab.qemu import BINARY, Accel

VARIABLE = "VMON_LAB_ACCEL"
"""Environment variable: what `auto` means, without a trial."""
DEVICE = Path("/dev/kvm")
SILENCE_S = 5.0
"""A kernel that boots writes more often than that, also where KVM itself runs in an emulated host."""
TRIAL_S = 60.0
SIGN = b"vmon: kvm works"
TRIAL_INIT = b"""#!/bin/busybox sh
echo "vmon: kvm works"
exec /bin/busybox poweroff -f
"""


def choose(wanted: Accel) -> Literal["kvm", "tcg"]:
    """The accelerator to use; LabError where `kvm` is asked for and this user may not open /dev/kvm."""
    if wanted == "auto":
        wanted = os.environ.get(VARIABLE, "auto")  # type: ignore[assignment]
    if wanted == "tcg":
        return "tcg"
    if wanted not in ("auto", "kvm"):
        raise UsageError(f"{wanted!r} is not one of auto, kvm, tcg")
    reason = why_not_openable()
    if wanted == "kvm":
        if reason:
            raise LabError(f"no KVM: {reason}", hint="--accel tcg emulates the CPU")
        return "kvm"
    if reason:
        return "tcg"
    return "kvm" if try_kvm() else "tcg"


def why_not_openable() -> str:
    """Why this user can't use /dev/kvm; empty where it opens."""
    if not DEVICE.exists():
        return f"there is no {DEVICE}"
    return "" if os.access(DEVICE, os.R_OK | os.W_OK) else f"{DEVICE} is not open to this user"


def try_kvm() -> bool:
    """Whether a stock kernel boots under KVM here; tried once a boot of the host."""
    record = cache_folder() / "kvm.json"
    with file_lock(record.with_suffix(".lock"), "waiting for the trial of KVM"):
        key = trial_key()
        known = _load(record)
        if known.get("key") == key:
            return bool(known["works"])
        works = _boots()
        if not works:
            # Said once: which accelerator a guest has is shown whenever one comes up.
            print("lab: a trial guest does not boot under this host's /dev/kvm: using TCG", file=sys.stderr)
        temporary = record.with_suffix(".new")
        temporary.write_text(json.dumps({"key": key, "works": works}))
        temporary.replace(record)
        return works


@functools.cache
def trial_key() -> str:
    """Changes when the host was booted again or has another QEMU."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    try:
        version = subprocess.run([BINARY, "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise LabError(f"{BINARY} does not run", hint="run ./dev setup on a Debian machine") from error
    return f"{boot} {version.splitlines()[0]}"


def _load(record: Path) -> dict[str, object]:
    try:
        known = json.loads(record.read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _boots() -> bool:
    kernel = find_kernel(DEFAULT)
    archive = CpioWriter()
    archive.device("dev/console", 5, 1)
    archive.file("bin/busybox", fetch_busybox().read_bytes(), 0o755)
    archive.file("init", TRIAL_INIT, 0o755)
    with tempfile.TemporaryDirectory(prefix="vmon-kvm-") as folder:
        initrd = Path(folder) / "initrd"
        initrd.write_bytes(archive.close())
        command = [
            *(BINARY, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-accel", "kvm"),
            *("-cpu", "host", "-m", "256M", "-serial", "stdio", "-kernel", str(kernel.vmlinuz)),
            *("-initrd", str(initrd), "-append", "console=ttyS0 earlyprintk=serial panic=-1"),
        ]
        with (Path(folder) / "console").open("w+b") as console:
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=console)
            try:
                return _watch(child, Path(folder) / "console")
            finally:
                child.kill()
                child.wait()


def _watch(child: subprocess.Popen[bytes], console: Path) -> bool:
    deadline = time.monotonic() + TRIAL_S
    silent_since, length = time.monotonic(), 0
    with Progress("trying KVM with a small guest") as progress:
        while (now := time.monotonic()) < deadline:
            ended = child.poll() is not None
            written = console.read_bytes()
            if SIGN in written:
                return True
            if len(written) > length:
                silent_since, length = now, len(written)
            if ended or now - silent_since > SILENCE_S:
                return False
            progress.tick()
            time.sleep(0.05)
    return False
