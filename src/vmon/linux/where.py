"""An address of code lies in a function of the image, in a module, or in nothing that the kernel knows.

Reads the symbols of the image and the list of modules, each once for all that is asked. A hostile guest can name
anything anything; code that no name covers is said to have none. Sources: kernel/kallsyms.c, kernel/module/main.c.
"""

from __future__ import annotations

from functools import cached_property

from vmon.core.address import Gva
from vmon.core.coverage import Gaps
from vmon.core.errors import GuestDataError
from vmon.linux import module
from vmon.linux.kernel import Kernel

WANTS = module.WANTS


class Where:
    """Names places of one kernel, for one answer."""

    def __init__(self, kernel: Kernel, gaps: Gaps) -> None:
        self._kernel = kernel
        self._gaps = gaps
        self._known: dict[int, tuple[str, int] | None] = {}

    def find(self, gva: int) -> tuple[str, int] | None:
        """Name and distance; of a module's code `[name]` and the distance from its part. None: nothing known."""
        if gva not in self._known:
            self._known[gva] = self._find(gva)
        return self._known[gva]

    def text(self, gva: int) -> str:
        """The same as `name+0xoffset`, without an offset of 0; hexadecimal where nothing is known."""
        place = self.find(gva)
        if place is None:
            return f"{gva:#x}"
        return f"{place[0]}+{place[1]:#x}" if place[1] else place[0]

    def _find(self, gva: int) -> tuple[str, int] | None:
        bases = self._kernel.memory.bases
        if 0 <= gva - bases.text_gva < bases.image_size_bytes:
            try:
                return self._kernel.symbols.at(gva)
            except GuestDataError:
                self._gaps.add("names", "unreadable", "the kernel's symbols")
                return None
        for name, start, size in self._modules:
            if 0 <= gva - start < size:
                return f"[{name}]", gva - start
        return None

    @cached_property
    def _modules(self) -> list[tuple[str, int, int]]:
        """Name, start and bytes of each part of each module."""
        found = []
        try:
            for record in module.find_modules(self._kernel, Gaps()):
                for start, size in module.read_parts(self._kernel, Gva(record.module_struct)):
                    found.append((record.name, start, size))
        except GuestDataError:
            self._gaps.add("names", "unreadable", "modules")
        return found
