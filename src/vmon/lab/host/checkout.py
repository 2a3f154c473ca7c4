"""This vmon goes into the host as one archive, and again whenever a file of it changed.

Reads the checkout (or the installed package) on this machine. A folder shared by 9p would be simpler, and is slow:
every import asks this machine a dozen questions of five milliseconds each.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import vmon

INSIDE = "/vmon"
"""Where it is in the host, the package in src/ of it."""
LEFT_OUT = ("__pycache__", "build", "dist")


def iter_files() -> Iterator[tuple[str, Path]]:
    """The name in the host and the path here of each file: of the checkout, or of the package where there is none."""
    package = Path(vmon.__file__).resolve().parent
    checkout = package.parents[1]
    if (checkout / "pyproject.toml").is_file():
        yield from _walk(checkout, "")
    else:
        yield from _walk(package, "src/vmon/")


def _walk(folder: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.name.startswith(".") or entry.name in LEFT_OUT or entry.name.endswith(".egg-info"):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(Path(entry.path), f"{prefix}{entry.name}/")
            elif entry.is_file(follow_symlinks=False):
                yield prefix + entry.name, Path(entry.path)


def changes(manifest: Path) -> tuple[bytes, list[str]] | None:
    """An archive of the files that are new since the manifest was written, and the names that went; None of nothing.

    The manifest is brought up to date.
    """
    known: dict[str, list[int]] = json.loads(manifest.read_text()) if manifest.is_file() else {}
    now: dict[str, list[int]] = {}
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, path in iter_files():
            try:
                status = path.stat()
                now[name] = [status.st_mtime_ns, status.st_size]
                if known.get(name) != now[name]:
                    tar.add(path, name, filter=_by_root)
            except FileNotFoundError:
                # Somebody works in there.
                now.pop(name, None)
    if now == known:
        return None
    manifest.write_text(json.dumps(now))
    return archive.getvalue(), sorted(set(known) - set(now))


def _by_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member
