"""The host's root file system: a minimal Debian 12 with QEMU, Python and the Python packages of vmon and its tests.

Runs debootstrap, pip and mke2fs, as root and on this machine; nothing is mounted and the host needs no network. The
image is kept under the cache folder, its name made from what it was made from. vmon itself is not in it.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import shutil
import sys
import tempfile
from pathlib import Path

from vmon.core.errors import LabError
from vmon.core.folders import cache_folder
from vmon.lab.apt import run_quiet
from vmon.lab.disks import debootstrap, make_ext4
from vmon.lab.lock import file_lock

RELEASE = "bookworm"
PYTHON = "3.11"
"""The release's own."""
DEBIAN = (
    "busybox-static",
    "ipxe-qemu",
    "iproute2",
    "kmod",
    "procps",
    "python3",
    "qemu-system-x86",
    "seabios",
)
TESTS = ("hypothesis>=6.115", "pytest>=8.3,<9.2", "pytest-timeout>=2.3", "pytest-xdist>=3.6")
LIMITS = ("numpy<2.4",)
"""Later ones are built for CPUs with cmpxchg16b, which the emulated one must lack (matrix.HOST)."""
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux2014_x86_64")
PACKAGES = "opt/vmon-packages"
"""Where the Python packages are in the host."""
SIZE_BYTES = 2 << 30
UNUSED = ("usr/bin/qemu-system-i386", "usr/bin/qemu-system-x86_64-microvm", "usr/share/man", "usr/share/info")
MAKING = 1
"""Counted up when the way of making it changes."""


def requirements() -> list[str]:
    """What pip is asked for: what this vmon says it needs, and what its tests need."""
    try:
        own = importlib.metadata.requires("vmon") or []
    except importlib.metadata.PackageNotFoundError as error:
        raise LabError("vmon is not installed here as a package", hint="./dev setup installs it") from error
    return [*sorted(line for line in own if "extra ==" not in line), *TESTS, *LIMITS]


def image_path() -> Path:
    """The image's file, whether it is there or not."""
    made_from = repr((MAKING, RELEASE, PYTHON, DEBIAN, requirements(), PLATFORMS, SIZE_BYTES, UNUSED))
    digest = hashlib.sha256(made_from.encode()).hexdigest()[:12]
    return cache_folder() / "rootfs" / f"host-{digest}.img"


def host_image() -> Path:
    """The image, made if need be (a minute or two); LabError where it can't be."""
    image = image_path()
    with file_lock(image.parent / "host.lock", "waiting for the host's root file system"):
        if not image.is_file():
            if importlib.util.find_spec("pip") is None:
                raise LabError(f"{sys.executable} has no pip, which fetches the host's Python packages")
            with tempfile.TemporaryDirectory(prefix=".host-", dir=image.parent) as temporary:
                root = Path(temporary) / "root"
                debootstrap(RELEASE, root, DEBIAN)
                _add_python_packages(root)
                for name in UNUSED:
                    _remove(root / name)
                made = Path(temporary) / "image"
                make_ext4(made, SIZE_BYTES, root)
                for old in image.parent.glob("host-*.img"):
                    old.unlink()
                made.rename(image)
    return image


def _add_python_packages(root: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-compile"]
    pip += ["--target", str(root / PACKAGES), "--only-binary=:all:", "--implementation=cp"]
    pip += [f"--python-version={PYTHON}", *(f"--platform={name}" for name in PLATFORMS)]
    run_quiet([*pip, *requirements()], "fetching Python packages", watch=root / PACKAGES)
    # By the host's own Python: this one's may be another version.
    compile_all = ["python3", "-m", "compileall", "-q", f"/{PACKAGES}"]
    run_quiet(["chroot", str(root), *compile_all], "compiling Python packages")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
