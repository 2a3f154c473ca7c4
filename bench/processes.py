"""Reading 500 processes: the basic fields, and everything; as objects and as columns.

Two crowds: workers of one program that share its files, and processes that share nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from bench.clockwork import stage_series
from bench.guests import Guests
from bench.series import Results, measure_ms
from vmon.lab.guest import LabGuest
from vmon.monitor.attach import attach
from vmon.monitor.machine import VirtualMachine

COUNT = 500
BASIC_TARGET_MS = 1.0
EVERYTHING_TARGET_MS = 15.0
SNAPSHOT = "vmon.linux.snapshot."
BASIC_STAGES = {
    "still there": "vmon.monitor.machine.VirtualMachine._still_there",
    "read bases": "vmon.monitor.machine.read_bases",
    "find tasks": "vmon.linux.task.find_tasks",
    "snapshot init": SNAPSHOT + "Snapshot.__init__",
    "parents": SNAPSHOT + "Snapshot._parents",
    "name": SNAPSHOT + "Snapshot.name",
    "state": SNAPSHOT + "Snapshot.state",
    "uid": SNAPSHOT + "Snapshot.uid",
    "threads": SNAPSHOT + "Snapshot.threads",
    "gather": "vmon.kernel.memory.KernelMemory.gather",
}
EVERYTHING_STAGES = {
    "snapshot of all": SNAPSHOT + "Snapshot.of_all",
    "mms": SNAPSHOT + "Snapshot._mms",
    "exe": SNAPSHOT + "Snapshot.exe",
    "cmdline": SNAPSHOT + "Snapshot.cmdline",
    "translate pages": "vmon.linux.mm.translate_many",
    "read fds": "vmon.linux.fdtable.read_fds",
    "files, with paths, inodes": SNAPSHOT + "Snapshot._open",
    "paths load": "vmon.linux.dentry.Paths.load",
    "paths resolve": SNAPSHOT + "Snapshot._resolve",
    "inodes": "vmon.linux.dentry.Paths.inodes",
    "file records, in all": SNAPSHOT + "Snapshot.files",
    "read sockets": "vmon.linux.socket.read_sockets",
    "unix names": "vmon.linux.socket._read_unix",
    "namespaces": SNAPSHOT + "Snapshot.namespaces",
    "sockets, in all": SNAPSHOT + "Snapshot.sockets",
    "gather": "vmon.kernel.memory.KernelMemory.gather",
    "StructReader": "vmon.kernel.columns.StructReader.read",
    "Columns item": "vmon.kernel.columns.Columns.__getitem__",
    "translate": "vmon.kernel.memory.translate_many",
    "memory.read": "vmon.kernel.memory.KernelMemory.read",
}
RECORD_STAGES = {
    "boot time": SNAPSHOT + "Snapshot.boot_time",
    "resident size": SNAPSHOT + "Snapshot.resident_size",
    "cpu times": SNAPSHOT + "Snapshot.cpu_times",
    "cgroups": SNAPSHOT + "Snapshot.cgroup_path",
    "container id": "vmon.linux.cgroup.container_id",
    "namespaces": SNAPSHOT + "Snapshot.namespaces",
    "pid namespaces": SNAPSHOT + "Snapshot._pids",
    "groups": SNAPSHOT + "Snapshot.groups",
    "process groups": SNAPSHOT + "Snapshot.groups_of_session",
    "tty": SNAPSHOT + "Snapshot.tty",
    "cwd and root": SNAPSHOT + "Snapshot._fs",
    "exe": SNAPSHOT + "Snapshot.exe",
    "cmdline": SNAPSHOT + "Snapshot.cmdline",
    "numbers": SNAPSHOT + "Snapshot._numbers",
    "records, in all": SNAPSHOT + "Snapshot.record",
}


def basic(vm: VirtualMachine) -> object:
    """pid, ppid, name, state, uid, start and threads of every process, as attributes."""
    return [(p.pid, p.ppid, p.name, p.state, p.uid, p.key, p.threads_count) for p in vm.processes()]


def basic_columns(vm: VirtualMachine) -> object:
    """The same, as columns."""
    s = vm.snapshot()
    return s.pid, s.ppid, s.name, s.state, s.uid, s.start_boottime_ns, s.threads


def everything(vm: VirtualMachine) -> object:
    """exe, command line, files and sockets of every process, as objects."""
    return [(p.pid, p.exe, p.cmdline, p.files(), p.sockets()) for p in vm.processes()]


def records(vm: VirtualMachine) -> object:
    """Every field of a process record, what `vmon ps -o json` writes."""
    return vm.snapshot().records()


def measure_processes(results: Results, guest: LabGuest, kernel: str, *, quick: bool) -> None:
    """All series of this file for one guest; starts and ends both crowds in it."""
    rounds = 10 if quick else 50
    Guests.start_many(guest, COUNT)
    with attach(guest.name) as vm:
        _crowd(results, vm, kernel, "500 workers", rounds, stages=False)
    Guests.end_processes(guest)
    Guests.start_crowd(guest, COUNT)
    with attach(guest.name) as vm:
        _crowd(results, vm, kernel, "500 apart", rounds, stages=True)
    Guests.end_processes(guest)


def _crowd(
    results: Results, vm: VirtualMachine, kernel: str, crowd: str, rounds: int, *, stages: bool
) -> None:
    def add(name: str, work: Callable[[VirtualMachine], object], target: float | None = None) -> None:
        values = measure_ms(lambda: work(vm), rounds)
        results.add(f"{name}, {crowd}", "ms", kernel, values, target)

    add("basic fields", basic, BASIC_TARGET_MS)
    add("basic fields as columns", basic_columns, BASIC_TARGET_MS)
    add("everything", everything, EVERYTHING_TARGET_MS)
    add("all record fields", records)
    if stages:
        few = max(3, rounds // 5)
        stage_series(results, "basic", kernel, BASIC_STAGES, lambda: basic(vm), few)
        stage_series(results, "everything", kernel, EVERYTHING_STAGES, lambda: everything(vm), few)
        stage_series(results, "records", kernel, RECORD_STAGES, lambda: records(vm), few)
