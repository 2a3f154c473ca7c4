"""`vmon cgroups`, `vmon containers`: what a guest's processes are gathered in. Reads the guest, changes nothing."""

from __future__ import annotations

from vmon.cli.listing import listing
from vmon.cli.output import View, human_size
from vmon.cli.ps import started
from vmon.core.records.container import CgroupRecord, ContainerRecord


def of_limit(current: str | int | None, limit: str | int | None) -> str | None:
    """What is used of what is allowed: 3/100, 3/max."""
    if current is None:
        return None
    return f"{current}/{'max' if limit is None else limit}"


CGROUPS = View(
    CgroupRecord,
    ("PROCESSES", "PIDS", "MEMORY", "CPUS", "CONTROLLERS", "CGROUP"),
    lambda record: (
        record.processes,
        of_limit(record.pids_current, record.pids_max),
        of_limit(human_size(record.memory_current), human_size(record.memory_max)),
        f"{record.cpu_quota_us / record.cpu_period_us:.2f}"
        if record.cpu_quota_us is not None and record.cpu_period_us
        else None,
        " ".join(record.controllers) or None,
        record.path + (" (frozen)" if record.frozen else ""),
    ),
    "no cgroup",
)
cgroups = listing(
    "cgroups", "List the cgroups of TARGET with what is in them and what they may use.", CGROUPS,
    lambda vm: vm.cgroups(),
)  # fmt: skip
CONTAINERS = View(
    ContainerRecord,
    ("CONTAINER", "ENGINE", "NAME", "INIT", "PROCESS", "UID", "STARTED", "PROCESSES", "ROOT", "OF THE HOST"),
    lambda record: (
        record.id[:12] if record.kind == "cgroup" and record.name is None else record.id,
        record.engine,
        record.name or (record.hostname if "uts" not in record.host_namespaces else None),
        record.init_pid,
        record.process,
        record.uid,
        started(record.start_boottime_ns),
        len(record.pids),
        " ".join(filter(None, (record.root, record.root_filesystem))) or None,
        " ".join(record.host_namespaces) or None,
    ),
    "no container",
)
containers = listing(
    "containers", "List the containers of TARGET: by the paths of cgroups, or by namespaces.", CONTAINERS,
    lambda vm: vm.containers(),
)  # fmt: skip
