"""Code of a kernel lies in its text, in modules, and in pages that the kernel generates: BPF, trampolines, kprobes.

Reads the lists that the kernel keeps of each. An address that is executed and in none of them is nobody's. A hostile
guest can put an area of its own on any of these lists; each area says which list it is from.
Sources: kernel/extable.c kernel_text_address(), kernel/bpf/core.c bpf_ksym, kernel/trace/ftrace.c, kernel/kprobes.c.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vmon.core.address import HUGE_PAGE_SIZE_BYTES, PAGE_SIZE_BYTES, Gva
from vmon.core.coverage import Gaps
from vmon.core.errors import BadStructure, GuestDataError
from vmon.core.text import guest_text
from vmon.kernel.columns import Column, text_rows
from vmon.kernel.profile import Wants
from vmon.linux import module
from vmon.linux.kernel import Kernel
from vmon.linux.task import walk_list

WANTS = module.WANTS | Wants(
    symbols=(
        "_stext",
        "_etext",
        "bpf_kallsyms",
        "pack_list",
        "ftrace_ops_list",
        "ftrace_ops_trampoline_list",
        "kprobe_insn_slots",
        "kprobe_optinsn_slots",
        "real_mode_header",
        "real_mode_blob",
        "real_mode_blob_end",
    ),
    structs={
        "bpf_ksym": "start end name lnode",
        "bpf_prog_pack": "list ptr",
        "ftrace_ops": "next func trampoline trampoline_size list",
        "kprobe_insn_cache": "pages",
        "kprobe_insn_page": "list insns",
    },
)
MAX_AREAS = 200_000
MAX_AREA_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class CodeArea:
    """A run of addresses that belongs to somebody."""

    start: int
    end: int
    owner: str
    """kernel, module, bpf, ftrace, kprobe, vmon."""
    name: str


class CodeMap:
    """All areas, asked by address."""

    def __init__(self, areas: Iterable[CodeArea]) -> None:
        self.areas = sorted((area for area in areas if area.start < area.end), key=lambda area: area.start)

    @cached_property
    def _bounds(self) -> tuple[Column, Column]:
        starts = np.array([area.start for area in self.areas], dtype=np.uint64)
        # Areas can lie within each other: the farthest end of all that start before counts.
        ends = np.maximum.accumulate(np.array([area.end for area in self.areas] or [0], dtype=np.uint64))
        return starts, ends

    def known(self, gvas: Column) -> NDArray[np.bool_]:
        """Whether each address is in somebody's code."""
        starts, ends = self._bounds
        place = np.searchsorted(starts, gvas, side="right")
        inside: NDArray[np.bool_] = (place > 0) & (gvas < ends[np.maximum(place, 1) - 1])
        return inside

    def touches(self, gvas: Column, size_bytes: int) -> NDArray[np.bool_]:
        """Whether somebody's code lies anywhere in the bytes from each address."""
        starts, ends = self._bounds
        place = np.searchsorted(starts, gvas + np.uint64(size_bytes - 1), side="right")
        inside: NDArray[np.bool_] = (place > 0) & (gvas < ends[np.maximum(place, 1) - 1])
        return inside

    def at(self, gva: int) -> CodeArea | None:
        """Whose code an address is in."""
        return next((area for area in self.areas if area.start <= gva < area.end), None)


def find_code(kernel: Kernel, gaps: Gaps, others: Iterable[CodeArea] = ()) -> CodeMap:
    """Every area that the kernel knows of, and `others`. A list that can't be read is told in `gaps`."""
    areas = [CodeArea(kernel.symbol("_stext"), kernel.symbol("_etext"), "kernel", "text"), *others]
    kinds: tuple[tuple[str, Callable[[Kernel], list[CodeArea]]], ...] = (
        ("module code", _modules),
        ("BPF code", _bpf),
        ("BPF packs", _bpf_packs),
        ("ftrace trampolines", _trampolines),
        ("kprobe pages", _kprobe_pages),
        ("real-mode code", _real_mode),
    )
    for what, find in kinds:
        try:
            areas += find(kernel)
        except GuestDataError as error:
            gaps.add(what, "unreadable", error.message)
    return CodeMap(areas)


def _area(start: int, size: int, owner: str, name: str) -> CodeArea:
    if size > MAX_AREA_BYTES:
        raise BadStructure(f"code of {size:,} bytes", field=name, address=start)
    return CodeArea(start, start + size, owner, name)


def _modules(kernel: Kernel) -> list[CodeArea]:
    offset = kernel.offset("module", "list")
    found = []
    for node in walk_list(kernel, kernel.symbol("modules"), "module.list", module.MAX_MODULES):
        gva = Gva(node - offset)
        name = module.module_name(kernel, gva)
        found += [_area(start, size, "module", name) for start, size in module.read_parts(kernel, gva)]
    return found


def _bpf(kernel: Kernel) -> list[CodeArea]:
    """Programs, trampolines and dispatchers: all have a name for kallsyms."""
    offset = kernel.offset("bpf_ksym", "lnode")
    nodes = walk_list(kernel, kernel.symbol("bpf_kallsyms"), "bpf_ksym.lnode", MAX_AREAS)
    columns = kernel.read("bpf_ksym", "start end name", np.array(nodes, dtype=np.uint64) - np.uint64(offset))
    names = [guest_text(name) for name in text_rows(columns.raw("name"))]
    rows = zip(columns["start"].tolist(), columns["end"].tolist(), names, strict=True)
    return [_area(start, end - start, "bpf", name) for start, end, name in rows if start < end]


def _bpf_packs(kernel: Kernel) -> list[CodeArea]:
    """Pages that programs share since 5.18 (57631054fae6): filters of sockets and seccomp have no other name."""
    if "bpf_prog_pack" not in kernel.profile.structs or not kernel.has_symbol("pack_list"):
        return []
    offset = kernel.offset("bpf_prog_pack", "list")
    nodes = walk_list(kernel, kernel.symbol("pack_list"), "bpf_prog_pack.list", MAX_AREAS)
    starts = kernel.read("bpf_prog_pack", "ptr", np.array(nodes, dtype=np.uint64) - np.uint64(offset))["ptr"]
    return [_area(start, HUGE_PAGE_SIZE_BYTES, "bpf", "filters") for start in starts.tolist() if start]


def find_ftrace_ops(kernel: Kernel) -> Column:
    """Addresses of the ftrace_ops in use. The list ends in a static element whose next is null. BadStructure."""
    found: list[int] = []
    at = kernel.memory.u64(kernel.symbol("ftrace_ops_list"))
    while at and at not in found:
        found.append(at)
        if len(found) > MAX_AREAS:
            raise BadStructure(f"more than {MAX_AREAS:,} ftrace_ops", field="ftrace_ops.next", address=at)
        at = int(kernel.read_one("ftrace_ops", "next", at)["next"][0])
    return np.array(found, dtype=np.uint64)


def _trampolines(kernel: Kernel) -> list[CodeArea]:
    """Of the ftrace_ops in use, and of those that wait to be freed."""
    found = find_ftrace_ops(kernel).tolist()
    if kernel.has_symbol("ftrace_ops_trampoline_list"):
        offset = kernel.offset("ftrace_ops", "list")
        head = kernel.symbol("ftrace_ops_trampoline_list")
        found += [node - offset for node in walk_list(kernel, head, "ftrace_ops.list", MAX_AREAS)]
    columns = kernel.read("ftrace_ops", "trampoline trampoline_size", np.array(found, dtype=np.uint64))
    rows = zip(columns["trampoline"].tolist(), columns["trampoline_size"].tolist(), strict=True)
    # Each has pages of its own.
    pages = ((start, -(-size // PAGE_SIZE_BYTES) * PAGE_SIZE_BYTES) for start, size in rows if start and size)
    return [_area(start, size, "ftrace", "trampoline") for start, size in pages]


def _real_mode(kernel: Kernel) -> list[CodeArea]:
    """What starts further CPUs, in low memory. Source: arch/x86/realmode/init.c."""
    names = ("real_mode_header", "real_mode_blob", "real_mode_blob_end")
    if not all(kernel.has_symbol(name) for name in names):
        return []
    start = kernel.memory.u64(kernel.symbol("real_mode_header"))
    return [_area(start, kernel.symbol(names[2]) - kernel.symbol(names[1]), "kernel", "real mode")]


def _kprobe_pages(kernel: Kernel) -> list[CodeArea]:
    found = []
    for name in ("kprobe_insn_slots", "kprobe_optinsn_slots"):
        if not kernel.has_symbol(name):
            continue
        head = Gva(kernel.symbol(name) + kernel.offset("kprobe_insn_cache", "pages"))
        offset = kernel.offset("kprobe_insn_page", "list")
        pages = [node - offset for node in walk_list(kernel, head, "kprobe_insn_cache.pages", MAX_AREAS)]
        starts = kernel.read("kprobe_insn_page", "insns", np.array(pages, dtype=np.uint64))["insns"]
        found += [_area(start, PAGE_SIZE_BYTES, "kprobe", name) for start in starts.tolist() if start]
    return found
