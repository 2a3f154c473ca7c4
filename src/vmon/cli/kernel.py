"""`vmon modules`: what is in a guest's kernel. Reads the guest, changes nothing."""

from __future__ import annotations

from vmon.cli.listing import listing
from vmon.cli.output import View
from vmon.core.records.kernel import ModuleRecord

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
