"""A task sees the system through namespaces: nsproxy holds most, its struct pid and its cred hold the others.

Reads nsproxy, pid, and the inode number of each namespace. A hostile guest can lie in the level of a pid: bounded.
Sources: include/linux/nsproxy.h, include/linux/pid.h, include/linux/ns_common.h.
"""

from __future__ import annotations

import numpy as np

from vmon.kernel.columns import Column
from vmon.kernel.profile import Wants
from vmon.linux.kernel import Kernel, distinct

# nsproxy field -> structure that it points to.
PROXIED = {
    "uts_ns": "uts_namespace",
    "ipc_ns": "ipc_namespace",
    "mnt_ns": "mnt_namespace",
    "net_ns": "net",
    "cgroup_ns": "cgroup_namespace",
}
INUM_BYTES = 4
MAX_PID_LEVEL = 32
# pid.numbers became a flexible array in 6.6 (b69f0aeb0689): its stride is sizeof(struct upid).
WANTS = Wants(
    structs={
        "nsproxy": " ".join(PROXIED),
        **dict.fromkeys(PROXIED.values(), "ns.inum"),
        "pid_namespace": "ns.inum",
        "user_namespace": "ns.inum",
        "pid": "level numbers",
        "upid": "nr ns",
    }
)


def _inums(kernel: Kernel, struct: str, gvas: Column) -> list[int | None]:
    unique, which = distinct(gvas)
    numbers = kernel.read(struct, "ns.inum", unique)["ns.inum"].tolist()
    return [numbers[index] if index >= 0 else None for index in which.tolist()]


def read_namespaces(kernel: Kernel, nsproxies: Column) -> dict[str, list[int | None]]:
    """Inode number of each namespace of each task; None for a task that has left them (zombie)."""
    unique, which = distinct(nsproxies)
    columns = kernel.read("nsproxy", " ".join(PROXIED), unique)
    pointers = np.stack([columns[field] for field in PROXIED])
    offsets = np.array([[kernel.offset(struct, "ns.inum")] for struct in PROXIED.values()], dtype=np.uint64)
    # One gather for all kinds: each costs as much as a hundred rows.
    numbers = kernel.memory.gather((pointers + offsets).reshape(-1), INUM_BYTES).view("<u4")
    result: dict[str, list[int | None]] = {}
    for field, row, there in zip(PROXIED, numbers.reshape(pointers.shape), pointers != 0, strict=True):
        known = [number if held else None for number, held in zip(row.tolist(), there.tolist(), strict=True)]
        result[field] = [known[index] if index >= 0 else None for index in which.tolist()]
    return result


def read_user_namespaces(kernel: Kernel, user_namespaces: Column) -> list[int | None]:
    """Inode number of each user namespace."""
    return _inums(kernel, "user_namespace", user_namespaces)


def read_pid_namespaces(kernel: Kernel, pids: Column) -> tuple[list[int | None], list[list[int]]]:
    """For each struct pid: inode number of its innermost namespace, and its number in every one, outermost first.

    None and [] for a null pointer and for a pid of an impossible level.
    """
    levels = kernel.read("pid", "level", pids)["level"]
    stride = kernel.profile["upid"].size
    base = kernel.offset("pid", "numbers")
    # A pid freed under us, or a lie, says nothing of the other processes.
    sane = (pids != 0) & (levels <= MAX_PID_LEVEL)
    deepest = int(levels[sane].max(initial=0))
    numbers: list[list[int]] = [[] for _ in range(len(pids))]
    innermost = np.zeros(len(pids), dtype=np.uint64)
    for level in range(deepest + 1):
        rows = np.flatnonzero((levels >= level) & sane)
        entries = kernel.read("upid", "nr ns", pids[rows] + np.uint64(base + level * stride))
        innermost[rows] = entries["ns"]
        for row, number in zip(rows.tolist(), entries["nr"].tolist(), strict=True):
            numbers[row].append(number)
    return _inums(kernel, "pid_namespace", innermost), numbers


def read_pid_numbers(kernel: Kernel, pids: Column) -> list[int]:
    """Number of each struct pid in the first namespace; 0 for a null pointer."""
    entries = kernel.read("upid", "nr", pids + np.uint64(kernel.offset("pid", "numbers")))
    numbers: list[int] = np.where(pids != 0, entries["nr"], 0).tolist()
    return numbers
