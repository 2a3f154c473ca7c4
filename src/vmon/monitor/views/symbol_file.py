"""The guest's own description of its kernel, as a file for Volatility 3. Reads the guest, changes nothing of it."""

from __future__ import annotations

import gzip
import lzma
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from vmon.core.errors import NotSupported
from vmon.monitor.views.subject import Subject
from vmon.transport.newfile import new_file, require_new

if TYPE_CHECKING:
    from vmon.core.records.kernel import SymbolFileRecord

LONGEST_BANNER_BYTES = 1024
# The fastest: 25 MB become 2 in 0.7 s; the best would save half a MB and take 8 s.
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".xz": lambda data: lzma.compress(data, preset=0),
    ".gz": lambda data: gzip.compress(data, 1),
}


class SymbolFileViews(Subject):
    """Mixed into VirtualMachine."""

    def isf(self) -> bytes:
        """Every type and symbol of the guest's kernel as a Volatility 3 symbol file (ISF), JSON. Some 0.5 to 2 s.

        The kernel proper; what modules bring is not in it. Types of variables are known for some hundred that
        Volatility's plugins ask for. Raises NotSupported where the types did not come from the guest itself, and
        BadStructure where they are damaged.
        """
        from importlib.metadata import PackageNotFoundError, version

        from vmon.export.isf import make_isf

        kernel = self.kernel
        profile = kernel.profile
        if profile.sources.get("structs") != "btf":
            raise NotSupported(
                "this guest carries no types of its own: those in use came from a file",
                hint="that file is what Volatility needs",
            )
        try:
            ours = version("vmon")
        except PackageNotFoundError:  # a checkout that was never installed
            ours = "0"
        text = kernel.memory.read(kernel.symbol("linux_banner"), LONGEST_BANNER_BYTES)
        return make_isf(
            kernel.types,
            kernel.symbols,
            banner=text.split(b"\0", 1)[0],
            build_id=profile.build_id,
            slide=kernel.memory.bases.kaslr_slide,
            vmon_version=ours,
        )

    def write_isf(self, file: str | Path, *, overwrite: bool = False) -> SymbolFileRecord:
        """Write isf() to a file, packed if its name ends in .xz or .gz; `-` is standard output, not packed.

        It appears under its name when it is complete. Raises as isf(), and UsageError where it is there already or
        can't be written.
        """
        from vmon.core.records.kernel import SymbolFileRecord

        path = Path(file)
        to_stdout = str(file) == "-"
        if not to_stdout:
            require_new(path, overwrite=overwrite)
        data = self.isf()
        data_bytes = len(data)
        if to_stdout:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        else:
            data = PACKERS.get(path.suffix, bytes)(data)
            with new_file(path, overwrite=overwrite) as stream:
                stream.write(data)
        profile = self.kernel.profile
        return SymbolFileRecord(
            path=str(file),
            build_id=profile.build_id,
            release=profile.release,
            size=len(data),
            json_size=data_bytes,
            symbols=profile.symbol_count,
            types=profile.type_count,
        )
