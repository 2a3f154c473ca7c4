"""A loaded module is on the list `modules`, in sysfs as a kobject, and in the tree by which addresses are looked up.

Reads all three and compares. lsmod shows the list alone, which is what a module that hides itself leaves first. A
hostile guest can take it off all of them: its code is then in no known module, which check.code finds.
Sources: kernel/module/main.c, kernel/module/sysfs.c, kernel/module/tree_lookup.c.
"""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np

from vmon.check.kinds import finding
from vmon.check.looks import settled
from vmon.core.address import Gva
from vmon.core.coverage import Gaps
from vmon.core.errors import GuestDataError
from vmon.core.records.finding import FindingRecord
from vmon.core.records.kernel import ModuleRecord
from vmon.kernel.profile import Wants
from vmon.linux import module, rbtree
from vmon.linux.kernel import Kernel
from vmon.linux.task import walk_list

WANTS = (
    module.WANTS
    | rbtree.WANTS
    | Wants(
        symbols=("module_kset", "mod_tree"),
        structs={
            "kset": "list",
            "kobject": "entry",
            "module_kobject": "kobj mod",
            "mod_tree_root": "root",
            "latch_tree_root": "tree",
            "mod_tree_node": "mod node",
        },
    )
)
LIST, SYSFS, TREE = "list of modules", "kobjects of sysfs", "tree of addresses"


def find_everywhere(kernel: Kernel, gaps: Gaps) -> dict[str, set[int]]:
    """Addresses of struct modules, by the view that has them. A view that can't be read is left out, and told."""
    found: dict[str, set[int]] = {}
    for view, find in ((LIST, _listed), (SYSFS, _in_sysfs), (TREE, _in_tree)):
        try:
            found[view] = find(kernel, gaps)
        except GuestDataError as error:
            gaps.add(view, "unreadable", error.message)
    return found


def _listed(kernel: Kernel, gaps: Gaps) -> set[int]:
    offset = kernel.offset("module", "list")
    head = kernel.symbol("modules")
    return {node - offset for node in walk_list(kernel, head, "module.list", module.MAX_MODULES)}


def _in_sysfs(kernel: Kernel, gaps: Gaps) -> set[int]:
    """Kobjects below /sys/module; those of built-in modules lead to no struct module."""
    kset = Gva(kernel.memory.u64(kernel.symbol("module_kset")))
    head = Gva(kset + kernel.offset("kset", "list"))
    nodes = np.array(walk_list(kernel, head, "kset.list", module.MAX_MODULES), dtype=np.uint64)
    inside = kernel.offset("kobject", "entry") + kernel.offset("module_kobject", "kobj")
    modules = kernel.read("module_kobject", "mod", nodes - np.uint64(inside))["mod"]
    return {gva for gva in modules.tolist() if gva}


def _in_tree(kernel: Kernel, gaps: Gaps) -> set[int]:
    root = Gva(
        kernel.symbol("mod_tree")
        + kernel.offset("mod_tree_root", "root")
        + kernel.offset("latch_tree_root", "tree")
    )
    nodes = np.array(rbtree.walk_tree(kernel, root, TREE, gaps, 8 * module.MAX_MODULES), dtype=np.uint64)
    offset = np.uint64(kernel.offset("mod_tree_node", "node"))
    return {gva for gva in kernel.read("mod_tree_node", "mod", nodes - offset)["mod"].tolist() if gva}


def check_modules(kernel: Kernel, gaps: Gaps) -> list[FindingRecord]:
    """Modules that some views have and others lack. About a millisecond."""
    return settled(lambda seen: _look(kernel, seen), gaps)


def _look(kernel: Kernel, gaps: Gaps) -> dict[Hashable, FindingRecord]:
    views = find_everywhere(kernel, gaps)
    listed = views.get(LIST, set())
    found: dict[Hashable, FindingRecord] = {}
    for gva in sorted(set().union(*views.values())):
        lacking = [view for view, modules in views.items() if gva not in modules]
        if not lacking:
            continue
        record = module.read_module(kernel, Gva(gva), Gaps())
        if record.state != "Live" and gva in listed:
            continue  # it is being loaded, or goes
        kind = "module.hidden" if LIST in lacking else "module.unlisted"
        found[kind, gva] = finding(kind, record.name, _evidence(record, views), address=gva)
    return found


def _evidence(record: ModuleRecord, views: dict[str, set[int]]) -> list[str]:
    where = [
        f"{'on' if record.module_struct in modules else 'NOT on'}: {view}" for view, modules in views.items()
    ]
    return [
        f"struct module at {record.module_struct:#x}, code at {record.address:#x}, {record.size} bytes",
        *where,
    ]
