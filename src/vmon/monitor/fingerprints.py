"""The text of a guest at its first check is remembered on the host for as long as that boot lasts.

Reads and writes files of our own in the run folder, which a reboot of the host empties. A damaged file is ignored and
made anew; writes are atomic.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import msgspec

from vmon.check.text import Fingerprint
from vmon.core.folders import run_folder


class FingerprintShelf:
    """One boot of one guest: `guest` names the run of the machine, `boot` the boot within it."""

    def __init__(self, guest: str, boot: int) -> None:
        name = hashlib.sha256(f"{guest} {boot:x}".encode("utf-8", "surrogateescape")).hexdigest()
        self._path = run_folder() / "fingerprints" / f"{name}.msgpack"

    def load(self) -> Fingerprint | None:
        """What was saved; None when there is nothing, or nothing readable."""
        try:
            return msgspec.msgpack.decode(self._path.read_bytes(), type=Fingerprint)
        except (OSError, ValueError, msgspec.MsgspecError):
            return None

    def save(self, fingerprint: Fingerprint) -> None:
        """Keep it, 2 MB; a folder that can't be written is no error, the next check then compares with nothing."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.NamedTemporaryFile(dir=self._path.parent, delete=False) as file:
                file.write(msgspec.msgpack.encode(fingerprint))
            Path(file.name).replace(self._path)
        except OSError:
            return
