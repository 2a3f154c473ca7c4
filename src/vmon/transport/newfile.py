"""What is taken out of a guest's memory goes into a file that its owner alone may read, whole or not at all.

Writes a file of the host under another name beside its own, and gives it its name at the end.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from vmon.core.errors import TargetDenied, UsageError


@contextmanager
def new_file(file: str | Path, *, overwrite: bool) -> Iterator[IO[bytes]]:
    """A file to write; when what is done with it fails, nothing is kept.

    UsageError where it is there already and is not to be overwritten, and where it can't be written; TargetDenied
    where one may not write there.
    """
    path = Path(file)
    require_new(path, overwrite=overwrite)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(fd, "w+b") as stream:
                yield stream
            if overwrite:
                part.replace(path)
            else:
                _publish(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise _refused(path, error) from error


def require_new(path: Path, *, overwrite: bool) -> None:
    """UsageError where a file is there already that is not to be overwritten: asked before what takes long."""
    if not overwrite and os.path.lexists(path):
        raise _exists(path)


def _publish(part: Path, path: Path) -> None:
    """Give the file its name, never that of a file that came in between."""
    try:
        path.hardlink_to(part)
    except FileExistsError as error:
        raise _exists(path) from error
    except OSError:  # a file system without hard links
        part.rename(path)


def _exists(path: Path) -> UsageError:
    return UsageError(f"{path} is there already", hint="choose another name, or --force (overwrite=True)")


def _refused(path: Path, error: OSError) -> UsageError | TargetDenied:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UsageError(f"no space left for {path}: nothing was kept", hint="write to another disk")
    if error.errno == errno.EFBIG:
        return UsageError(
            f"{path} grows larger than its file system allows",
            hint="write to another disk, or to a file with fewer holes",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return TargetDenied(f"{path} can't be written: {error.strerror}")
    return UsageError(f"{path} can't be written: {error.strerror or error}")
