"""Disks of a lab guest: a scratch ext4 image, and a Debian root that debootstrap makes once.

Runs mke2fs and debootstrap (the latter as root). The Debian image is kept under the cache folder; QEMU
opens it with a snapshot, so every guest begins with the same one and none writes to it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from vmon.core.errors import LabError
from vmon.core.folders import cache_folder
from vmon.lab.apt import choose_archives, read_sources, run_quiet
from vmon.lab.lock import file_lock
from vmon.lab.rootfs import USERS

SCRATCH_BYTES = 64 << 20
ROOT_BYTES = 2 << 30
RELEASES = ("trixie", "bookworm")
"""Debian's stable first; the one before where this host's debootstrap does not know it yet."""
PACKAGES = ("busybox-static", "iproute2", "kmod", "netcat-openbsd", "procps", "psmisc", "python3-minimal")
# Features of today that kernel 5.10 does not know.
FEATURES = "^orphan_file,^metadata_csum_seed"


def make_scratch(path: Path) -> None:
    """A small sparse file with an empty ext4 on it."""
    make_ext4(path, SCRATCH_BYTES, None)


def debian_image(more: Sequence[str] = ()) -> Path:
    """The image of a minimal Debian with `more` packages, made if need be (about a minute, or more with more).

    LabError where it can't be made.
    """
    folder = cache_folder() / "rootfs"
    with file_lock(folder / "debian.lock", "waiting for the Debian root file system"):
        release = _release()
        image = folder / f"debian-{'+'.join([release, *more])}.img"
        if not image.is_file():
            with tempfile.TemporaryDirectory(prefix=".debian-", dir=folder) as temporary:
                debootstrap(release, Path(temporary) / "root", [*PACKAGES, *more])
                made = Path(temporary) / "image"
                make_ext4(made, ROOT_BYTES, Path(temporary) / "root")
                made.rename(image)
        return image


def _release() -> str:
    for release in RELEASES:
        if Path(f"/usr/share/debootstrap/scripts/{release}").exists():
            return release
    raise LabError("debootstrap is not installed", hint="apt-get install debootstrap e2fsprogs")


def debootstrap(release: str, root: Path, packages: Iterable[str]) -> None:
    """Make the root folder of a minimal Debian that a lab guest can run from; LabError where it can't be."""
    if os.geteuid() != 0:
        raise LabError("only root can make a Debian root file system", hint="use --rootfs busybox")
    source = choose_archives(read_sources()).main
    key = ["--keyring", source.signed_by] if source.signed_by.startswith("/") else []
    run_quiet(
        [
            # Its own mount namespace: it mounts /proc and /sys in there, and leaves them when interrupted.
            "unshare",
            "--mount",
            "debootstrap",
            "--variant=minbase",
            f"--include={','.join(packages)}",
            *key,
            release,
            str(root),
            source.uri,
        ],
        f"making a root file system of Debian {release}",
        watch=root,
    )
    for cache in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale"):
        shutil.rmtree(root / cache, ignore_errors=True)
    for folder in ("lab", "lib/modules", "srv/www"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name, lines in USERS.items():
        with (root / "etc" / name).open("a") as file:
            file.write(lines)
    home = root / "home/alice"
    home.mkdir()
    os.chown(home, 1000, 1000)
    (root / "etc/inittab").touch()
    (root / "etc/hostname").write_text("debian\n")
    (root / "srv/www/index.html").write_text("<h1>vmon lab</h1>\n")


def make_ext4(path: Path, size_bytes: int, content: Path | None) -> None:
    """A sparse file with an ext4 on it, holding a copy of the content; nothing is mounted."""
    command = ["mke2fs", "-q", "-F", "-t", "ext4", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0"]
    if content is not None:
        command += ["-d", str(content)]
    features = ["-O", FEATURES] if _knows_features() else []
    run_quiet([*command, *features, str(path), f"{size_bytes >> 20}M"], f"making {path.name}")


def _knows_features() -> bool:
    """mke2fs before 1.47 has neither the features nor the names to switch them off."""
    try:
        told = subprocess.run(["mke2fs", "-V"], capture_output=True, text=True, check=False).stderr
    except FileNotFoundError as error:
        raise LabError("mke2fs is not installed", hint="apt-get install e2fsprogs") from error
    version = told.split()[1].split("-")[0] if len(told.split()) > 1 else "0"
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) >= (1, 47)
