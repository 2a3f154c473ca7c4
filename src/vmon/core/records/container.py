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


class ContainerRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One container: processes that a cgroup's path, or namespaces of their own, show to belong together."""

    id: str
    """As the engine writes it into the cgroup's path; pid:[N], the pid namespace, where no path tells."""
    kind: str
    """cgroup: a path names it; namespaces: none does, but it has pid and mount namespaces of its own."""
    engine: str | None
    """docker, containerd, cri-o, podman, lxc, systemd-nspawn, as the path tells; None where it does not."""
    name: str | None
    """Where the path has one: LXC, systemd-nspawn. Names of other engines are not in the kernel."""
    pod: str | None
    """Uid of its Kubernetes pod."""
    hostname: str | None
    """Of its first process."""
    pids: list[int]
    """Its processes, oldest first; also those in its pid and mount namespaces whose cgroup is another (nsenter)."""
    init_pid: int | None
    """The process that is pid 1 inside; None where it has no pid namespace of its own. What follows is of this one, or
    of the oldest."""
    key: str
    process: str
    """Name of that process."""
    uid: int | None
    start_boottime_ns: int
    """Nanoseconds since the guest booted."""
    start_time: float | None
    """Seconds since the epoch, by the guest's clock."""
    root: str | None
    """Its root directory, as a path in its mount namespace's tree: / after pivot_root."""
    root_filesystem: str | None
    """Type of file system of that: overlay, ext4..."""
    cgroup_path: str | None
    """The container's own cgroup where the path names it, else that of the process."""
    pid_namespace: int | None
    mnt_namespace: int | None
    net_namespace: int | None
    user_namespace: int | None
    uts_namespace: int | None
    ipc_namespace: int | None
    cgroup_namespace: int | None
    host_namespaces: list[str]
    """Which of them are those of the guest's first process: net for docker run --network=host."""
