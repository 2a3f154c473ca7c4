"""A symbol file stands in for what a guest does not carry: an ISF of Volatility, or a vmlinux with debug information.

Reads a file of the host that the user names; the guest is not asked. The file is loaded when no saved profile fits, so
a guest met before with the same file costs what any guest costs. Profiles learnt from a file are kept apart by it.
"""

from __future__ import annotations

import gzip
import hashlib
import lzma
import zlib
from functools import cached_property
from pathlib import Path

from vmon.core.errors import BadStructure, UsageError
from vmon.kernel.isf import Isf
from vmon.kernel.learn import GivenTypes

ELF_MAGIC = b"\x7fELF"
XZ_MAGIC = b"\xfd7zXZ\0"
GZIP_MAGIC = b"\x1f\x8b"
WHAT_IT_MAY_BE = (
    "a Volatility 3 symbol file (JSON, .xz, .gz), as `vmon isf` and dwarf2json write, or a vmlinux"
)


class SymbolFile:
    """One file, not yet loaded. UsageError when it is not there."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            state = self.path.stat()
            with self.path.open("rb") as file:
                self._magic = file.read(8)
        except OSError as error:
            raise UsageError(f"the symbol file {self.path} can't be read: {error.strerror}") from error
        text = f"{self.path.resolve()} {state.st_size} {state.st_mtime_ns}"
        self.digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]
        """Another one when the file changes."""

    def load(self) -> GivenTypes:
        """What it says; 0.1 to 0.5 s for an ISF, some seconds for a vmlinux. UsageError, NotSupported."""
        return self._loaded

    @cached_property
    def _loaded(self) -> GivenTypes:
        try:
            if self._magic.startswith(ELF_MAGIC):
                from vmon.monitor.dwarf import load_dwarf  # noqa: PLC0415 - an optional extra behind it

                return load_dwarf(self.path)
            return self._isf()
        except BadStructure as error:
            raise UsageError(f"{self.path}: {error.message}", hint=f"it may be {WHAT_IT_MAY_BE}") from error

    def _isf(self) -> GivenTypes:
        isf = Isf(self._text())
        return GivenTypes(
            name=str(self.path),
            source="isf",
            types=isf,
            find_symbols=isf.find_symbols,
            banner=isf.banner,
            build_id=None,
        )

    def _text(self) -> bytes:
        try:
            data = self.path.read_bytes()
            if data.startswith(XZ_MAGIC):
                return lzma.decompress(data)
            return gzip.decompress(data) if data.startswith(GZIP_MAGIC) else data
        except (lzma.LZMAError, zlib.error, EOFError, OSError) as error:
            raise UsageError(f"the symbol file {self.path} can't be read: {error}") from error
