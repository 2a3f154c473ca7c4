"""A process's address space is a tree of vm_area_struct: a linked list until 6.0, a maple tree since 6.1.

Reads mm_struct, maple nodes, vm_area_struct. A hostile guest can loop either shape: the number of areas is bounded,
depth too, and an area that belongs to another mm is left out. When the guest maps meanwhile, an area can be missed.
Sources: lib/maple_tree.c, include/linux/maple_tree.h, fs/proc/task_mmu.c.
"""

from __future__ import annotations

import numpy as np

from vmon.core.address import PAGE_SIZE_BYTES, Gva
from vmon.core.errors import BadStructure, GuestDataError
from vmon.core.records.process import MapRecord
from vmon.core.text import guest_text
from vmon.kernel.columns import Column, Columns
from vmon.kernel.profile import Wants
from vmon.linux.dentry import Paths
from vmon.linux.inode import read_inodes
from vmon.linux.kernel import Kernel

MAX_VMAS = 1 << 20
MAX_DEPTH = 32
MAPLE_NODE_MASK = 0xFF
MAPLE_LEAF_64, MAPLE_RANGE_64, MAPLE_ARANGE_64 = 1, 2, 3

# vm_flags: __vm_flags beside it since 6.3 (bc292ab00f6c).
VMA_FIELDS = "vm_start vm_end vm_mm vm_flags|__vm_flags vm_pgoff vm_file vm_ops vm_private_data anon_name"
VMA_COLUMNS = VMA_FIELDS.replace("|__vm_flags", "")
WANTS = Wants(
    symbols=("special_mapping_vmops",),
    structs={
        "vm_area_struct": VMA_FIELDS + " vm_next",
        "maple_tree": "ma_root",
        "maple_range_64": "pivot slot",
        "maple_arange_64": "pivot slot",
        "vm_special_mapping": "name",
        "anon_vma_name": "name",
        "mm_struct": "mmap mm_mt mm_mt.ma_root start_brk brk start_stack",
    },
)
MAX_U64 = (1 << 64) - 1
VM_READ, VM_WRITE, VM_EXEC, VM_MAYSHARE = 0x1, 0x2, 0x4, 0x80


def find_vmas(kernel: Kernel, mm: Gva) -> tuple[Column, Columns]:
    """Every area of one mm in address order: their addresses and their fields."""
    layout = kernel.profile["mm_struct"]
    found = _from_maple(kernel, mm) if "mm_mt" in layout else _from_list(kernel, mm)
    gvas = np.array(found, dtype=np.uint64)
    columns = kernel.read("vm_area_struct", VMA_COLUMNS, gvas)
    keep = (columns["vm_mm"] == np.uint64(mm)) & (columns["vm_start"] < columns["vm_end"])
    if not keep.all():
        gvas = gvas[keep]
        columns = kernel.read("vm_area_struct", VMA_COLUMNS, gvas)
    return gvas, columns


def _from_list(kernel: Kernel, mm: Gva) -> list[int]:
    """mm->mmap, linked by vm_next: to 6.0 (763ecb035029 removed it)."""
    u64 = kernel.memory.u64
    next_offset = kernel.offset("vm_area_struct", "vm_next")
    found: list[int] = []
    at = u64(Gva(mm + kernel.offset("mm_struct", "mmap")))
    mark, next_mark = 0, 8
    while at:
        if at == mark:
            raise BadStructure("a list that runs into itself", field="vm_area_struct.vm_next", address=at)
        found.append(at)
        if len(found) == next_mark:
            mark, next_mark = at, 2 * next_mark
        if len(found) > MAX_VMAS:
            raise BadStructure(f"more than {MAX_VMAS:,} areas", field="mm_struct.mmap", address=mm)
        at = u64(Gva(at + next_offset))
    return found


def _from_maple(kernel: Kernel, mm: Gva) -> list[int]:
    root = kernel.memory.u64(Gva(mm + kernel.offset("mm_struct", "mm_mt.ma_root")))
    found: list[int] = []
    if root & 3 == 2 and root > PAGE_SIZE_BYTES:
        _descend(kernel, root, 0, (1 << 64) - 1, found, set(), 0)
    elif root and not root & 3:
        found.append(root)
    return found


def _descend(
    kernel: Kernel, entry: int, low: int, high: int, found: list[int], seen: set[int], depth: int
) -> None:
    """Collect the entries of one encoded node that lie in [low, high], left to right."""
    if depth > MAX_DEPTH or len(found) + len(seen) > MAX_VMAS:
        raise BadStructure("a maple tree too deep or too large", field="maple_node", address=entry)
    kind = (entry >> 3) & 0xF
    node = Gva(entry & ~MAPLE_NODE_MASK)
    if node in seen:
        # Thirty nodes that hold each other would be walked a billion times.
        raise BadStructure("a maple tree that runs into itself", field="maple_node", address=node)
    seen.add(node)
    if kind not in (MAPLE_LEAF_64, MAPLE_RANGE_64, MAPLE_ARANGE_64):
        raise BadStructure(f"a maple node of type {kind}", field="maple_node", address=node)
    layout = kernel.profile["maple_arange_64" if kind == MAPLE_ARANGE_64 else "maple_range_64"]
    data = np.frombuffer(kernel.memory.read(node, layout.size & ~7), dtype="<u8").tolist()
    pivots = data[layout["pivot"].offset // 8 :][: layout["pivot"].count]
    slots = data[layout["slot"].offset // 8 :][: layout["slot"].count]
    for index, slot in enumerate(slots):
        # The last used slot has no pivot, or a pivot of 0: it reaches to the end of the node's range.
        pivot = pivots[index] if index < len(pivots) else high
        if pivot == 0 and index:
            pivot = high
        if slot > PAGE_SIZE_BYTES and kind != MAPLE_LEAF_64:
            _descend(kernel, slot, low, pivot, found, seen, depth + 1)
        elif slot > PAGE_SIZE_BYTES and not slot & 3:
            found.append(slot)
        if pivot >= high:
            break
        low = pivot + 1


def map_records(kernel: Kernel, paths: Paths, pid: int, mm: Gva) -> list[MapRecord]:
    """Every area of one mm as /proc/PID/maps has it."""
    places = kernel.read_one("mm_struct", "start_brk brk start_stack", mm)
    heap = (int(places["start_brk"][0]), int(places["brk"][0]))
    stack = int(places["start_stack"][0])
    _, areas = find_vmas(kernel, mm)
    files = kernel.read("file", "f_path.mnt f_path.dentry f_inode", areas["vm_file"])
    mounts, dentries = files["f_path.mnt"], files["f_path.dentry"]
    paths.load(mounts, dentries)
    inodes = read_inodes(kernel, files["f_inode"])
    starts, ends = areas["vm_start"].tolist(), areas["vm_end"].tolist()
    flags, offsets = areas["vm_flags"].tolist(), areas["vm_pgoff"].tolist()
    with_file = (areas["vm_file"] != 0).tolist()
    result = []
    for number, place in enumerate(zip(mounts.tolist(), dentries.tolist(), strict=True)):
        path = paths.resolve(*place) if with_file[number] else None
        text = path.text if path else area_name(kernel, areas, number, heap, stack)
        result.append(
            MapRecord(
                pid=pid,
                start=starts[number],
                end=ends[number],
                permissions=permissions(flags[number]),
                offset=offsets[number] * PAGE_SIZE_BYTES & MAX_U64 if with_file[number] else 0,
                device=inodes.devices[number] if with_file[number] else 0,
                inode=inodes.numbers[number] if with_file[number] else 0,
                path=guest_text(text),
                deleted=path.deleted if path else False,
            )
        )
    return result


def permissions(flags: int) -> str:
    """The four letters of /proc/PID/maps."""
    return (
        ("r" if flags & VM_READ else "-")
        + ("w" if flags & VM_WRITE else "-")
        + ("x" if flags & VM_EXEC else "-")
        + ("s" if flags & VM_MAYSHARE else "p")
    )


def area_name(kernel: Kernel, columns: Columns, row: int, heap: tuple[int, int], stack: int) -> bytes:
    """The name in brackets of an area without a file: [heap], [stack], [vdso]...; empty when it has none."""
    if kernel.has_symbol("special_mapping_vmops") and int(columns["vm_ops"][row]) == kernel.symbol(
        "special_mapping_vmops"
    ):
        mapping = int(columns["vm_private_data"][row])
        try:
            pointer = int(kernel.read_one("vm_special_mapping", "name", mapping)["name"][0])
            return kernel.memory.string(Gva(pointer), 64)
        except GuestDataError:
            return b"[special]"
    start, end = int(columns["vm_start"][row]), int(columns["vm_end"][row])
    start_brk, brk = heap
    if start <= brk and end >= start_brk:
        return b"[heap]"
    if start <= stack <= end:
        return b"[stack]"
    return _given_name(kernel, columns, row)


def _given_name(kernel: Kernel, columns: Columns, row: int) -> bytes:
    """The name that the process gave by PR_SET_VMA_ANON_NAME (5.17 and later, where configured)."""
    if "anon_name" not in columns or not (name := int(columns["anon_name"][row])):
        return b""
    try:
        at = Gva(name + kernel.offset("anon_vma_name", "name"))
        return b"[anon:" + kernel.memory.string(at, 80) + b"]"
    except GuestDataError:
        return b""
