"""ORC is the kernel's own table of how to go from a function to its caller: for each address, where the frame ends.

Reads the tables of the image and of modules, whose entries are sorted by address. The bits of an entry are asked of
BTF; the numbers of registers, which 7.x counts anew, are told by what nearly all entries have: the stack pointer. A
hostile guest can write any table: a lookup is a bounded search, and who unwinds checks each step.
Sources: arch/x86/kernel/unwind_orc.c, arch/x86/include/asm/orc_types.h, include/linux/objtool_types.h.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vmon.core.address import Gva
from vmon.core.errors import BadStructure
from vmon.kernel.profile import Wants
from vmon.linux.kernel import Kernel

BOUNDS = ("__start_orc_unwind_ip", "__stop_orc_unwind_ip", "__start_orc_unwind")
WANTS = Wants(symbols=BOUNDS, structs={"orc_entry": "sp_offset bp_offset"})
MAX_ENTRIES = 4 << 20
SAMPLE = 4096
UNDEFINED, PREV_SP, BP, SP, BP_INDIRECT, OTHER = "undefined", "prev sp", "bp", "sp", "bp indirect", "other"
CALL, REGS, REGS_PARTIAL, END, UNKNOWN = "call", "regs", "regs partial", "end", "unknown"
# Up to 6.3 `end` was a bit of its own, and types were counted from CALL (fb799447ae29).
OLD_TYPES = {0: CALL, 1: REGS, 2: REGS_PARTIAL}
TYPES = {0: UNKNOWN, 1: END, 2: CALL, 3: REGS, 4: REGS_PARTIAL}
REGISTERS = {
    5: {0: UNDEFINED, 1: PREV_SP, 4: BP, 5: SP, 8: BP_INDIRECT},
    # Seen in 7.2.
    3: {0: UNDEFINED, 8: PREV_SP, 4: BP, 3: SP, 10: BP_INDIRECT},
}
"""What the numbers of registers mean, by the number of the stack pointer."""


@dataclass(frozen=True, slots=True)
class OrcEntry:
    """How to find the caller from one address."""

    type: str
    sp_reg: str
    sp_offset: int
    bp_reg: str
    bp_offset: int


class OrcFormat:
    """How this kernel writes an entry. BadStructure when that is not known."""

    def __init__(self, kernel: Kernel) -> None:
        self._layout = kernel.profile["orc_entry"]
        types = kernel.all_types
        entry = types.find("orc_entry")
        names = ("sp_reg", "bp_reg", "type", "end")
        members = {name: types.path(entry, name) for name in names} if entry is not None else {}
        self._bits = {
            name: (member.bit_offset, member.bit_size)
            for name, member in members.items()
            if member is not None
        }
        for name in names[:3]:
            if name not in self._bits:
                raise BadStructure("this kernel has no such field", field=f"orc_entry.{name}")
        self._registers: dict[int, str] = {}

    @property
    def size_bytes(self) -> int:
        """Of one entry."""
        return self._layout.size

    def learn(self, data: bytes) -> None:
        """Learn the numbers of registers from a sample of entries."""
        size = self.size_bytes
        common = self._most_common([data[at : at + size] for at in range(0, len(data) - size + 1, size)])
        if common not in REGISTERS:
            raise BadStructure(f"{common} is the register of most entries", field="orc_entry.sp_reg")
        self._registers = REGISTERS[common]

    def _most_common(self, entries: list[bytes]) -> int:
        counts: dict[int, int] = {}
        for entry in entries:
            number = self._field(entry, "sp_reg")
            if number:
                counts[number] = counts.get(number, 0) + 1
        return max(counts, key=counts.__getitem__, default=0)

    def _field(self, data: bytes, name: str) -> int:
        at, size = self._bits[name]
        return int.from_bytes(data, "little") >> at & (1 << size) - 1

    def decode(self, data: bytes) -> OrcEntry:
        """One entry."""
        number, sp_reg = self._field(data, "type"), self._field(data, "sp_reg")
        if "end" not in self._bits:
            kind = TYPES.get(number, UNKNOWN)
        elif self._field(data, "end"):
            kind = END
        else:
            kind = OLD_TYPES.get(number, UNKNOWN) if sp_reg else UNKNOWN
        sp, bp = (self._layout.offset(name) for name in ("sp_offset", "bp_offset"))
        return OrcEntry(
            type=kind,
            sp_reg=self._registers.get(sp_reg, OTHER),
            sp_offset=int.from_bytes(data[sp : sp + 2], "little", signed=True),
            bp_reg=self._registers.get(self._field(data, "bp_reg"), OTHER),
            bp_offset=int.from_bytes(data[bp : bp + 2], "little", signed=True),
        )


class OrcTable:
    """A sorted table: that of the image, or of one module. BadStructure for one that can't be."""

    def __init__(self, kernel: Kernel, form: OrcFormat, ips: Gva, count: int, entries: Gva) -> None:
        if not 0 < count <= MAX_ENTRIES:
            raise BadStructure(f"an ORC table of {count:,} entries", address=ips)
        self.form = form
        self._kernel = kernel
        self._entries = entries
        offsets = np.frombuffer(kernel.memory.read(ips, 4 * count), dtype="<i4").astype(np.int64)
        places = np.uint64(ips) + np.arange(count, dtype=np.uint64) * np.uint64(4)
        self._addresses: NDArray[np.uint64] = places + offsets.view(np.uint64)

    def find(self, address: int) -> OrcEntry | None:
        """The entry for an address; None before the first."""
        place = int(np.searchsorted(self._addresses, np.uint64(address), side="right")) - 1
        if place < 0:
            return None
        size = self.form.size_bytes
        return self.form.decode(self._kernel.memory.read(Gva(self._entries + place * size), size))


def image_table(kernel: Kernel) -> OrcTable | None:
    """The table of the kernel image; None where it was built without one. 20 to 50 ms. BadStructure."""
    if not all(kernel.has_symbol(name) for name in BOUNDS) or "orc_entry" not in kernel.profile.structs:
        return None
    start, stop, entries = map(kernel.symbol, BOUNDS)
    count = (stop - start) // 4
    form = OrcFormat(kernel)
    table = OrcTable(kernel, form, start, count, entries)
    sample = min(SAMPLE, count)
    first = Gva(entries + (count - sample) // 2 * form.size_bytes)
    form.learn(kernel.memory.read(first, sample * form.size_bytes))
    return table
