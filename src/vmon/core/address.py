"""An address always belongs to a space, and the type says which one.

Pure definitions: no I/O. A guest-virtual, a guest-physical and a host address are all 64-bit numbers;
mixing them up is the classic bug of introspection tools, so mypy is made to tell them apart.
"""

from __future__ import annotations

from typing import NewType

Gva = NewType("Gva", int)
"""Guest-virtual address: what the guest kernel's own pointers hold."""

Gpa = NewType("Gpa", int)
"""Guest-physical address: what the guest believes is its RAM; holes and PCI windows included."""

Hva = NewType("Hva", int)
"""Host-virtual address inside the QEMU process."""

PAGE_SHIFT = 12
PAGE_SIZE_BYTES = 1 << PAGE_SHIFT
HUGE_PAGE_SIZE_BYTES = 2 << 20
