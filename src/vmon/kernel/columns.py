"""Many structures of one kind are read as columns: one gather per cluster of fields, no loop over rows.

Reads through KernelMemory. A hostile guest decides the values, never the shape: offsets and sizes come from the
profile, and a structure that is not mapped reads as zeros. Fields of one row are read within microseconds of each
other, not atomically; what must be consistent is checked by its reader.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vmon.core.errors import BadStructure
from vmon.kernel.memory import KernelMemory
from vmon.kernel.profile import FieldLayout, StructLayout

CLUSTER_GAP_BYTES = 256
NUMBER_SIZES = (1, 2, 4, 8)

Column = NDArray[np.uint64]


class Columns:
    """The fields of n structures: `columns["pid"]` is an array of n numbers, `raw("comm")` n rows of bytes."""

    def __init__(
        self, count: int, parts: dict[str, tuple[NDArray[np.uint8], int, FieldLayout]], struct: str = ""
    ) -> None:
        self.count = count
        self._parts = parts
        self._struct = struct

    def _part(self, field: str, sizes: tuple[int, ...] = ()) -> tuple[NDArray[np.uint8], int, FieldLayout]:
        """Where a field was read to. BadStructure when this kernel lacks it or it has none of `sizes`."""
        try:
            part = self._parts[field]
        except KeyError:
            raise BadStructure("this kernel has no such field", field=f"{self._struct}.{field}") from None
        if sizes and part[2].size not in sizes:
            raise BadStructure(
                f"a field of {part[2].size} bytes", field=f"{self._struct}.{field}", address=part[2].offset
            )
        return part

    def __contains__(self, field: str) -> bool:
        return field in self._parts

    def __getitem__(self, field: str) -> Column:
        """Unsigned values, widened to 64 bits."""
        rows, at, layout = self._part(field, NUMBER_SIZES)
        values = np.ascontiguousarray(rows[:, at : at + layout.size]).view(f"<u{layout.size}").reshape(-1)
        wide = values.astype(np.uint64)
        if layout.bits:
            wide = (wide >> np.uint64(layout.bit)) & np.uint64((1 << layout.bits) - 1)
        return wide

    def signed(self, field: str) -> NDArray[np.int64]:
        """Signed values, widened to 64 bits."""
        rows, at, layout = self._part(field, NUMBER_SIZES)
        values = np.ascontiguousarray(rows[:, at : at + layout.size]).view(f"<i{layout.size}").reshape(-1)
        return values.astype(np.int64)

    def raw(self, field: str, size_bytes: int | None = None) -> NDArray[np.uint8]:
        """The bytes of a field, n rows; BadStructure when it is not of the size that the caller needs."""
        rows, at, layout = self._part(field, () if size_bytes is None else (size_bytes,))
        return rows[:, at : at + layout.size]

    def words(self, field: str, count: int, width: int = 8) -> NDArray[np.uint64]:
        """An array field as n rows of `count` numbers of `width` bytes; what the array has beyond them is left out."""
        layout = self._part(field)[2]
        if layout.size < count * width or layout.size % width:
            raise BadStructure(
                f"an array of {layout.size} bytes for {count} numbers of {width}",
                field=f"{self._struct}.{field}",
                address=layout.offset,
            )
        data = np.ascontiguousarray(self.raw(field)).view(f"<u{width}")
        return data[:, :count].astype(np.uint64)

    def address(self, gvas: Column, field: str) -> Column:
        """Address of a field in each of the structures at `gvas`."""
        return gvas + np.uint64(self._part(field)[2].offset)


class StructReader:
    """Reads chosen fields of one structure at many addresses. Fields that this kernel lacks are left out."""

    def __init__(self, layout: StructLayout, fields: Sequence[str]) -> None:
        self.layout = layout
        present = sorted(
            ((layout.fields[name], name) for name in fields if name in layout.fields),
            key=lambda item: item[0].offset,
        )
        self._clusters: list[tuple[int, int, list[tuple[str, FieldLayout]]]] = []
        for field, name in present:
            end = field.offset + field.size
            if self._clusters and field.offset - self._clusters[-1][1] <= CLUSTER_GAP_BYTES:
                low, high, names = self._clusters[-1]
                names.append((name, field))
                self._clusters[-1] = (low, max(high, end), names)
            else:
                self._clusters.append((field.offset, end, [(name, field)]))

    def read(self, memory: KernelMemory, gvas: Column) -> Columns:
        """One gather per cluster."""
        parts: dict[str, tuple[NDArray[np.uint8], int, FieldLayout]] = {}
        for low, high, names in self._clusters:
            rows = memory.gather(gvas + np.uint64(low), high - low)
            for name, field in names:
                parts[name] = (rows, field.offset - low, field)
        return Columns(len(gvas), parts, self.layout.name)


def unique(values: NDArray[np.uint64]) -> Column:
    """The different values, rising. Plain np.unique imports numpy.ma when first called, which takes 15 ms."""
    ordered = np.sort(values)
    return ordered[np.concatenate(([True], ordered[1:] != ordered[:-1]))] if ordered.size else ordered


def text_rows(rows: NDArray[np.uint8]) -> list[bytes]:
    """Rows of NUL-padded text as byte strings, cut at the first NUL."""
    if not rows.size:
        return [b""] * len(rows)
    texts: list[bytes] = np.ascontiguousarray(rows).view(f"S{rows.shape[1]}").reshape(-1).tolist()
    # numpy takes away the NULs at the end; what may follow a NUL within is left over from a longer name.
    return [text.split(b"\0", 1)[0] if b"\0" in text else text for text in texts]
