"""VMCOREINFO is a text that the kernel keeps in RAM for who dumps it; drgn learns page size and release from it.

Reads vmcoreinfo_data. What vmon knows itself (release, KASLR, page tables and their levels) is never taken from it, so
a guest that lies there misleads nobody about memory; the rest is passed on. A kernel built without crash dumps, and a
text that makes no sense, leave vmon's own lines, which are all that drgn must have.
Sources: kernel/vmcore_info.c (kernel/crash_core.c until 6.8), arch/x86/kernel/vmcore_info_64.c.
"""

from __future__ import annotations

from vmon.core.address import PAGE_SIZE_BYTES, Gva
from vmon.core.errors import GuestDataError
from vmon.kernel import btf as kinds
from vmon.kernel.identify import KERNEL_MAP_GVA
from vmon.kernel.profile import Wants
from vmon.linux.kernel import Kernel

WANTS = Wants(
    symbols=("vmcoreinfo_data", "vmcoreinfo_size", "_stext", "init_uts_ns", "mem_section", "node_data")
)
MAX_TEXT_BYTES = 16 << 10
SECTION_SIZE_BITS = 27
PHYSMEM_BITS = {False: 46, True: 52}
"""By whether page tables have five levels; arch/x86/include/asm/sparsemem.h."""


def own_lines(kernel: Kernel) -> dict[str, str]:
    """The lines that vmon can write itself, by their keys."""
    bases, profile = kernel.memory.bases, kernel.profile
    lines = {
        "OSRELEASE": profile.release,
        "BUILD-ID": profile.build_id,
        "PAGESIZE": str(PAGE_SIZE_BYTES),
        "SYMBOL(swapper_pg_dir)": f"{kernel.symbol('init_top_pgt'):x}",
        "NUMBER(phys_base)": str(bases.text_gpa - (bases.text_gva - KERNEL_MAP_GVA)),
        "NUMBER(pgtable_l5_enabled)": str(int(bases.la57)),
        "KERNELOFFSET": f"{bases.kaslr_slide:x}",
        "NUMBER(SECTION_SIZE_BITS)": str(SECTION_SIZE_BITS),
        "NUMBER(MAX_PHYSMEM_BITS)": str(PHYSMEM_BITS[bases.la57]),
    }
    for name in ("_stext", "init_uts_ns", "node_data"):
        if kernel.has_symbol(name):
            lines[f"SYMBOL({name})"] = f"{kernel.symbol(name):x}"
    section = kernel.types.find("mem_section", kinds.KIND_STRUCT)
    if section is not None and 0 < kernel.types.size_bytes(section) <= PAGE_SIZE_BYTES:
        each = PAGE_SIZE_BYTES // kernel.types.size_bytes(section)
        roots = -(-(1 << (PHYSMEM_BITS[bases.la57] - SECTION_SIZE_BITS)) // each)
        lines["LENGTH(mem_section)"] = str(roots)
    return lines


def guest_lines(kernel: Kernel) -> dict[str, str]:
    """The lines that the kernel itself wrote, by their keys; none where it wrote none that can be read."""
    if not kernel.has_symbol("vmcoreinfo_data"):
        return {}
    memory = kernel.memory
    try:
        size = memory.u64(kernel.symbol("vmcoreinfo_size")) if kernel.has_symbol("vmcoreinfo_size") else 0
        data = memory.read(Gva(memory.u64(kernel.symbol("vmcoreinfo_data"))), min(size, MAX_TEXT_BYTES))
    except GuestDataError:
        return {}
    lines = {}
    for line in data.decode("ascii", "replace").splitlines():
        key, equals, value = line.partition("=")
        if equals and key.isprintable() and value.isprintable():
            lines[key] = value
    return lines


def joined(own: dict[str, str], guest: dict[str, str]) -> bytes:
    """The text for drgn: the guest's lines in their order, where vmon knows better with vmon's values."""
    whole = {**guest, **own}
    return "".join(f"{key}={value}\n" for key, value in whole.items()).encode("ascii", "replace")
