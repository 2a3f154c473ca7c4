"""Every cgroup hangs on its parent's list of children, the topmost is cgrp_dfl_root; controllers have a part in each.

Reads cgroup, cgroup_subsys_state, kernfs_node, and of the controllers mem_cgroup, pids_cgroup, task_group. A hostile
guest can bend the lists: they are bounded in number and depth, and no cgroup is met twice. A cgroup that is made or
removed meanwhile is there or is not; numbers are those of the moment.
Sources: include/linux/cgroup-defs.h, kernel/cgroup/{cgroup,pids}.c, mm/memcontrol.c, kernel/sched/core.c.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vmon.core.address import PAGE_SIZE_BYTES, Gva
from vmon.core.coverage import Gaps
from vmon.core.errors import GuestDataError
from vmon.core.records.container import CgroupRecord
from vmon.core.text import guest_text
from vmon.kernel.columns import Column, Columns
from vmon.kernel.profile import Wants
from vmon.linux.cgroup import MAX_DEPTH, MAX_NAME_BYTES, container_id
from vmon.linux.kernel import Kernel, read_strings
from vmon.linux.task import walk_list

MAX_CGROUPS = 200_000
MAX_SUBSYSTEMS = 32
MAX_SUBSYSTEM_NAME_BYTES = 32
MAX_HIERARCHIES = 1000
# nr_populated_csets moved into cgroup.self between 6.18 and 7.2.
CGROUP_FIELDS = (
    "kn root dom_cgrp self.flags nr_descendants nr_dying_descendants self.nr_populated_csets|nr_populated_csets "
    "nr_populated_domain_children nr_populated_threaded_children subtree_control subsys freezer.freeze"
)
CGROUP_COLUMNS = " ".join(word.split("|")[0] for word in CGROUP_FIELDS.split())
MASKS = ("cgrp_dfl_inhibit_ss_mask", "cgrp_dfl_implicit_ss_mask", "cgrp_dfl_threaded_ss_mask")
WANTS = Wants(
    symbols=("cgrp_dfl_root", "cgroup_roots", "cgroup_subsys", *MASKS),
    structs={
        "cgroup_root": "cgrp subsys_mask root_list",
        "cgroup": "self self.children self.sibling " + CGROUP_FIELDS,
        "cgroup_subsys": "name",
        "kernfs_node": "name id",
        "css_set": "dfl_cgrp",
        "task_struct": "cgroups exit_state signal",
        "signal_struct": "nr_threads",
        "pids_cgroup": "css counter.counter limit.counter",
        "mem_cgroup": "css memory",
        "page_counter": "usage.counter max",
        "task_group": "css cfs_bandwidth.quota cfs_bandwidth.period",
    },
)
CSS_ONLINE = 2
PIDS_UNLIMITED = (4 << 20) + 1
PAGES_UNLIMITED = (1 << 63) // PAGE_SIZE_BYTES - 1
QUOTA_UNLIMITED = (1 << 64) - 1
NS_PER_US = 1000


def read_cgroup_tree(kernel: Kernel, tasks: Column, gaps: Gaps) -> list[CgroupRecord]:
    """Every cgroup of the unified hierarchy, each before its children. `tasks` are counted in them."""
    cgroups, parents = _find(kernel, gaps)
    columns = kernel.read("cgroup", CGROUP_COLUMNS, cgroups)
    nodes = kernel.read("kernfs_node", "name id", columns["kn"])
    names = read_strings(kernel, nodes["name"], MAX_NAME_BYTES)
    paths = _paths(names, parents)
    subsystems = _subsystem_names(kernel)
    enabled = _enabled(kernel, columns, cgroups, parents)
    numbers = _Controllers(kernel, columns, subsystems, enabled, gaps)
    counts = _count(kernel, tasks)
    populated = (
        columns["self.nr_populated_csets"]
        + columns["nr_populated_domain_children"]
        + columns["nr_populated_threaded_children"]
    ) != 0
    # A removed cgroup keeps its place until nothing needs it any more: it has no folder.
    online = (columns["self.flags"] & np.uint64(CSS_ONLINE)) != 0
    unnamed = sum(name is None for name, there in zip(names, online.tolist(), strict=True) if there)
    if unnamed:
        gaps.add("path", "unreadable", count=unnamed)
    tell_old_hierarchies(kernel, gaps)
    masks, below = enabled.tolist(), columns["subtree_control"].tolist()
    frozen = columns["freezer.freeze"].tolist() if "freezer.freeze" in columns else [0] * len(cgroups)
    plain = [columns[name].tolist() for name in ("nr_descendants", "nr_dying_descendants")]
    records = [
        CgroupRecord(
            path=paths[row],
            id=int(nodes["id"][row]),
            container_id=container_id(paths[row]),
            processes=counts.get(cgroup, 0),
            populated=bool(populated[row]),
            descendants=plain[0][row],
            dying_descendants=plain[1][row],
            frozen=bool(frozen[row]),
            controllers=_names(masks[row], subsystems),
            subtree_control=_names(below[row], subsystems),
            **numbers.of(row),
            cgroup_struct=cgroup,
        )
        for row, cgroup in enumerate(cgroups.tolist())
        if online[row]
    ]
    return [records[at] for at in _order(records)]


def _find(kernel: Kernel, gaps: Gaps) -> tuple[Column, list[int]]:
    """Addresses of all cgroups, a level after another, and the row of each one's parent (-1 for the topmost)."""
    offset = kernel.offset("cgroup_root", "cgrp")
    children, sibling = kernel.offset("cgroup", "self.children"), kernel.offset("cgroup", "self.sibling")
    found, parents = [kernel.symbol("cgrp_dfl_root") + offset], [-1]
    levels, seen = [0], set(found)
    for row, cgroup in enumerate(found):  # which grows
        if levels[row] >= MAX_DEPTH:
            gaps.add("cgroups", "bounded", f"deeper than {MAX_DEPTH}")
            continue
        try:
            nodes = walk_list(
                kernel, Gva(cgroup + children), "cgroup.self.children", MAX_CGROUPS - len(found)
            )
        except GuestDataError as error:
            gaps.add("cgroups", "unreadable", error.message)
            continue
        fresh = [int(node) - sibling for node in nodes if node - sibling not in seen]
        if len(fresh) < len(nodes):
            gaps.add("cgroups", "unreadable", "a cgroup that is its own ancestor", len(nodes) - len(fresh))
        seen.update(fresh)
        found += fresh
        parents += [row] * len(fresh)
        levels += [levels[row] + 1] * len(fresh)
    return np.array(found, dtype=np.uint64), parents


def _paths(names: list[bytes | None], parents: list[int]) -> list[str]:
    paths = ["/"]
    for name, parent in zip(names[1:], parents[1:], strict=True):
        above = paths[parent]
        paths.append(("" if above == "/" else above) + "/" + guest_text(name if name is not None else b"?"))
    return paths


def _order(records: list[CgroupRecord]) -> list[int]:
    """Each before its children, siblings in the order in which they were made."""
    below: dict[str, list[int]] = {}
    for row, record in enumerate(records[1:], 1):
        below.setdefault(record.path.rpartition("/")[0] or "/", []).append(row)
    order: list[int] = []
    pending = [0] if records else []
    while pending:
        row = pending.pop()
        order.append(row)
        # Two cgroups of one path are a lie of the guest; the second has no children then.
        pending += reversed(below.pop(records[row].path, []))
    return order


def _subsystem_names(kernel: Kernel) -> list[str]:
    """Names of the controllers by their number."""
    symbol = kernel.symbol("cgroup_subsys")
    size = kernel.profile["cgroup"]["subsys"].size // 8
    count = min(size, MAX_SUBSYSTEMS)
    pointers = np.frombuffer(kernel.memory.read(symbol, 8 * count), dtype="<u8").astype(np.uint64)
    names = kernel.read("cgroup_subsys", "name", pointers)["name"]
    texts = read_strings(kernel, names, MAX_SUBSYSTEM_NAME_BYTES)
    return [guest_text(text) if text is not None else str(number) for number, text in enumerate(texts)]


def _names(mask: int, subsystems: list[str]) -> list[str]:
    return [name for number, name in enumerate(subsystems) if mask >> number & 1]


def _enabled(kernel: Kernel, columns: Columns, cgroups: Column, parents: list[int]) -> Column:
    """Mask of the controllers that each cgroup may use. Source: cgroup_control()."""
    root = kernel.read_one("cgroup_root", "subsys_mask", kernel.symbol("cgrp_dfl_root"))
    inhibit, implicit, threaded = (_mask(kernel, name) for name in MASKS)
    result: Column = columns["subtree_control"][np.array(parents)]
    result[0] = root["subsys_mask"][0] & ~np.uint64(inhibit | implicit)
    in_thread_mode = columns["dom_cgrp"] != cgroups
    result[in_thread_mode] &= np.uint64(threaded)
    return result


def _mask(kernel: Kernel, symbol: str) -> int:
    """A mask of controllers: 16 bits, 32 in 7.2, as subtree_control."""
    size = kernel.profile["cgroup"]["subtree_control"].size
    if not kernel.has_symbol(symbol):
        return 0
    return int.from_bytes(kernel.memory.read(kernel.symbol(symbol), size), "little")


def _count(kernel: Kernel, tasks: Column) -> dict[int, int]:
    """Processes by the address of their cgroup. A zombie is in none, unless threads of it live on."""
    columns = kernel.read("task_struct", "cgroups exit_state signal", tasks)
    threads = kernel.read("signal_struct", "nr_threads", columns["signal"])["nr_threads"]
    living = (columns["exit_state"] == 0) | (threads > 1)
    groups = kernel.read("css_set", "dfl_cgrp", columns["cgroups"][living])["dfl_cgrp"]
    found, counts = np.unique(groups, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


class _Controllers:
    """What pids, memory and cpu say of each cgroup where they are enabled."""

    def __init__(
        self, kernel: Kernel, columns: Columns, subsystems: list[str], enabled: Column, gaps: Gaps
    ) -> None:
        self._columns, self._subsystems, self._enabled = columns, subsystems, enabled
        self._kernel, self._gaps = kernel, gaps
        pids, rows = self._read("pids", "pids_cgroup", "counter.counter limit.counter")
        self._values: dict[str, dict[int, int]] = {}
        if pids is not None:
            self._keep("pids_current", rows, pids.signed("counter.counter"))
            self._keep("pids_max", rows, pids["limit.counter"], PIDS_UNLIMITED)
        memory, rows = self._read("memory", "mem_cgroup", "memory")
        if memory is not None:
            places = memory.address(self._places, "memory")
            pages = kernel.read("page_counter", "usage.counter max", places)
            self._keep("memory_current", rows, pages.signed("usage.counter") * PAGE_SIZE_BYTES)
            limits = pages["max"]
            self._keep(
                "memory_max",
                rows[limits < np.uint64(PAGES_UNLIMITED)],
                limits[limits < np.uint64(PAGES_UNLIMITED)] * np.uint64(PAGE_SIZE_BYTES),
            )
        cpu, rows = self._read("cpu", "task_group", "cfs_bandwidth.quota cfs_bandwidth.period")
        if cpu is not None:
            limited = cpu["cfs_bandwidth.quota"] != np.uint64(QUOTA_UNLIMITED)
            quota = cpu["cfs_bandwidth.quota"][limited] // np.uint64(NS_PER_US)
            self._keep("cpu_quota_us", rows[limited], quota)
            self._keep("cpu_period_us", rows, cpu["cfs_bandwidth.period"] // np.uint64(NS_PER_US))

    def _read(self, controller: str, struct: str, fields: str) -> tuple[Columns | None, NDArray[np.int64]]:
        """That controller's part of the cgroups, the root's left out, in which it is enabled."""
        none = np.zeros(0, dtype=np.int64)
        if controller not in self._subsystems:
            return None, none
        profile, number = self._kernel.profile, self._subsystems.index(controller)
        if not all(profile.has(struct, field) for field in ["css", *fields.split()]):
            self._gaps.add(controller, "not on this kernel", f"no {struct}")
            return None, none
        rows = np.flatnonzero((self._enabled >> np.uint64(number)) & np.uint64(1))
        states = self._columns.words("subsys", number + 1)[:, number]
        rows = rows[(rows > 0) & (states[rows] != 0)]
        self._places = states[rows] - np.uint64(self._kernel.offset(struct, "css"))
        return self._kernel.read(struct, fields, self._places), rows

    def _keep(
        self, field: str, rows: NDArray[np.int64], values: NDArray[np.generic], unlimited: int = -1
    ) -> None:
        pairs = zip(rows.tolist(), values.tolist(), strict=True)
        self._values[field] = {row: value for row, value in pairs if value != unlimited}

    def of(self, row: int) -> dict[str, int | None]:
        """Those fields of a record."""
        names = (
            "pids_current", "pids_max", "memory_current", "memory_max", "cpu_quota_us", "cpu_period_us",
        )  # fmt: skip
        return {name: self._values.get(name, {}).get(row) for name in names}


def tell_old_hierarchies(kernel: Kernel, gaps: Gaps) -> None:
    """Cgroups of version 1 are trees of their own, beside this one."""
    try:
        roots = walk_list(kernel, kernel.symbol("cgroup_roots"), "cgroup_roots", MAX_HIERARCHIES)
    except GuestDataError as error:
        gaps.add("cgroups", "unreadable", error.message)
        return
    others = len(roots) - 1
    if others > 0:
        gaps.add("cgroups", "not looked for", "in hierarchies of version 1", others)
