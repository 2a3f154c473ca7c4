"""What lies in the RAM of every transport under test: known bytes where reading goes wrong most easily."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from vmon.core.address import Gpa
from vmon.core.ports import RamRange, ReadPhys

Write = Callable[[int, bytes], None]


def pattern(seed: int, size_bytes: int) -> bytes:
    """Bytes that repeat nowhere near, none of them zero."""
    return bytes((seed * 37 + index * 11 + (index >> 8)) % 255 + 1 for index in range(size_bytes))


@dataclass
class Scene:
    ram: ReadPhys
    bytes_at: dict[int, bytes] = field(default_factory=dict)
    seams: tuple[int, ...] = ()
    """Addresses where one backing ends and the next begins, without a hole between."""

    def expected(self, gpa: int, size_bytes: int) -> bytes:
        out = bytearray(size_bytes)
        for start, data in self.bytes_at.items():
            low, high = max(gpa, start), min(gpa + size_bytes, start + len(data))
            if low < high:
                out[low - gpa : high - gpa] = data[low - start : high - start]
        return bytes(out)


def paint(ranges: tuple[RamRange, ...], seams: tuple[int, ...], write: Write) -> dict[int, bytes]:
    """Write known bytes at both ends of each range, across each seam, and in the middle."""
    painted: dict[int, bytes] = {}
    for index, item in enumerate(ranges):
        middle = Gpa(item.gpa + item.size_bytes // 2 // 4096 * 4096)
        for part, gpa in enumerate((item.gpa, middle, item.end_gpa - 5000)):
            painted[gpa] = pattern(index * 3 + part, 5000)
    for index, seam in enumerate(seams):
        painted[seam - 3000] = pattern(100 + index, 6000)
    for gpa, data in painted.items():
        write(gpa, data)
    return painted
