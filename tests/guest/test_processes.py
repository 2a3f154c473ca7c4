"""Every field of every process equals what /proc says inside the guest at that moment, on every kernel."""

from __future__ import annotations

import pytest

import vmon
from tests.guest.compare import differences, lived_through
from tests.guest.conftest import ask_truth
from tests.guest.truth import (
    TICKS,
    Truth,
    raw,
    seen_file,
    seen_map,
    seen_process,
    seen_socket,
)
from vmon.lab.guest import LabGuest

ODD_ONES = {
    b"w-threads", b"w-zombie", b"w-zombie-child", b"w-stopped", b"w-traced", b"w-blocked", b"w-files",
    b"w-many-files", b"w-sockets", b"w-chroot", b"w-container", b"w-contained", b"w-userns", b"w-cgroup", b"w-user",
    b"w-restricted", b"w-terminal", b"a b\n\xff\x1b[31m)", b"w-was-busy", b"w-large", b"w gone",
}  # fmt: skip


class Bracket:
    """What /proc said before and after vmon read, and the processes that lived through both."""

    def __init__(self, guest: LabGuest, vm: vmon.VirtualMachine) -> None:
        self.before = ask_truth(guest)
        self.snapshot = vm.snapshot()
        self.processes = {process.pid: process for process in vmon.Process.all_of(self.snapshot)}
        self.records = {pid: process.record() for pid, process in self.processes.items()}
        self.files = {pid: process.files() for pid, process in self.processes.items()}
        self.sockets = {pid: process.sockets() for pid, process in self.processes.items()}
        self.maps = {pid: process.maps() for pid, process in self.processes.items()}
        self.environ = {pid: process.environ() for pid, process in self.processes.items()}
        self.threads = {pid: process.threads() for pid, process in self.processes.items()}
        self.after = ask_truth(guest)
        self.pids = lived_through(self.before, self.after)

    def settled(self, pid: int, path: str) -> bytes | None:
        """A file of /proc/PID that said the same before and after; None where it did not."""
        before, after = (truth.files.get(f"/proc/{pid}/{path}") for truth in (self.before, self.after))
        return before if before == after else None


@pytest.fixture(scope="module")
def bracket(guest: LabGuest) -> Bracket:
    with vmon.attach(guest.name) as vm:
        return Bracket(guest, vm)


def test_the_workload_is_there(bracket: Bracket) -> None:
    names = {bracket.before.comm(pid) for pid in bracket.pids}
    assert names >= ODD_ONES, ODD_ONES - names


def test_process_list_is_complete_and_has_nothing_else(bracket: Bracket) -> None:
    seen = set(bracket.records)
    assert seen >= set(bracket.pids)
    known = set(bracket.before.pids()) | set(bracket.after.pids())
    # What is in neither reading began after the first one: the command that runs the oracle.
    began_at = max(bracket.before.pids().values())
    for pid in seen - known:
        assert bracket.records[pid].start_boottime_ns * TICKS // 10**9 >= began_at


@pytest.mark.smoke
def test_every_field_of_every_process(bracket: Bracket) -> None:
    seen = {pid: seen_process(record) for pid, record in bracket.records.items()}
    wrong, compared = differences(bracket.before, bracket.after, seen)
    assert not wrong, "\n".join(map(str, wrong[:20]))
    assert compared > 34 * 60


def test_names(bracket: Bracket) -> None:
    for pid in bracket.pids:
        seen, told = raw(bracket.records[pid].name), bracket.before.comm(pid)
        if bracket.records[pid].kernel_thread:
            # /proc adds what a worker works on, and the untruncated name of other kernel threads.
            assert seen is not None and told.startswith(seen[:15].split(b"/")[0]), (pid, seen, told)
        else:
            assert seen == told


def test_cpu_times(bracket: Bracket) -> None:
    for pid in bracket.pids:
        before, after = bracket.before.counters(pid), bracket.after.counters(pid)
        record = bracket.records[pid]
        user, system = (
            round(value * 1e9) * TICKS // 10**9 for value in (record.user_time, record.system_time)
        )
        if before == after:
            assert (user, system) == (before["user_ticks"], before["system_ticks"]), (pid, record.name)
        total = user + system
        assert sum(before.values()) - 1 <= total <= sum(after.values()) + 1, (pid, record.name)


def test_busy_process_shows_its_second_of_cpu(bracket: Bracket) -> None:
    record = next(record for record in bracket.records.values() if record.name == "w-was-busy")
    told = sum(bracket.before.counters(record.pid).values()) / TICKS
    # It used 0.4 s; of both of its times the guest tells whole ticks.
    assert told >= 0.4 - 2 / TICKS
    assert abs(record.user_time + record.system_time - told) <= 0.02


def test_resident_size_is_exact(bracket: Bracket) -> None:
    compared = 0
    for pid in bracket.pids:
        before, after = bracket.before.rss_bytes(pid), bracket.after.rss_bytes(pid)
        if before is None or before != after:
            continue
        seen = bracket.records[pid].resident_size
        assert seen == before, (pid, bracket.records[pid].name, seen, before)
        compared += 1
    assert compared >= 20


def test_start_time_is_boot_time_plus_start(bracket: Bracket) -> None:
    stat = bracket.before.files["/proc/stat"].decode()
    btime = next(int(line.split()[1]) for line in stat.split("\n") if line.startswith("btime"))
    for record in bracket.records.values():
        assert record.start_time is not None
        assert abs(record.start_time - record.start_boottime_ns / 1e9 - btime) <= 1.5


def test_open_files(bracket: Bracket) -> None:
    compared = 0
    for pid in bracket.pids:
        before, after = bracket.before.fds(pid), bracket.after.fds(pid)
        seen = {record.fd: record for record in bracket.files[pid]}
        assert set(seen) >= set(before) & set(after), (pid, bracket.records[pid].name)
        if before == after:
            assert set(seen) == set(before)
        for fd in set(before) & set(after):
            assert seen_file(seen[fd]) in (before[fd], after[fd]), (pid, fd, before[fd])
            told = bracket.before.fdinfo(pid, fd)
            if told and told == bracket.after.fdinfo(pid, fd):
                assert seen[fd].flags == told["flags"], (pid, fd, seen[fd], told)
                assert seen[fd].position == told["pos"], (pid, fd, seen[fd], told)
            compared += 1
    assert compared > 800


def test_sockets(bracket: Bracket) -> None:
    inet, named = bracket.before.inet_sockets(), bracket.before.unix_sockets()
    later = bracket.after.inet_sockets()
    net_namespace = bracket.records[1].net_namespace
    seen_inet = set()
    seen_unix = set()
    for pid in bracket.pids:
        for record in bracket.sockets[pid]:
            if record.net_namespace != net_namespace:
                continue
            if record.protocol and inet.get(record.inode) == later.get(record.inode) is not None:
                assert seen_socket(record) == inet[record.inode]
                seen_inet.add(record.inode)
            elif record.family == "unix" and record.inode in named:
                assert (record.type, record.path) == named[record.inode]
                seen_unix.add(record.inode)
    held = {
        int(link[8:-1])
        for pid in bracket.pids
        for link in bracket.before.fds(pid).values()
        if link[:8] == b"socket:["
    }
    assert seen_inet >= {inode for inode in inet if inode in held and later.get(inode) == inet[inode]}
    assert len(seen_inet) >= 9
    assert len(seen_unix) >= 6


def test_maps(bracket: Bracket) -> None:
    compared = 0
    for pid in bracket.pids:
        if bracket.settled(pid, "maps") is None:
            continue
        assert [seen_map(record) for record in bracket.maps[pid]] == bracket.before.maps(pid), pid
        compared += 1
    assert compared > 60


def test_environ(bracket: Bracket) -> None:
    for pid in bracket.pids:
        if bracket.settled(pid, "environ") is None:
            continue
        seen = bracket.environ[pid]
        assert seen is not None
        told = bracket.before.environ(pid)
        assert [raw(item.name) for item in seen] == [item.split(b"=", 1)[0] for item in told]
        values = [item.split(b"=", 1)[1] if b"=" in item else b"" for item in told]
        assert [raw(item.value) for item in seen] == values


def test_threads(bracket: Bracket) -> None:
    several = compared = 0
    for pid in bracket.pids:
        told = bracket.before.threads(pid)
        if told != bracket.after.threads(pid):
            continue
        seen = {record.tid: record for record in bracket.threads[pid]}
        assert set(seen) == told
        several += len(told) > 1
        for tid in told:
            if bracket.records[pid].kernel_thread:
                continue  # named by what it works on, and it may run for a moment between two readings
            assert raw(seen[tid].name) == bracket.before.comm(pid, tid)
            if bracket.before.switches(pid, tid) != bracket.after.switches(pid, tid):
                continue  # it ran meanwhile, so any state was true for a moment
            states = {truth.stat(pid, tid)[0] for truth in (bracket.before, bracket.after)}
            assert seen[tid].state in states
            compared += 1
    assert several >= 2
    assert compared > 20


def test_containers_are_named(bracket: Bracket) -> None:
    record = next(record for record in bracket.records.values() if record.name == "w-cgroup")
    assert record.container_id == "0123456789abcdef" * 4
    inner = next(record for record in bracket.records.values() if record.name == "w-contained")
    assert inner.ns_pids[1:] == [1]
    first = bracket.records[1]
    for kind in ("pid", "mnt", "net"):
        assert getattr(inner, f"{kind}_namespace") != getattr(first, f"{kind}_namespace")


def test_guest_as_a_whole(guest: LabGuest, vm: vmon.VirtualMachine) -> None:
    truth: Truth = ask_truth(guest)
    told = {
        name: truth.files[f"/proc/{name}"].decode().strip()
        for name in ("version", "cmdline", "stat", "modules")
    }
    info = vm.guest
    assert info.release == truth.files["/proc/sys/kernel/osrelease"].decode().strip()
    assert info.hostname == truth.files["/proc/sys/kernel/hostname"].decode().strip()
    assert info.banner == told["version"]
    assert info.command_line == told["cmdline"]
    assert info.cpus_online == sum(line.startswith("cpu") for line in told["stat"].split("\n")) - 1 == 2
    assert info.modules == len(told["modules"].splitlines())
    total = next(
        line for line in truth.files["/proc/meminfo"].decode().split("\n") if line.startswith("MemTotal")
    )
    assert info.memory_total == int(total.split()[1]) * 1024
    assert info.ram_size == 512 << 20
    assert all(item.passed for item in info.evidence)


def test_symbols_equal_kallsyms(guest: LabGuest, vm: vmon.VirtualMachine) -> None:
    """Every symbol of the kernel itself, name and address, against /proc/kallsyms."""
    symbols = vm.kernel.symbols
    seen = list(zip(symbols.addresses.tolist(), symbols.names, strict=True))
    told = []
    for line in guest.run("cat /proc/kallsyms", timeout_s=120).out.decode("latin-1").split("\n"):
        words = line.split()
        if len(words) == 3 and words[2] not in ("[bpf]",):
            told.append((int(words[0], 16), words[2]))
    assert len(told) > 80_000
    assert seen == told[: len(seen)]


def test_types_equal_sysfs(guest: LabGuest, vm: vmon.VirtualMachine) -> None:
    """The BTF that vmon decoded is the one that the guest's kernel offers."""
    import hashlib

    kernel = vm.kernel
    start, stop = (kernel.symbol(name) for name in ("__start_BTF", "__stop_BTF"))
    told = guest.run("sha256sum /sys/kernel/btf/vmlinux").out.split()[0].decode()
    assert hashlib.sha256(kernel.memory.read(start, stop - start)).hexdigest() == told
