"""What is taken out of a guest's memory goes into a file that its owner alone may read, whole or not at all.

Writes a file of the host under another name beside its own, and gives it its name at the end.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from vmon.core.errors import UsageError


@contextmanager
def new_file(file: str | Path, *, overwrite: bool) -> Iterator[IO[bytes]]:
    """A file to write; when what is done with it fails, nothing is kept.

    UsageError where it is there already and is not to be overwritten, and where it can't be written.
    """
    path = Path(file)
    if not overwrite and os.path.lexists(path):
        raise _exists(path)
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
        raise UsageError(f"{path} can't be written: {error.strerror or error}") from error


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
