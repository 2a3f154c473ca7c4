"""A slab cache keeps objects of one kind in pages of its own: who looks at those pages needs no list of the objects.

Reads every struct page of the guest's RAM (64 bytes for 4 KiB), then the objects of the slabs that it wants. What it
gives is where objects can be: a slot that is free holds what was in it last. A hostile guest can claim slabs anywhere:
what is no RAM is left out, numbers are bounded.
Sources: mm/slab.h, mm/slub.c, include/linux/mm_types.h, Documentation/mm/memory-model.rst.
"""

from __future__ import annotations

import numpy as np

from vmon.arch.x86_64.paging import translate
from vmon.core.address import PAGE_SHIFT, PAGE_SIZE_BYTES, Gpa, Gva
from vmon.core.coverage import Gaps
from vmon.core.errors import BadStructure, GuestDataError
from vmon.kernel.columns import Column
from vmon.kernel.profile import Wants
from vmon.linux.kernel import Kernel

# struct slab was split from struct page in 5.17 (d122019bf061); it lies over the same 64 bytes.
WANTS = Wants(
    structs={
        "page": "slab_cache objects",
        "slab": "slab_cache objects",
        "kmem_cache": "size object_size red_left_pad",
    }
)
MAX_OBJECTS = 4_000_000
MAX_OBJECT_BYTES = 1 << 20
CHUNK_PAGES = 1 << 15


def find_slots(kernel: Kernel, cache: Gva, gaps: Gaps) -> Column:
    """Where objects of a cache (a struct kmem_cache) can be, free or not. 5 to 15 ms for 512 MiB of RAM."""
    kind = "slab" if "slab" in kernel.profile.structs else "page"
    field = kernel.profile[kind]["slab_cache"].offset
    pages = _pages_with(kernel, field, int(cache), gaps)
    columns = kernel.read_one("kmem_cache", "size red_left_pad", cache)
    size = int(columns["size"][0])
    pad = int(columns["red_left_pad"][0]) if "red_left_pad" in columns else 0
    if not 8 <= size <= MAX_OBJECT_BYTES or pad >= size:
        raise BadStructure(f"a cache of objects of {size} bytes", field="kmem_cache.size", address=cache)
    counts = kernel.read(kind, "objects", pages_gva(kernel, pages))["objects"].astype(np.int64)
    total = int(counts.sum())
    if total > MAX_OBJECTS:
        raise BadStructure(f"a cache of {total:,} objects", field=f"{kind}.objects", address=cache)
    starts = np.repeat(pages << np.uint64(PAGE_SHIFT), counts) + np.uint64(
        kernel.memory.bases.page_offset_base + pad
    )
    within = np.arange(total, dtype=np.uint64) - np.repeat(np.cumsum(counts) - counts, counts).astype(
        np.uint64
    )
    return starts + within * np.uint64(size)


def pages_gva(kernel: Kernel, frames: Column) -> Column:
    """Address of the struct page of each page frame number."""
    return np.uint64(kernel.memory.bases.vmemmap_base) + frames * np.uint64(kernel.profile["page"].size)


def _pages_with(kernel: Kernel, field: int, value: int, gaps: Gaps) -> Column:
    """Page frame numbers whose struct page has this word at an offset."""
    stride = kernel.profile["page"].size
    if stride % 8 or field % 8:
        raise BadStructure(f"a struct page of {stride} bytes", field="page")
    found: list[Column] = []
    for part in kernel.memory.phys.ranges:
        first, last = part.gpa >> PAGE_SHIFT, part.end_gpa >> PAGE_SHIFT
        for frame in range(first, last, CHUNK_PAGES):
            count = min(CHUNK_PAGES, last - frame)
            data = _read_memmap(kernel, frame, count, stride, gaps)
            words = np.frombuffer(data, dtype="<u8")[field // 8 :: stride // 8]
            hits = np.flatnonzero(words == np.uint64(value))
            found.append(hits.astype(np.uint64) + np.uint64(frame))
    return np.concatenate(found) if found else np.zeros(0, dtype=np.uint64)


def _read_memmap(kernel: Kernel, frame: int, count: int, stride: int, gaps: Gaps) -> bytearray:
    """Struct pages of a run of frames; zeros where the guest has none."""
    memory, bases = kernel.memory, kernel.memory.bases
    at = bases.vmemmap_base + frame * stride
    data = bytearray(count * stride)
    done = 0
    while done < len(data):
        found = translate(memory.phys, bases.page_table_root, Gva(at + done), bases.la57)
        room = (found.page_size_bytes if found else PAGE_SIZE_BYTES) - (at + done) % (
            found.page_size_bytes if found else PAGE_SIZE_BYTES
        )
        size = min(room, len(data) - done)
        if found:
            try:
                data[done : done + size] = memory.phys.read(Gpa(found.gpa), size)
            except GuestDataError as error:
                gaps.add("struct page", "unreadable", error.message)
        done += size
    return data
