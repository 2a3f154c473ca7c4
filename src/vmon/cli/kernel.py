"""`vmon modules`, `vmon lsm`: what is in a guest's kernel. Reads the guest, changes nothing."""

from __future__ import annotations

from vmon.cli.listing import listing
from vmon.cli.output import View
from vmon.core.records.kernel import ModuleRecord, SecurityModuleRecord

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
