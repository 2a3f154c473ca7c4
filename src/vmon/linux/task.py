"""Every process hangs on one circular list that starts at init_task; its threads hang on signal->thread_head.

Reads task_struct and signal_struct. A hostile guest can bend the list: the walk is bounded, stops at a repetition,
and says so. When the guest forks or exits meanwhile, a walk can run into a freed task; what does not look like a
task is dropped, and callers compare the identity (pid, start time) again after reading.
Sources: include/linux/sched.h, include/linux/sched/signal.h, fs/proc/array.c.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from vmon.core.address import Gva
from vmon.core.errors import BadStructure, GuestDataError, NoSuchProcess
from vmon.core.records.process import ThreadRecord
from vmon.core.text import guest_text
from vmon.kernel.columns import Column, Columns, text_rows
from vmon.kernel.profile import Wants
from vmon.linux.kernel import Kernel

MAX_TASKS = 200_000
NS_PER_SECOND = 1_000_000_000
MAX_PID = 4 << 20
PF_KTHREAD = 0x0020_0000

# state: renamed __state and narrowed from long to int in 5.14 (2f064a59a11f).
# thread_info.cpu: task_struct.cpu until 5.16 (bcf9033e5449).
# start_boottime: real_start_time until 5.5 (cf25e24db61c).
TASK_FIELDS = (
    "pid tgid comm real_parent group_leader mm cred real_cred files fs nsproxy signal thread_pid cgroups flags "
    "exit_state __state|state start_boottime|real_start_time static_prio utime stime se.sum_exec_runtime "
    "atomic_flags seccomp.mode thread_info.cpu|cpu rss_stat.count"
)
SIGNAL_FIELDS = (
    "nr_threads thread_head utime stime sum_sched_runtime prev_cputime.utime prev_cputime.stime tty pids"
)
WANTS = Wants(
    symbols=("init_task",),
    structs={
        "task_struct": "tasks thread_node " + TASK_FIELDS,
        "signal_struct": SIGNAL_FIELDS,
        "list_head": "next prev",
    },
    enums=("pid_type",),
)
IDENTITY_FIELDS = "pid start_boottime"
COLUMN_FIELDS = " ".join(word.split("|")[0] for word in TASK_FIELDS.split())

TASK_UNINTERRUPTIBLE = 0x2
TASK_IDLE = 0x402
TASK_FROZEN = 0x8000
TASK_RTLOCK_WAIT = 0x1000
TASK_REPORT = 0x7F
STATE_LETTERS = "RSDTtXZP"
NEXT = struct.Struct("<Q")


def walk_list(
    kernel: Kernel, head: Gva, what: str, limit: int = MAX_TASKS, known: list[int] | None = None
) -> list[int]:
    """Addresses of the list_heads of a circular list, the head left out.

    BadStructure beyond `limit`, and soon where the list runs into itself: each entry is compared with the one at the
    last power of two (Brent's way to find a cycle). `known` are list_heads that are probably still in it: their
    pointers are read in one gather, now, and the walk reads one by one only where it leaves them.
    """
    read = kernel.memory.read
    following: dict[int, int] = {}
    if known:
        pointers = kernel.memory.gather(np.array(known, dtype=np.uint64), 8).view("<u8").reshape(-1)
        following = dict(zip(known, pointers.tolist(), strict=True))
    find = following.get
    found: list[int] = []
    at: int = NEXT.unpack(read(head, 8))[0]
    mark, next_mark = int(head), 8
    while at != head:
        if at == mark:
            raise BadStructure("a list that runs into itself", field=what, address=at)
        found.append(at)
        if len(found) == next_mark:
            mark, next_mark = at, 2 * next_mark
        if len(found) > limit:
            raise BadStructure(f"a list of more than {limit:,} entries", field=what, address=head)
        at = find(at) or int.from_bytes(read(Gva(at), 8), "little")
    if len(set(found)) != len(found):
        raise BadStructure("a list that runs into itself", field=what, address=head)
    return found


def find_tasks(kernel: Kernel) -> Column:
    """Addresses of all thread-group leaders but the swapper, in the order of the list.

    A walk that breaks (the guest freed a task under it) is tried again; the last error is raised.
    """
    offset = kernel.offset("task_struct", "tasks")
    head = Gva(kernel.symbol("init_task") + offset)
    for attempt in range(8):
        try:
            nodes = walk_list(kernel, head, "task_struct.tasks", known=kernel.last_tasks)
        except GuestDataError:
            kernel.last_tasks = []
            if attempt == 7:
                raise
            continue
        kernel.last_tasks = nodes
        return np.array(nodes, dtype=np.uint64) - np.uint64(offset)
    raise AssertionError("unreachable")


def find_task(kernel: Kernel, pid: int) -> Column:
    """Address of the one process of this pid in the first namespace; NoSuchProcess when there is none."""
    tasks = find_tasks(kernel)
    columns = kernel.read("task_struct", "pid tgid", tasks)
    wanted = np.uint64(pid if 0 < pid < MAX_PID else MAX_PID)
    found = tasks[np.flatnonzero((columns["pid"] == wanted) & (columns["tgid"] == wanted))[:1]]
    if not found.size:
        raise NoSuchProcess(
            f"no process {pid} in the guest",
            hint="`vmon ps` lists the processes; pids are those of the first pid namespace",
        )
    return found


def read_tasks(kernel: Kernel, tasks: Column) -> Columns:
    """All fields of a process record that lie in task_struct itself."""
    return kernel.read("task_struct", COLUMN_FIELDS, tasks)


def read_identity(kernel: Kernel, tasks: Column) -> NDArray[np.uint64]:
    """What makes a task itself, n rows of (pid, start in ns since boot): a freed or reused one differs."""
    columns = kernel.read("task_struct", IDENTITY_FIELDS, tasks)
    return np.stack([columns["pid"], columns["start_boottime"]], axis=1)


def find_threads(kernel: Kernel, signal: Gva, limit: int = MAX_TASKS) -> Column:
    """Addresses of all tasks of one thread group, the leader included.

    thread_group was removed in 6.7 (8e1f385104ac); signal->thread_head is in every kernel since 3.14.
    """
    offset = kernel.offset("task_struct", "thread_node")
    head = Gva(signal + kernel.offset("signal_struct", "thread_head"))
    nodes = walk_list(kernel, head, "signal_struct.thread_head", limit)
    return np.array(nodes, dtype=np.uint64) - np.uint64(offset)


def thread_records(kernel: Kernel, signal: Gva) -> list[ThreadRecord]:
    """Every thread of one thread group, as records; times are the thread's own, unscaled."""
    columns = read_tasks(kernel, find_threads(kernel, signal))
    rows = zip(
        columns["pid"].tolist(),
        text_rows(columns.raw("comm")),
        decode_states(columns["__state"], columns["exit_state"]),
        columns["start_boottime"].tolist(),
        columns["utime"].tolist(),
        columns["stime"].tolist(),
        columns["thread_info.cpu"].tolist(),
        strict=True,
    )
    return [
        ThreadRecord(
            tid=tid,
            name=guest_text(name),
            state=state,
            start_boottime_ns=start,
            user_time=user_ns / NS_PER_SECOND,
            system_time=system_ns / NS_PER_SECOND,
            cpu=cpu,
        )
        for tid, name, state, start, user_ns, system_ns, cpu in rows
    ]


def decode_states(state: Column, exit_state: Column) -> list[str]:
    """The letter of /proc/PID/stat for each task."""
    # Thousands of tasks share a handful of states.
    both, which = np.unique(
        (state & np.uint64(0xFFFF_FFFF)) | exit_state << np.uint64(32), return_inverse=True
    )
    letters = [_letter(pair & 0xFFFF_FFFF, pair >> 32) for pair in both.tolist()]
    return [letters[index] for index in which.reshape(-1).tolist()]


def _letter(state: int, exit_state: int) -> str:
    if state & TASK_IDLE == TASK_IDLE:
        return "I"
    if state & (TASK_FROZEN | TASK_RTLOCK_WAIT):
        state |= TASK_UNINTERRUPTIBLE
    report = (state | exit_state) & TASK_REPORT
    bit = report.bit_length()
    return STATE_LETTERS[bit] if bit < len(STATE_LETTERS) else "?"


def adjust_cpu_times(
    utime: int, stime: int, runtime: int, prev_utime: int, prev_stime: int
) -> tuple[int, int]:
    """User and system time in ns as /proc shows them: the tick-sampled split, scaled to the precise run time.

    Source: kernel/sched/cputime.c cputime_adjust().
    """
    if prev_stime + prev_utime >= runtime:
        return prev_utime, prev_stime
    if utime == 0 and stime != 0:
        stime = runtime
    elif stime != 0:
        stime = min(stime * runtime // (stime + utime), runtime)
    stime = max(stime, prev_stime)
    utime = max(runtime - stime, prev_utime)
    return utime, runtime - utime


def rows_below(first: int, parent_keys: Sequence[str | None], key: Callable[[int], str]) -> list[int]:
    """A process and all below it by their rows, children before grandchildren; loops of a lying guest are cut."""
    below: dict[str | None, list[int]] = {}
    for row, parent in enumerate(parent_keys):
        below.setdefault(parent, []).append(row)
    found = [first]
    for row in found:  # which grows: nobody's children are looked at twice
        found += [child for child in below.pop(key(row), ()) if child != first]
    return found
