"""Cgroups, and what containers are made of them and of namespaces. Pure data."""

from __future__ import annotations

import msgspec


class CgroupRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One cgroup of the unified hierarchy, as its folder in /sys/fs/cgroup has it.

    What a controller says is None where the controller is not enabled, and for the root, which has no such files.
    """

    path: str
    """As in /proc/PID/cgroup: / for the root."""
    id: int
    """Inode number of its folder, as events and `bpf_get_current_cgroup_id` have it."""
    container_id: str | None
    """Container that the path names, as docker, containerd, podman and LXC write it."""
    processes: int
    """Processes in it, those below left out; zombies are in none."""
    populated: bool
    """Whether a task lives in it or below."""
    descendants: int
    dying_descendants: int
    """Removed cgroups below that something (page cache, mostly) still keeps."""
    frozen: bool
    """Whether freezing was asked for (cgroup.freeze)."""
    controllers: list[str]
    """Enabled for it, as in cgroup.controllers."""
    subtree_control: list[str]
    """Enabled for its children."""
    pids_current: int | None
    pids_max: int | None
    """None also for no limit."""
    memory_current: int | None
    """Bytes, those below included."""
    memory_max: int | None
    """Bytes; None also for no limit."""
    cpu_quota_us: int | None
    """Microseconds of CPU in each period (cpu.max); None also for no limit."""
    cpu_period_us: int | None
    cgroup_struct: int
    """Address of its struct cgroup."""
