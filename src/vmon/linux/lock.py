"""Every lock on a file hangs on its CPU's list file_lock_list; who waits for one hangs on it, as a tree.

Reads file_lock, file, and through the other modules paths and inodes. A hostile guest can bend the lists: they are
bounded in all, and no lock is met twice. A lock that is taken or given back meanwhile is there, or not; one that was
freed and used again shows its new owner's.
Sources: include/linux/filelock.h, fs/locks.c.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from vmon.core.address import Gva
from vmon.core.coverage import Gaps
from vmon.core.errors import BadStructure, GuestDataError
from vmon.core.records.filesystem import LockRecord
from vmon.core.text import guest_text
from vmon.kernel.columns import Column
from vmon.kernel.profile import Wants
from vmon.linux.dentry import Paths
from vmon.linux.fdtable import read_fds
from vmon.linux.inode import read_inodes
from vmon.linux.kernel import Kernel
from vmon.linux.mm import read_percpu_offsets
from vmon.linux.task import walk_list

MAX_LOCKS = 200_000
MAX_CHAIN = 100
"""How far upwards those who wait are counted."""
# Locks and leases share a file_lock_core since 6.9 (a69ce85ec9af), and leases became a type of their own.
CORE_FIELDS = "blocker flags type pid file"
LOCK_FIELDS = " ".join(f"c.flc_{name}|fl_{name}" for name in CORE_FIELDS.split()) + " fl_start fl_end"
LOCK_COLUMNS = " ".join(word.split("|")[0] for word in LOCK_FIELDS.split())
LINK, REQUESTS, MEMBER = "c.flc_link", "c.flc_blocked_requests", "c.flc_blocked_member"
WANTS = Wants(
    symbols=("file_lock_list", "__per_cpu_offset", "nr_cpu_ids"),
    structs={
        "file_lock": f"{LINK}|fl_link {REQUESTS}|fl_blocked_requests {MEMBER}|fl_blocked_member "
        + LOCK_FIELDS,
        "file_lock_list_struct": "hlist.first",
        "file": "f_path.mnt|__f_path.mnt f_path.dentry|__f_path.dentry f_inode",
        "hlist_node": "next",
        "task_struct": "files",
    },
)
FL_POSIX, FL_FLOCK, FL_DELEG, FL_ACCESS, FL_LEASE = 1, 2, 4, 8, 32
FL_DOWNGRADE_PENDING, FL_UNLOCK_PENDING, FL_OFDLCK = 256, 512, 1024
MODES = {0: "READ", 1: "WRITE", 2: "UNLCK"}
OFFSET_MAX = (1 << 63) - 1


def read_locks(
    kernel: Kernel, names: dict[int, bytes], openers: dict[int, list[int]], gaps: Gaps
) -> list[LockRecord]:
    """Every lock in the order of /proc/locks, those who wait behind what they wait for.

    `names` are those of the processes by pid, `openers` the pids that have a file open by its address.
    """
    found = find_locks(kernel, gaps)
    locks = np.array([lock for lock, _ in found], dtype=np.uint64)
    columns = kernel.read("file_lock", LOCK_COLUMNS, locks)
    at = {lock: row for row, (lock, _) in enumerate(found)}
    # Who waits for a lease waits in open(2), and has no file yet.
    blockers = [at[blocker] if blocker else row for row, (_, blocker) in enumerate(found)]
    files = columns["c.flc_file"]
    files = np.where(files != 0, files, files[np.array(blockers, dtype=np.int64)])
    opened = kernel.read("file", "f_path.mnt f_path.dentry f_inode", files)
    inodes = read_inodes(kernel, opened["f_inode"])
    paths = Paths(kernel)
    mounts, dentries = opened["f_path.mnt"], opened["f_path.dentry"]
    paths.load(mounts, dentries)
    flags, types = columns["c.flc_flags"].tolist(), columns["c.flc_type"].tolist()
    numbers = columns.signed("c.flc_pid").tolist()
    pids = [None if bits & FL_OFDLCK else number for bits, number in zip(flags, numbers, strict=True)]
    file_list = files.tolist()
    waiters: list[list[int]] = [[] for _ in found]
    for row, (_, blocker) in enumerate(found):
        pid = pids[row]
        who = openers.get(file_list[row], []) if pid is None else [pid]
        for _ in range(MAX_CHAIN):
            if not blocker:
                break
            waiters[at[blocker]] += who
            blocker = found[at[blocker]][1]
    starts, ends = columns.signed("fl_start").tolist(), columns.signed("fl_end").tolist()
    result = []
    rows = zip(found, file_list, mounts.tolist(), dentries.tolist(), strict=True)
    for row, ((lock, blocker), file, mount, dentry) in enumerate(rows):
        path, pid, bits = paths.resolve(mount, dentry), pids[row], flags[row]
        if path is None:
            gaps.add("path", "unreadable")
        ranged = bool(bits & FL_POSIX)
        result.append(
            LockRecord(
                type=_type(bits),
                mode=_mode(bits, types[row]),
                state=_state(bits, blocker),
                pid=pid,
                process=guest_text(names[pid]) if pid in names else None,
                holders=openers.get(file, []) if columns["c.flc_file"][row] else [],
                waits_for=pids[at[blocker]] if blocker else None,
                waits_for_lock=blocker or None,
                waiters=waiters[row],
                device=inodes.devices[row],
                inode=inodes.numbers[row],
                path=guest_text(path.text) if path else None,
                deleted=path.deleted if path else False,
                start=starts[row] if ranged else 0,
                end=ends[row] if ranged and ends[row] != OFFSET_MAX else None,
                lock_struct=lock,
            )
        )
    return result


def read_openers(kernel: Kernel, tasks: Column, pids: Sequence[int]) -> dict[int, list[int]]:
    """Which of these processes have each file open, by its address."""
    fds = read_fds(kernel, kernel.read("task_struct", "files", tasks)["files"])
    found: dict[int, list[int]] = {}
    for file, owner in zip(fds.file.tolist(), fds.owner.tolist(), strict=True):
        known = found.setdefault(file, [])
        if not known or known[-1] != pids[owner]:
            known.append(pids[owner])
    return found


def find_locks(kernel: Kernel, gaps: Gaps) -> list[tuple[int, int]]:
    """Address of each lock, and of the one that it waits for (0 for none)."""
    offset, requests, member = (kernel.offset("file_lock", name) for name in (LINK, REQUESTS, MEMBER))
    found: dict[int, int] = {}

    def keep(locks: Iterable[int], blocker: int) -> None:
        """These, each followed by all who wait for it."""
        pending = [(lock, blocker) for lock in locks][::-1]
        while pending:
            lock, before = pending.pop()
            if lock in found or len(found) >= MAX_LOCKS:
                raise BadStructure(
                    "a lock that is met twice, or too many",
                    field="file_lock.fl_blocked_requests",
                    address=lock,
                )
            found[lock] = before
            head = Gva(lock + requests)
            below = walk_list(kernel, head, "file_lock.fl_blocked_requests", MAX_LOCKS)
            pending += [(node - member, lock) for node in reversed(below)]

    base = kernel.percpu("file_lock_list") + kernel.offset("file_lock_list_struct", "hlist.first")
    for percpu in read_percpu_offsets(kernel):
        try:
            keep((node - offset for node in _walk_hlist(kernel, (base + percpu) & (1 << 64) - 1)), 0)
        except GuestDataError as error:
            gaps.add("locks", "unreadable", error.message)
    return list(found.items())


def _walk_hlist(kernel: Kernel, first: int) -> list[int]:
    """The nodes of a list that ends in a null pointer. BadStructure where it does not."""
    offset = kernel.offset("hlist_node", "next")
    seen: dict[int, None] = {}
    at = kernel.memory.u64(Gva(first))
    while at:
        if at in seen or len(seen) >= MAX_LOCKS:
            raise BadStructure(
                "a list that runs into itself, or is too long", field="file_lock_list", address=at
            )
        seen[at] = None
        at = kernel.memory.u64(Gva(at + offset))
    return list(seen)


def _type(flags: int) -> str:
    if flags & FL_POSIX:
        return "ACCESS" if flags & FL_ACCESS else "OFDLCK" if flags & FL_OFDLCK else "POSIX"
    if flags & FL_FLOCK:
        return "FLOCK"
    if flags & FL_DELEG:
        return "DELEG"
    return "LEASE" if flags & FL_LEASE else f"flags {flags:#x}"


def _mode(flags: int, kind: int) -> str:
    if flags & FL_UNLOCK_PENDING:
        return "UNLCK"
    if flags & FL_DOWNGRADE_PENDING:
        return "READ"
    return MODES.get(kind, str(kind))


def _state(flags: int, blocker: int) -> str:
    if blocker:
        return "waiting"
    return "breaking" if flags & (FL_UNLOCK_PENDING | FL_DOWNGRADE_PENDING) else "held"
