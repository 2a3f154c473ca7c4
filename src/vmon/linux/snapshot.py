"""A Snapshot is all processes at one moment, as columns; what is dear is read when first asked for, for all at once.

Reads everything that the other files here decode. A guest moves while it is read: each load compares identities
(pid, start time) after reading, and rows that ended or were reused meanwhile are dropped or answered with None.
A hostile guest gets bounded reads and typed errors from below; one bad process does not spoil the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, reduce
from operator import or_
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from vmon.core.address import PAGE_SIZE_BYTES, Gva
from vmon.core.coverage import GapRecord
from vmon.core.errors import GuestDataError, NoSuchProcess
from vmon.core.records.process import (
    EnvRecord,
    FileRecord,
    MapRecord,
    ProcessRecord,
    SocketRecord,
    ThreadRecord,
)
from vmon.core.text import guest_text
from vmon.kernel.columns import Column, Columns, text_rows
from vmon.linux import cgroup, cred, dentry, mm, namespace, openfiles, system, task, tty, usermem, vma
from vmon.linux.coverage import gaps_of
from vmon.linux.kernel import Kernel, distinct
from vmon.linux.openfiles import OpenFiles
from vmon.linux.usermem import UserMemory, memory_of

PARTS = (task, cred, mm, dentry, openfiles, namespace, cgroup, tty, system, usermem, vma)
WANTS = reduce(or_, (part.WANTS for part in PARTS))
T = TypeVar("T")
CRED_NUMBERS = [
    name for name in cred.CRED_FIELDS.split() if name not in ("user_ns", "group_info", "securebits")
]
DEFAULT_NICE_PRIO = 120
PFA_NO_NEW_PRIVS = 1
THREADS_SLACK = 64


class Snapshot:
    """Processes at one moment. Rows are in the order of the guest's own list."""

    def __init__(self, kernel: Kernel, tasks: Column) -> None:
        self.kernel = kernel
        columns = task.read_tasks(kernel, tasks)
        pids = columns["pid"].astype(np.int64)
        # A freed task that the walk ran into: not a leader, or a pid that cannot be.
        sane = (pids > 0) & (pids < task.MAX_PID) & (columns["pid"] == columns["tgid"])
        if not sane.all():
            tasks = tasks[sane]
            columns = task.read_tasks(kernel, tasks)
        self.dropped = int((~sane).sum())
        """Entries of the list that were no process any more."""
        self.tasks = tasks
        self._columns = columns
        self.ended = np.zeros(len(tasks), dtype=bool)
        """Rows whose process was found to have ended while more of it was read."""
        self.identity = np.stack([columns["pid"], columns["start_boottime"]], axis=1)
        self.pid: list[int] = columns["pid"].tolist()
        self.start_boottime_ns: list[int] = columns["start_boottime"].tolist()

    def __len__(self) -> int:
        return len(self.pid)

    @property
    def coverage(self) -> list[GapRecord]:
        """What is missing from all that was read so far."""
        return gaps_of(self).records()

    @classmethod
    def of_all(cls, kernel: Kernel) -> Snapshot:
        """Every process."""
        return cls(kernel, task.find_tasks(kernel))

    @classmethod
    def of_pid(cls, kernel: Kernel, pid: int) -> Snapshot:
        """The one process of this pid in the first namespace; NoSuchProcess when there is none."""
        found = cls(kernel, task.find_task(kernel, pid))
        if not len(found):
            raise NoSuchProcess(f"process {pid} ended while it was read")
        return found

    def unchanged(self) -> NDArray[np.bool_]:
        """For each row, whether it is still the same live task."""
        same: NDArray[np.bool_] = (task.read_identity(self.kernel, self.tasks) == self.identity).all(axis=1)
        return same

    # What lies in task_struct itself: no more reads, or one gather.

    @cached_property
    def name(self) -> list[bytes]:
        """comm of each process."""
        return text_rows(self._columns.raw("comm"))

    @cached_property
    def state(self) -> list[str]:
        """State letter."""
        return task.decode_states(self._columns["__state"], self._columns["exit_state"])

    @cached_property
    def _parents(self) -> Columns:
        """Identity of each parent. real_parent may be any thread of it: its leader carries the identity."""
        read = self.kernel.read
        leaders = read("task_struct", "group_leader", self._columns["real_parent"])["group_leader"]
        return read("task_struct", task.IDENTITY_FIELDS, leaders)

    @cached_property
    def ppid(self) -> list[int]:
        """Pid of the parent's thread group, 0 for none."""
        pids: list[int] = self._parents["pid"].tolist()
        return pids

    @cached_property
    def parent_key(self) -> list[str | None]:
        """Key of the parent; None for the first process and for kthreadd."""
        starts = self._parents["start_boottime"].tolist()
        return [f"{pid}@{start}" if pid else None for pid, start in zip(self.ppid, starts, strict=True)]

    @cached_property
    def kernel_thread(self) -> list[bool]:
        """PF_KTHREAD."""
        found: list[bool] = ((self._columns["flags"] & np.uint64(task.PF_KTHREAD)) != 0).tolist()
        return found

    @cached_property
    def cred(self) -> Columns:
        """Objective credentials: what /proc shows."""
        return cred.read_creds(self.kernel, self._columns["real_cred"])

    def _of_cred(self, values: list[int]) -> list[int | None]:
        """Values of the credentials; None where a process's credentials are not in memory: not root, unknown."""
        known = self.kernel.memory.mapped(self._columns["real_cred"])
        if known.all():
            return list(values)
        return [value if there else None for value, there in zip(values, known.tolist(), strict=True)]

    @cached_property
    def uid(self) -> list[int | None]:
        """Real uid."""
        return self._of_cred(self.cred["uid"].tolist())

    @cached_property
    def _signal(self) -> Columns:
        return self.kernel.read("signal_struct", task.SIGNAL_FIELDS, self._columns["signal"])

    @cached_property
    def threads(self) -> list[int]:
        """Number of threads."""
        found: list[int] = self._signal["nr_threads"].tolist()
        return found

    # What lies behind pointers: each loads one kind for all processes.

    @cached_property
    def _mms(self) -> tuple[Columns, NDArray[np.int64], Column]:
        """Columns of the different mms, which of them each process has (-1: none), and their addresses."""
        pointers = np.where(
            (self._columns["flags"] & np.uint64(task.PF_KTHREAD)) != 0, np.uint64(0), self._columns["mm"]
        )
        unique, which = distinct(pointers)
        return mm.read_mms(self.kernel, unique), which, unique

    def _spread(self, values: Sequence[T | None]) -> list[T | None]:
        """From one value a mm to one a process."""
        return [values[index] if index >= 0 else None for index in self._mms[1].tolist()]

    @cached_property
    def total_size(self) -> list[int | None]:
        """Bytes of address space."""
        return self._spread((self._mms[0]["total_vm"] * np.uint64(PAGE_SIZE_BYTES)).tolist())

    @cached_property
    def resident_size(self) -> list[int | None]:
        """Bytes in RAM, exact: what tasks have not yet added to their mm is counted too."""
        pages = mm.read_rss_pages(self.kernel, self._mms[2])
        if "rss_stat.count" in self._columns:
            rows = np.flatnonzero(self._mms[1] >= 0)
            np.add.at(pages, self._mms[1][rows], self._unsynced_rss_pages()[rows])
        used = np.maximum(
            pages[:, mm.MM_FILEPAGES] + pages[:, mm.MM_ANONPAGES] + pages[:, mm.MM_SHMEMPAGES], 0
        )
        return self._spread((used * PAGE_SIZE_BYTES).tolist())

    def _unsynced_rss_pages(self) -> NDArray[np.int64]:
        """Pages by kind that each process's threads hold back from mm->rss_stat: up to 6.1 (SPLIT_RSS_COUNTING)."""
        held = self._columns.words("rss_stat.count", 4, 4).astype(np.uint32).view(np.int32).astype(np.int64)
        for row, others in self._other_threads.items():
            more = self.kernel.read("task_struct", "rss_stat.count", others).words("rss_stat.count", 4, 4)
            held[row] += more.astype(np.uint32).view(np.int32).sum(axis=0)
        return held

    @cached_property
    def _other_threads(self) -> dict[int, Column]:
        """Threads beside the main one, by row, of the processes that have several.

        All lists together are bounded, those that claim least first: many long lies must not take minutes.
        """
        found: dict[int, Column] = {}
        claimed = self._signal["nr_threads"].astype(np.int64)
        rows = np.flatnonzero(claimed > 1)
        left = task.MAX_TASKS
        for row in rows[np.argsort(claimed[rows], kind="stable")].tolist():
            # Threads may start while the list is walked.
            limit = 2 * int(claimed[row]) + THREADS_SLACK
            if limit > left:
                break
            try:
                others = task.find_threads(self.kernel, Gva(int(self._columns["signal"][row])), limit)
            except GuestDataError:
                left -= limit
                continue
            left -= others.size
            found[row] = others[others != self.tasks[row]]
        return found

    @cached_property
    def cmdline(self) -> list[list[bytes] | None]:
        """Arguments; [] for kernel threads and zombies, None where they are not in memory."""
        lines = self._spread(mm.read_cmdlines(self.kernel, self._mms[0]))
        which = self._mms[1].tolist()
        return self._settled([[] if which[row] < 0 else line for row, line in enumerate(lines)])

    def _settle(self) -> None:
        self.ended |= ~self.unchanged()

    def _settled(self, values: list[T | None]) -> list[T | None]:
        """Values of processes that are still the same; None for the others."""
        self._settle()
        if not self.ended.any():
            return values
        return [None if ended else value for value, ended in zip(values, self.ended.tolist(), strict=True)]

    @cached_property
    def _paths(self) -> dentry.Paths:
        return dentry.Paths(self.kernel)

    @cached_property
    def exe(self) -> list[dentry.Path | None]:
        """Executable file; None for kernel threads and zombies."""
        files, which = distinct(self._mms[0]["exe_file"])
        columns = self.kernel.read("file", "f_path.mnt f_path.dentry", files)
        resolved = self._resolve(columns["f_path.mnt"], columns["f_path.dentry"])
        by_mm: list[dentry.Path | None] = [
            resolved[index] if index >= 0 else None for index in which.tolist()
        ]
        return self._settled(self._spread(by_mm))

    def _resolve(self, mounts: Column, dentries: Column) -> list[dentry.Path | None]:
        paths = self._paths
        paths.load(mounts, dentries)
        resolve = paths.resolve
        return [resolve(*pair) for pair in zip(mounts.tolist(), dentries.tolist(), strict=True)]

    @cached_property
    def _fs(self) -> tuple[list[dentry.Path | None], list[dentry.Path | None]]:
        unique, which = distinct(self._columns["fs"])
        columns = self.kernel.read("fs_struct", "pwd.mnt pwd.dentry root.mnt root.dentry", unique)
        kinds = []
        for kind in ("pwd", "root"):
            resolved = self._resolve(columns[f"{kind}.mnt"], columns[f"{kind}.dentry"])
            kinds.append(self._settled([resolved[at] if at >= 0 else None for at in which.tolist()]))
        return kinds[0], kinds[1]

    @property
    def cwd(self) -> list[dentry.Path | None]:
        """Working directory; None for zombies."""
        return self._fs[0]

    @property
    def root(self) -> list[dentry.Path | None]:
        """Root directory, as a path in the guest's whole mount tree."""
        return self._fs[1]

    @cached_property
    def cgroup_path(self) -> list[str | None]:
        """Path in the unified cgroup hierarchy."""
        return cgroup.read_cgroups(self.kernel, self._columns["cgroups"])

    @cached_property
    def containers(self) -> dict[int, str]:
        """Container of each cgroup that a process is in, or that is above one, by the cgroup's id."""
        return cgroup.read_containers(self.kernel, self._columns["cgroups"])

    @cached_property
    def namespaces(self) -> dict[str, list[int | None]]:
        """Inode numbers by nsproxy field, and pid_ns, user_ns."""
        found = namespace.read_namespaces(self.kernel, self._columns["nsproxy"])
        found["user_ns"] = namespace.read_user_namespaces(self.kernel, self.cred["user_ns"])
        found["pid_ns"] = self._pids[0]
        return found

    @cached_property
    def _pids(self) -> tuple[list[int | None], list[list[int]]]:
        return namespace.read_pid_namespaces(self.kernel, self._columns["thread_pid"])

    @cached_property
    def tty(self) -> list[str | None]:
        """Controlling terminal under /dev."""
        return tty.read_ttys(self.kernel, self._signal["tty"])

    @cached_property
    def groups_of_session(self) -> tuple[list[int], list[int]]:
        """Process group and session of each process."""
        kinds = self.kernel.profile.enums.get("pid_type", {})
        group_at, session_at = kinds.get("PIDTYPE_PGID", 2), kinds.get("PIDTYPE_SID", 3)
        pointers = self._signal.words("pids", max(group_at, session_at) + 1)
        group, session = pointers[:, group_at], pointers[:, session_at]
        return (
            namespace.read_pid_numbers(self.kernel, group),
            namespace.read_pid_numbers(self.kernel, session),
        )

    @cached_property
    def groups(self) -> list[list[int] | None]:
        """Supplementary groups."""
        pointers, which = distinct(self.cred["group_info"])
        lists = [cred.read_groups_or_none(self.kernel, Gva(pointer)) for pointer in pointers.tolist()]
        return [lists[index] if index >= 0 else None for index in which.tolist()]

    @cached_property
    def cpu_times(self) -> list[tuple[float, float]]:
        """User and system seconds, dead and living threads together, as /proc/PID/stat has them."""
        signal, columns = self._signal, self._columns
        users = (signal["utime"] + columns["utime"]).tolist()
        systems = (signal["stime"] + columns["stime"]).tolist()
        runs = (signal["sum_sched_runtime"] + columns["se.sum_exec_runtime"]).tolist()
        for row, others in self._other_threads.items():
            more = self.kernel.read("task_struct", "utime stime se.sum_exec_runtime", others)
            users[row] += int(more["utime"].sum())
            systems[row] += int(more["stime"].sum())
            runs[row] += int(more["se.sum_exec_runtime"].sum())
        before_user, before_system = (signal[f"prev_cputime.{kind}"].tolist() for kind in ("utime", "stime"))
        times = []
        for row in range(len(self)):
            user, kernel_time = task.adjust_cpu_times(
                users[row], systems[row], runs[row], before_user[row], before_system[row]
            )
            times.append((user / task.NS_PER_SECOND, kernel_time / task.NS_PER_SECOND))
        return times

    @cached_property
    def boot_time(self) -> float | None:
        """Seconds since the epoch; None when the clock can't be read."""
        try:
            return system.read_boot_time(self.kernel)
        except GuestDataError:
            return None

    @cached_property
    def _open(self) -> OpenFiles:
        found = OpenFiles(self.kernel, self._paths, self._columns["files"])
        self._settle()
        return found

    @cached_property
    def files(self) -> list[list[FileRecord]]:
        """Open files of each process."""
        return self._open.records(self.pid)

    @cached_property
    def sockets(self) -> list[list[SocketRecord]]:
        """Sockets of each process."""
        return self._open.sockets(self.pid, self.name, self.namespaces["net_ns"])

    # One process at a time.

    def maps(self, row: int) -> list[MapRecord]:
        """Address space of one process; empty for a kernel thread or a zombie."""
        mm = self.mm(row)
        return vma.map_records(self.kernel, self._paths, self.pid[row], mm) if mm is not None else []

    def mm(self, row: int) -> Gva | None:
        """Address of its mm_struct; None for a kernel thread or a zombie."""
        _, which, gvas = self._mms
        at = int(which[row])
        return Gva(int(gvas[at])) if at >= 0 else None

    def memory(self, row: int) -> UserMemory:
        """The memory of one process. NotMapped for a kernel thread or a zombie, which have none."""
        return memory_of(self.kernel, self.mm(row), self.pid[row])

    def environ(self, row: int) -> list[EnvRecord] | None:
        """Environment of one process; None when its pages are not in memory."""
        found = self.mm(row)
        if found is None:
            return []
        one = mm.read_mms(self.kernel, np.array([found], dtype=np.uint64))
        items = mm.read_environ(self.kernel, one)[0]
        return None if items is None else mm.env_records(self.pid[row], items)

    def thread_records(self, row: int) -> list[ThreadRecord]:
        """Threads of one process, the main one included."""
        return task.thread_records(self.kernel, Gva(int(self._columns["signal"][row])))

    def key(self, row: int) -> str:
        """pid@start, the name of a process that is never used again in this boot."""
        return f"{self.pid[row]}@{self.start_boottime_ns[row]}"

    @cached_property
    def _cred_numbers(self) -> dict[str, list[int | None]]:
        """Ids and capabilities, as lists."""
        return {name: self._of_cred(self.cred[name].tolist()) for name in CRED_NUMBERS}

    @cached_property
    def _numbers(self) -> dict[str, list[int]]:
        """Other plain numbers of the record, as lists."""
        columns = self._columns
        return {
            "nice": (columns.signed("static_prio") - DEFAULT_NICE_PRIO).tolist(),
            "no_new_privs": (columns["atomic_flags"] & np.uint64(PFA_NO_NEW_PRIVS)).tolist(),
            "cpu": columns["thread_info.cpu"].tolist(),
            **({"seccomp": columns["seccomp.mode"].tolist()} if "seccomp.mode" in columns else {}),
        }

    def records(self) -> list[ProcessRecord]:
        """Every field of every process."""
        return [self.record(row) for row in range(len(self))]

    def record(self, row: int) -> ProcessRecord:
        """Every field of one process; what is dear is read for all at the first call."""
        numbers = {name: values[row] for name, values in self._numbers.items()}
        ids = {name: values[row] for name, values in self._cred_numbers.items()}
        exe, cwd, root, line = self.exe[row], self.cwd[row], self.root[row], self.cmdline[row]
        user_time, system_time = self.cpu_times[row]
        spaces, boot = self.namespaces, self.boot_time
        return ProcessRecord(
            key=self.key(row),
            pid=self.pid[row],
            ppid=self.ppid[row],
            parent_key=self.parent_key[row],
            pgid=self.groups_of_session[0][row],
            sid=self.groups_of_session[1][row],
            name=guest_text(self.name[row]),
            exe=guest_text(exe.text) if exe else None,
            exe_deleted=exe.deleted if exe else None,
            cmdline=[guest_text(word) for word in line] if line is not None else None,
            cwd=guest_text(cwd.text) if cwd else None,
            root=guest_text(root.text) if root else None,
            state=self.state[row],
            uid=ids["uid"],
            euid=ids["euid"],
            suid=ids["suid"],
            fsuid=ids["fsuid"],
            gid=ids["gid"],
            egid=ids["egid"],
            sgid=ids["sgid"],
            fsgid=ids["fsgid"],
            groups=self.groups[row],
            cap_inheritable=ids["cap_inheritable"],
            cap_permitted=ids["cap_permitted"],
            cap_effective=ids["cap_effective"],
            cap_bounding=ids["cap_bset"],
            cap_ambient=ids["cap_ambient"],
            start_time=boot + self.start_boottime_ns[row] / task.NS_PER_SECOND if boot is not None else None,
            start_boottime_ns=self.start_boottime_ns[row],
            threads=self.threads[row],
            nice=numbers["nice"],
            user_time=user_time,
            system_time=system_time,
            resident_size=self.resident_size[row],
            total_size=self.total_size[row],
            tty=self.tty[row],
            cgroup_path=self.cgroup_path[row],
            container_id=cgroup.container_id(self.cgroup_path[row]),
            pid_namespace=spaces["pid_ns"][row],
            mnt_namespace=spaces["mnt_ns"][row],
            net_namespace=spaces["net_ns"][row],
            user_namespace=spaces["user_ns"][row],
            uts_namespace=spaces["uts_ns"][row],
            ipc_namespace=spaces["ipc_ns"][row],
            cgroup_namespace=spaces["cgroup_ns"][row],
            ns_pids=self._pids[1][row],
            kernel_thread=self.kernel_thread[row],
            seccomp=numbers.get("seccomp"),
            no_new_privs=bool(numbers["no_new_privs"]),
            cpu=numbers["cpu"],
        )
