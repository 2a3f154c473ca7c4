"""All symbols of a kernel at once: which address has a name, and which name has an address.

Pure: made of a located kallsyms table. A hostile guest can write any name or address; names are latin-1, addresses are
only compared. Sources: scripts/kallsyms.c, kernel/kallsyms.c.
"""

from __future__ import annotations

from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vmon.core.address import Gva
from vmon.kernel.kallsyms import Kallsyms

MAX_NAME_DISTANCE_BYTES = 16 << 20
SIDES: tuple[Literal["left"], Literal["right"]] = ("left", "right")


class SymbolTable:
    """Every symbol of the kernel image in this boot, in the order of the kernel's own table."""

    def __init__(self, table: Kallsyms, image_gva: int) -> None:
        """`image_gva` is where the bytes that the table was found in start."""
        self.addresses: NDArray[np.uint64] = table.addresses(image_gva)
        """In this boot; absolute per-CPU offsets (up to 6.15) as they are."""
        self.parts = {name: Gva(image_gva + at) for name, at in table.parts().items()}
        """Where the kernel's own table lies: symbols that it does not list."""
        texts = table.expand()
        self.kinds: list[str] = [text[:1] for text in texts]
        """Letters of nm: T t text, D d data, B b bss, R r read-only, V W w weak, A a absolute."""
        self.names: list[str] = [text[1:] for text in texts]

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def _by_name(self) -> dict[str, int]:
        # Reversed, so that the first of equals stays.
        return dict(zip(reversed(self.names), reversed(self.addresses.tolist()), strict=True))

    def find(self, name: str) -> Gva | None:
        """Address of a symbol, the first of equal names; None when there is none."""
        address = self._by_name.get(name)
        return None if address is None else Gva(address)

    @cached_property
    def _sorted(self) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        order = np.argsort(self.addresses, kind="stable")
        return self.addresses[order], order

    def at(self, gva: int) -> tuple[str, int] | None:
        """The symbol at or before an address, and how far behind it the address is; None before the first."""
        addresses, order = self._sorted
        place = int(np.searchsorted(addresses, np.uint64(gva), side="right")) - 1
        if place < 0:
            return None
        # Of names for one place the table's first.
        first = int(np.searchsorted(addresses, addresses[place], side="left"))
        distance = gva - int(addresses[place])
        return (self.names[int(order[first])], distance) if distance < MAX_NAME_DISTANCE_BYTES else None

    def names_at(self, gva: int) -> list[str]:
        """Every name of an address: none where no symbol starts there."""
        addresses, order = self._sorted
        first, last = (int(np.searchsorted(addresses, np.uint64(gva), side=side)) for side in SIDES)
        return [self.names[place] for place in order[first:last].tolist()]

    def next_after(self, gva: int) -> int | None:
        """Address of the first symbol behind an address; None behind the last."""
        addresses, _ = self._sorted
        place = int(np.searchsorted(addresses, np.uint64(gva), side="right"))
        return int(addresses[place]) if place < len(addresses) else None
