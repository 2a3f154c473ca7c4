"""`vmon modules`, `vmon lsm`, `vmon hooks`: what is in a guest's kernel. Reads the guest, changes nothing."""

from __future__ import annotations

from vmon.cli.listing import listing
from vmon.cli.output import View
from vmon.core.records.kernel import KernelHookRecord, ModuleRecord, SecurityModuleRecord

MODULES = View(
    ModuleRecord,
    ("MODULE", "SIZE", "ADDRESS", "REFS", "STATE", "TAINTS", "USED BY"),
    lambda record: (
        record.name,
        record.size,
        f"{record.address:016x}",
        record.references,
        record.state,
        record.taints or None,
        ", ".join(record.used_by) or None,
    ),
    "no module is loaded",
)
modules = listing(
    "modules", "List the modules loaded into the kernel of TARGET.", MODULES, lambda vm: vm.modules()
)

LSM = View(
    SecurityModuleRecord,
    ("LSM", "ID", "LISTED", "HOOKS", "STATE"),
    lambda record: (record.name, record.id, record.listed, record.hooks, record.state),
    "no security module decides",
)
lsm = listing(
    "lsm",
    "List the security modules of the kernel of TARGET, in the order in which they are asked.",
    LSM,
    lambda vm: vm.lsm(),
)

HOOKS = View(
    KernelHookRecord,
    ("KIND", "ADDRESS", "FUNCTION", "STATE", "USERS", "MISSED", "CALLS"),
    lambda record: (
        record.kind,
        f"{record.address:016x}",
        record.function and f"{record.function}+{record.offset:#x}",
        " ".join(record.state) or None,
        record.users,
        record.missed,
        ", ".join(record.handlers) or None,
    ),
    "nothing hooks the kernel's functions by kprobes or ftrace",
)
hooks = listing(
    "hooks",
    "List the kprobes, kretprobes and functions hooked by ftrace in the kernel of TARGET.",
    HOOKS,
    lambda vm: vm.hooks(),
)
