"""The address space of one process in a fake kernel of a few structures: areas, page tables, pages."""

from __future__ import annotations

from collections.abc import Mapping

from tests.unit.kernel.build import PageTables
from tests.unit.linux.small import PAGE_OFFSET, Small
from vmon.core.address import Gva
from vmon.kernel.profile import Wants
from vmon.linux import auxv, usermem
from vmon.linux.usermem import UserMemory

PAGE = 4096
STRUCTS = {
    "vm_area_struct": "vm_start:u64 vm_end:u64 vm_next:p vm_mm:p vm_flags:u64 vm_pgoff:u64 vm_file:p vm_ops:p "
    "vm_private_data:p",
    "mm_struct": "mmap:p pgd:p saved_auxv:u64*8",
}
RW = 0x3


def swap_entry(kind: int, offset: int) -> int:
    """As x86 makes it: the type at the top, the offset inverted."""
    return kind << 59 | (~offset << 14 & (1 << 64) - 1) >> 5


class Space:
    """One mm. `area` adds an area, `page` a page with bytes, `entry` any entry at the place of a page."""

    def __init__(
        self,
        wants: Wants | None = None,
        structs: Mapping[str, str] | None = None,
        symbols: Mapping[str, int] | None = None,
    ) -> None:
        wants = usermem.WANTS | auxv.WANTS | (wants or Wants())
        self.small = Small(wants, {**STRUCTS, **(structs or {})}, {"nr_swapfiles": 4, **(symbols or {})})
        self.small.put(self.small.symbol("nr_swapfiles"), 2, 4)
        self.root = self._page()
        self.mm = Gva(self.small.new("mm_struct", pgd=PAGE_OFFSET + self.root))
        self._areas: list[int] = []
        self.tables = PageTables(self.root, False, self.peek, self.poke, self._page)

    def _page(self) -> int:
        return self.small.alloc(PAGE, PAGE) - PAGE_OFFSET

    def peek(self, gpa: int) -> int:
        return int.from_bytes(self.small.ram[gpa : gpa + 8], "little")

    def poke(self, gpa: int, value: int) -> None:
        self.small.ram[gpa : gpa + 8] = value.to_bytes(8, "little")

    def area(
        self, start: int, pages: int, file: int = 0, ops: int = 0, offset: int = 0, flags: int = RW
    ) -> int:
        gva = self.small.new(
            "vm_area_struct", vm_start=start, vm_end=start + pages * PAGE, vm_mm=self.mm, vm_flags=flags,
            vm_pgoff=offset, vm_file=file, vm_ops=ops or (1 if file else 0),
        )  # fmt: skip
        if self._areas:
            self.small.set(self._areas[-1], "vm_area_struct", vm_next=gva)
        else:
            self.small.set(self.mm, "mm_struct", mmap=gva)
        self._areas.append(gva)
        return gva

    def page(self, gva: int, data: bytes) -> int:
        """Map a page with these bytes; its frame."""
        gpa = self._page()
        self.small.ram[gpa : gpa + len(data)] = data
        self.tables.map(gva, gpa)
        return gpa

    def entry(self, gva: int, value: int, size: int = PAGE) -> int:
        """Put any entry where the page's would be; its place."""
        place = self.tables.map(gva, 0, size)
        self.poke(place, value)
        return place

    def memory(self, cached: usermem.CachedPages | None = None, **limits: int) -> UserMemory:
        return UserMemory(self.small.kernel(**limits), self.mm, cached)
