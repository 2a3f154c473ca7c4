"""The probe's configuration: where this kernel keeps each field, and what each entry of the code is for.

Pure: a profile in, bytes out. A field that this kernel lacks is marked so, and the probe does without it.
"""

from __future__ import annotations

import struct

from vmon.kernel.profile import KernelProfile, Wants
from vmon.linux.kernel import Kernel
from vmon.probe.abi import Abi

MAGIC = 0x6562_6F72_706E_6D76
"""VMON_MAGIC."""
NO_FIELD = 0xFFFF_FFFF
GFP = 0x20 | 0x100 | 0x800 | 0x2000
"""__GFP_HIGH, __GFP_ZERO, __GFP_KSWAPD_RECLAIM, __GFP_NOWARN: never waits. Source: include/linux/gfp_types.h."""
DEAD_AFTER_NS = 1_000_000_000
"""A host that answers asks and has not been heard of for so long is dead."""
SPIN_NS = 100_000
"""A call waits for its answer for so long before it sleeps."""

# A member of struct vmon_offsets, and the field of the kernel that it is for.
FIELDS = {
    "task_pid": ("task_struct", "pid"),
    "task_tgid": ("task_struct", "tgid"),
    "task_parent": ("task_struct", "real_parent"),
    "task_leader": ("task_struct", "group_leader"),
    "task_start": ("task_struct", "start_boottime|real_start_time"),
    "task_comm": ("task_struct", "comm"),
    "task_cred": ("task_struct", "cred"),
    "task_mm": ("task_struct", "mm"),
    "task_cpu": ("task_struct", "thread_info.cpu|cpu"),
    "task_exit_code": ("task_struct", "exit_code"),
    "task_cgroups": ("task_struct", "cgroups"),
    "cred_uid": ("cred", "uid"),
    "cred_euid": ("cred", "euid"),
    "cred_gid": ("cred", "gid"),
    "mm_arg_start": ("mm_struct", "arg_start"),
    "mm_arg_end": ("mm_struct", "arg_end"),
    "mm_exe_file": ("mm_struct", "exe_file"),
    "file_mnt": ("file", "f_path.mnt|__f_path.mnt"),
    "file_dentry": ("file", "f_path.dentry|__f_path.dentry"),
    "file_flags": ("file", "f_flags"),
    "file_mode": ("file", "f_mode"),
    "path_mnt": ("path", "mnt"),
    "path_dentry": ("path", "dentry"),
    "dentry_parent": ("dentry", "d_parent"),
    "dentry_name": ("dentry", "d_name.name"),
    "dentry_name_len": ("dentry", "d_name.len"),
    "vfsmount_root": ("vfsmount", "mnt_root"),
    "mount_mnt": ("mount", "mnt"),
    "mount_parent": ("mount", "mnt_parent"),
    "mount_mountpoint": ("mount", "mnt_mountpoint"),
    "bprm_file": ("linux_binprm", "file"),
    "socket_sk": ("socket", "sk"),
    "socket_type": ("socket", "type"),
    "sk_family": ("sock", "__sk_common.skc_family"),
    "sk_protocol": ("sock", "sk_protocol"),
    "sk_num": ("sock", "__sk_common.skc_num"),
    "sk_rcv_saddr": ("sock", "__sk_common.skc_rcv_saddr"),
    "sk_v6_rcv_saddr": ("sock", "__sk_common.skc_v6_rcv_saddr"),
    "css_set_cgroup": ("css_set", "dfl_cgrp"),
    "cgroup_kn": ("cgroup", "kn"),
    "kn_id": ("kernfs_node", "id"),
    # Renamed in 6.15 (741c10b096bc).
    "kn_parent": ("kernfs_node", "__parent|parent"),
}
OPTIONAL = {"task_cgroups", "css_set_cgroup", "cgroup_kn", "kn_id", "kn_parent", "sk_v6_rcv_saddr"}

# A kernel function that the probe calls, and its spellings, newest first.
KERNEL_FUNCTIONS = {
    "CLOCK": ("ktime_get_boot_fast_ns",),
    "FIND_PID": ("find_pid_ns",),
    "PID_TASK": ("pid_task",),
    "KILL_PID": ("kill_pid",),
    "SEND_SIG": ("send_sig",),
    # Renamed in 6.10 (b951aaff5035).
    "GET_PAGES": ("get_free_pages_noprof", "__get_free_pages"),
    "COPY_USER": ("copy_from_user_nofault",),
    # Took a third argument and this name in 5.17 (e4779015fd5d); the probe hands over three to either.
    "SLEEP": ("usleep_range_state", "usleep_range"),
}

WANTS = Wants(
    symbols=(
        *("current_task", "__preempt_count", "pcpu_hot", "init_pid_ns"),
        *(spelling for spellings in KERNEL_FUNCTIONS.values() for spelling in spellings),
    ),
    structs={
        "pcpu_hot": "current_task preempt_count",
        **{
            kind: " ".join(dict.fromkeys(field for owner, field in FIELDS.values() if owner == kind))
            for kind, _ in FIELDS.values()
        },
    },
    enums=("pid_type", "kernel_read_file_id", "kernel_load_data_id", "bpf_cmd"),
)


def missing_fields(profile: KernelProfile) -> list[str]:
    """Fields that the probe can't do without and this kernel lacks."""
    return [
        f"{owner}.{field.split('|')[0]}"
        for name, (owner, field) in FIELDS.items()
        if name not in OPTIONAL and not profile.has(owner, field.split("|")[0])
    ]


def per_cpu(kernel: Kernel, hot: str, own: str) -> int:
    """What the base of GS is added to, to reach a variable of each CPU.

    A member of pcpu_hot from 6.2 to 6.14 (e57ef2ed97c1), a variable of its own before and after.
    """
    profile = kernel.profile
    if "pcpu_hot" in profile.absolute or "pcpu_hot" in profile.symbols:
        return kernel.percpu("pcpu_hot") + profile["pcpu_hot"].offset(hot)
    return kernel.percpu(own)


def offsets(profile: KernelProfile) -> dict[str, int]:
    """Members of struct vmon_offsets."""
    return {
        name: profile[owner].offset(field.split("|")[0])
        if profile.has(owner, field.split("|")[0])
        else NO_FIELD
        for name, (owner, field) in FIELDS.items()
    }


def encode(abi: Abi, struct_name: str, values: dict[str, int], into: bytearray | None = None) -> bytearray:
    """A structure of the ABI as bytes; members by dotted name, the others zero or as they were."""
    data = bytearray(abi.size(struct_name)) if into is None else into
    for name, value in values.items():
        offset, size = abi.member(struct_name, name)
        data[offset : offset + size] = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")
    return data


def encode_hook(abi: Abi, kind: int, shape: int, only: int) -> bytes:
    """One struct vmon_hook."""
    return struct.pack("<HHI", kind, shape, only).ljust(abi.size("hook"), b"\0")
