"""A loaded module is a struct module on the list `modules`; who uses it hangs on source_list.

Reads module, module_use. A hostile guest can bend the lists, or take a module off them (`vmon check` looks for those):
walks are bounded and stop at a repetition. When the guest loads meanwhile, a module can be missed or half there.
Sources: include/linux/module.h, kernel/module/procfs.c, kernel/panic.c taint_flags.
"""

from __future__ import annotations

from vmon.core.address import Gva
from vmon.core.coverage import Gaps
from vmon.core.errors import GuestDataError
from vmon.core.records.kernel import ModuleRecord
from vmon.core.text import guest_text
from vmon.kernel.columns import Columns, text_rows
from vmon.kernel.profile import Wants
from vmon.linux.kernel import Kernel
from vmon.linux.task import walk_list

MAX_MODULES = 20_000
MAX_VERSION_BYTES = 64
# core_layout and init_layout became mem[], one element a kind of memory, in 6.4 (ac3b43283923).
PARTS = "core_layout.base core_layout.size init_layout.base init_layout.size"
FIELDS = "name state taints refcnt source_list version mem " + PARTS
WANTS = Wants(
    symbols=("modules",),
    structs={
        "module": "list " + FIELDS,
        "module_memory": "base size",
        "module_use": "source_list source",
    },
)
STATES = {0: "Live", 1: "Loading", 2: "Unloading", 3: "Unformed"}
TAINTS = "PFSRMBUDAWCIOELKXTNJ"
"""taint_flags, lowest bit first."""
REFERENCE_BASE = 1


def find_modules(kernel: Kernel, gaps: Gaps) -> list[ModuleRecord]:
    """Every module on the kernel's list, newest first. BadStructure where the list has no end."""
    offset = kernel.offset("module", "list")
    nodes = walk_list(kernel, kernel.symbol("modules"), "module.list", MAX_MODULES)
    return [read_module(kernel, Gva(node - offset), gaps) for node in nodes]


def read_module(kernel: Kernel, module: Gva, gaps: Gaps) -> ModuleRecord:
    """One module by the address of its struct module."""
    columns = kernel.read_one("module", FIELDS, module)
    text, size = _memory(kernel, module, columns)
    taints = int(columns["taints"][0])
    return ModuleRecord(
        name=_name(columns),
        size=size,
        address=text,
        references=int(columns.signed("refcnt")[0]) - REFERENCE_BASE,
        used_by=_users(kernel, module, gaps),
        state=STATES.get(int(columns["state"][0]), str(int(columns["state"][0]))),
        taints="".join(letter for bit, letter in enumerate(TAINTS) if taints >> bit & 1),
        version=_version(kernel, columns, gaps),
        module_struct=module,
    )


def module_name(kernel: Kernel, module: Gva) -> str:
    """Name of the module at an address."""
    return _name(kernel.read_one("module", "name", module))


def _name(columns: Columns) -> str:
    return guest_text(text_rows(columns.raw("name"))[0])


def _memory(kernel: Kernel, module: Gva, columns: Columns) -> tuple[int, int]:
    """Where its text starts, and the bytes of all its parts."""
    if "mem" not in columns:
        sizes = columns["core_layout.size"] + columns["init_layout.size"]
        return int(columns["core_layout.base"][0]), int(sizes[0])
    parts = read_parts(kernel, module)
    return parts[0][0], sum(size for _, size in parts)


def read_parts(kernel: Kernel, module: Gva) -> list[tuple[int, int]]:
    """Where each of a module's parts lies, with its bytes; text first. Parts that it has not have no bytes."""
    layout = kernel.profile["module"]
    if "mem" not in layout:
        columns = kernel.read_one("module", PARTS, module)
        return [
            (int(columns[f"{part}_layout.base"][0]), int(columns[f"{part}_layout.size"][0]))
            for part in ("core", "init")
        ]
    field, part = layout["mem"], kernel.profile["module_memory"]
    return [
        (int(columns["base"][0]), int(columns["size"][0]))
        for columns in (
            kernel.read_one("module_memory", "base size", module + field.offset + number * part.size)
            for number in range(field.count)
        )
    ]


def _users(kernel: Kernel, module: Gva, gaps: Gaps) -> list[str]:
    head = Gva(module + kernel.offset("module", "source_list"))
    offset = kernel.offset("module_use", "source_list")
    try:
        uses = walk_list(kernel, head, "module.source_list", MAX_MODULES)
    except GuestDataError as error:
        gaps.add("used_by", "unreadable", error.message)
        return []
    users = [int(kernel.read_one("module_use", "source", use - offset)["source"][0]) for use in uses]
    return [module_name(kernel, Gva(user)) for user in users]


def _version(kernel: Kernel, columns: Columns, gaps: Gaps) -> str | None:
    pointer = int(columns["version"][0])
    if not pointer:
        return None
    try:
        return guest_text(kernel.memory.string(Gva(pointer), MAX_VERSION_BYTES))
    except GuestDataError:
        gaps.add("version", "unreadable")
        return None
