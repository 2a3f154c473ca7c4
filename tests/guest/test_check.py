"""vmon check finds what an intruder leaves, and nothing on a guest that nobody touched, on every kernel.

The tests play the intruder from outside, by writing into the memory of their own lab guest, and put everything back.
"""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import pytest
from click.testing import CliRunner

import vmon
from tests.guest.compare import settles
from tests.guest.conftest import ONE_CPU, PATIENCE_S, say
from vmon.arch.x86_64.paging import FRAME_MASK, NO_EXECUTE, PAGE_SIZE_BIT, levels_for
from vmon.cli import cli
from vmon.core.address import Gpa, Gva
from vmon.core.coverage import Gaps
from vmon.core.ports import WritePhys
from vmon.core.records.finding import FindingRecord
from vmon.lab import matrix
from vmon.lab.guest import LabGuest
from vmon.linux import hlist, inet, pidtable, xarray
from vmon.linux.kernel import Kernel
from vmon.linux.task import find_tasks

T = TypeVar("T")
SWAPON = 167
"""A system call that nobody makes here."""
VECTOR = 200
"""A vector that nothing raises here."""


class Intruder:
    """Writes into a guest's memory from outside, and remembers what was there."""

    def __init__(self, vm: vmon.VirtualMachine) -> None:
        self.kernel: Kernel = vm.wide_kernel
        ram = vm.ram
        assert isinstance(ram, WritePhys)
        self._ram = ram
        self._before: list[tuple[int, bytes]] = []

    def write(self, gva: int, data: bytes) -> None:
        gpa = self.kernel.memory.gpa(Gva(gva))
        self._before.append((gva, self.kernel.memory.read(Gva(gva), len(data))))
        self._ram.write(gpa, data)

    def word(self, gva: int, value: int, size: int = 8) -> None:
        self.write(gva, value.to_bytes(size, "little"))

    def field(self, struct_name: str, field: str, gva: int) -> int:
        return gva + self.kernel.offset(struct_name, field)

    def unlink(self, node: int) -> None:
        """Take a node off its list, as list_del does, its own pointers left."""
        after, before = struct.unpack("<QQ", self.kernel.memory.read(Gva(node), 16))
        self.word(before, after)
        self.word(after + 8, before)

    def restore(self) -> None:
        while self._before:
            gva, data = self._before.pop()
            self._ram.write(self.kernel.memory.gpa(Gva(gva)), data)


@pytest.fixture
def machine(guest: LabGuest) -> Iterator[vmon.VirtualMachine]:
    with vmon.attach(guest.name) as vm:
        vm.check("text")
        yield vm


@contextmanager
def intruder(vm: vmon.VirtualMachine) -> Iterator[Intruder]:
    made = Intruder(vm)
    try:
        yield made
    finally:
        made.restore()


@contextmanager
def sleepers(guest: LabGuest, how: str = "sleep 1000 & ") -> Iterator[list[int]]:
    """Three processes, so that the one between has neighbours that stay."""
    pids = [int(word) for word in say(guest, f"for n in 1 2 3; do {how} echo $!; done").split()]
    listed = " ".join(map(str, pids))
    try:
        if "sleep" in how:
            say(guest, f"asleep {listed}")
        yield pids
    finally:
        say(guest, f"end {listed}")


def task_of(vm: vmon.VirtualMachine, pid: int) -> int:
    kernel = vm.wide_kernel
    tasks = find_tasks(kernel)
    pids = kernel.read("task_struct", "pid", tasks)["pid"].tolist()
    return int(tasks[pids.index(pid)])


def only(found: list[FindingRecord], check: str) -> FindingRecord:
    """The one finding there is, of that kind."""
    assert [record.check for record in found] == [check], found
    return found[0]


def test_nothing_is_found_that_is_not_there(machine: vmon.VirtualMachine) -> None:
    """The workload's odd processes are told for what they are; else nothing is."""
    found = machine.check()
    kinds = [record.check for record in found]
    assert sorted(kinds) == ["process.deleted", "process.memfd", "process.traced"], found
    names = dict(zip(kinds, (record.subject for record in found), strict=True))
    assert "(w gone)" in names["process.deleted"]
    assert "(w-traced)" in names["process.traced"]


def test_a_process_off_the_list(guest: LabGuest, machine: vmon.VirtualMachine) -> None:
    with sleepers(guest) as pids:
        task = task_of(machine, pids[1])
        with intruder(machine) as made:
            made.unlink(made.field("task_struct", "tasks", task))
            assert pids[1] not in {process.pid for process in machine.processes()}
            record = only(machine.check("processes"), "process.hidden")
            assert (record.pid, record.severity, record.address) == (pids[1], "critical", task)
            assert "NOT on: list of tasks" in record.evidence
            assert "T1014" in record.attack
        assert pids[1] in {process.pid for process in machine.processes()}
        assert machine.check("processes") == []


def test_a_process_out_of_the_pid_table(guest: LabGuest, machine: vmon.VirtualMachine) -> None:
    with sleepers(guest) as pids, intruder(machine) as made:
        kernel = made.kernel
        idr = Gva(kernel.symbol("init_pid_ns") + kernel.offset("pid_namespace", "idr"))
        slot = slot_of(kernel, idr, pids[1])
        made.word(slot, 0)
        assert str(pids[1]) not in say(guest, "cd /proc; echo *").split()
        record = only(machine.check("processes"), "process.unlisted")
        assert record.pid == pids[1]
        assert "NOT on: pid table" in record.evidence
        made.restore()
        assert str(pids[1]) in say(guest, "cd /proc; echo *").split()
        assert machine.check("processes") == []


def slot_of(kernel: Kernel, idr: Gva, number: int) -> int:
    """Where an idr keeps the pointer of a number."""
    at = kernel.memory.u64(Gva(idr + kernel.offset("idr", "idr_rt") + kernel.offset("xarray", "xa_head")))
    while True:
        node = Gva(at - xarray.INTERNAL)
        shift = kernel.memory.read(Gva(node + kernel.offset("xa_node", "shift")), 1)[0]
        slot = node + kernel.offset("xa_node", "slots") + 8 * (number >> shift & 63)
        if not shift:
            return slot
        at = kernel.memory.u64(Gva(slot))


def test_a_process_under_another_number(guest: LabGuest, machine: vmon.VirtualMachine) -> None:
    with sleepers(guest) as pids, intruder(machine) as made:
        task = task_of(machine, pids[1])
        made.word(made.field("task_struct", "pid", task), 99_999, 4)
        record = only(machine.check("processes"), "process.pid")
        assert f"number {pids[1]} of init_pid_ns leads to it" in record.evidence
        made.restore()
        assert machine.check("processes") == []


def test_a_module_off_the_list(guest: LabGuest, machine: vmon.VirtualMachine) -> None:
    say(guest, "modprobe llc; modprobe veth; modprobe tun; true")
    listed = {record.name: record for record in machine.modules()}
    try:
        with intruder(machine) as made:
            made.unlink(made.field("module", "list", listed["veth"].module_struct))
            assert "veth" not in say(guest, "cat /proc/modules")
            record = only(machine.check("modules"), "module.hidden")
            assert record.subject == "veth"
            assert record.address == listed["veth"].module_struct
        assert "veth" in say(guest, "cat /proc/modules")
        assert machine.check("modules") == []
    finally:
        say(guest, "rmmod veth; rmmod tun; rmmod llc; true")


def test_a_socket_out_of_the_tables(guest: LabGuest, machine: vmon.VirtualMachine) -> None:
    """A listening socket taken off its chain: netstat shows it no more, the process still holds it."""
    port = 47_123
    pid = say(guest, f"nc -l -p {port} >/dev/null 2>&1 & echo $!").strip()
    try:
        sock = wait_for(lambda: next((r.sock for r in machine.sockets() if r.local_port == port), None))
        with intruder(machine) as made:
            node = made.field("sock", inet.NODE, sock)
            after, pprev = struct.unpack("<QQ", made.kernel.memory.read(Gva(node), 16))
            made.word(pprev, after)
            if not after & 1:
                made.word(after + 8, pprev)
            assert str(port) not in say(guest, "netstat -ltn")
            record = only(machine.check("sockets"), "socket.hidden")
            assert (record.pid, record.address) == (int(pid), sock)
        assert str(port) in say(guest, "netstat -ltn")
        assert machine.check("sockets") == []
    finally:
        say(guest, f"end {pid}")


def test_a_listener_that_nobody_holds(guest: LabGuest, machine: vmon.VirtualMachine) -> None:
    """What is left to see of a process that was hidden: its port, which no process holds."""
    port = 47_124
    with sleepers(guest, f"nc -l -p $(({port} + n)) >/dev/null 2>&1 & ") as pids:
        ports = {port + 1, port + 2, port + 3}
        wait_for(lambda: ports <= {record.local_port for record in machine.sockets()} or None)
        with intruder(machine) as made:
            made.unlink(made.field("task_struct", "tasks", task_of(machine, pids[1])))
            record = only(machine.check("sockets"), "socket.nobody")
            assert f":{port + 2}" in record.subject
        assert machine.check("sockets") == []


def test_executable_memory_of_nobody(machine: vmon.VirtualMachine) -> None:
    """A page of data made executable, as a module that left every list would have it."""
    with intruder(machine) as made:
        kernel, bases = made.kernel, made.kernel.memory.bases
        # The memory map is never executed; a page of it holds words that are no traps and not empty.
        gva = bases.vmemmap_base
        entry = entry_of(kernel, gva)
        word = int.from_bytes(machine.ram.read(Gpa(entry), 8), "little")
        made.word(bases.page_offset_base + entry, word & ~NO_EXECUTE)
        found = machine.check("executable")
        assert {record.check for record in found} == {"code.unknown", "code.writable"}
        assert {record.address for record in found if record.check == "code.writable"} == {gva}
    assert machine.check("executable") == []


def entry_of(kernel: Kernel, gva: int) -> int:
    """Where the last page-table entry of an address lies."""
    phys, bases = kernel.memory.phys, kernel.memory.bases
    table = bases.page_table_root
    for level in levels_for(bases.la57):
        place = table + 8 * (gva >> level.shift & 511)
        entry = int.from_bytes(phys.read(Gpa(place), 8), "little")
        if level.shift == 12 or (level.leaf_allowed and entry & PAGE_SIZE_BIT):
            return place
        table = Gpa(entry & FRAME_MASK)
    raise AssertionError("unreachable")


def wait_for(ask: Callable[[], T | None]) -> T:
    deadline = time.monotonic() + PATIENCE_S
    while (answer := ask()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return answer


def test_a_system_call_that_leads_elsewhere(machine: vmon.VirtualMachine) -> None:
    with intruder(machine) as made:
        table = made.kernel.symbol("sys_call_table")
        getpid = made.kernel.symbols.find("__x64_sys_getpid")
        assert getpid is not None
        made.word(table + 8 * SWAPON, getpid)
        record = only(machine.check("pointers"), "code.syscall")
        assert record.address == table + 8 * SWAPON
        assert any("sys_getpid" in line for line in record.evidence)
    assert machine.check("pointers") == []


def test_an_interrupt_gate_that_leads_out_of_the_kernel(machine: vmon.VirtualMachine) -> None:
    with intruder(machine) as made:
        gate = made.kernel.symbol("idt_table") + 16 * VECTOR
        made.word(gate + 8, 0xFFFF_8000, 4)
        record = only(machine.check("pointers"), "code.interrupt")
        assert (record.subject, record.address) == (str(VECTOR), gate)
    assert len(machine.registers()) == 2
    assert all(cpu.idt_base for cpu in machine.registers())
    assert machine.check("pointers") == []


def test_a_file_of_proc_read_by_somebody_else(machine: vmon.VirtualMachine) -> None:
    from vmon.linux import procfs

    with intruder(machine) as made:
        entries = {path: entry for path, entry, _ in procfs.find_entries(made.kernel, Gaps())}
        place = made.field("proc_dir_entry", "seq_ops", entries["/proc/modules"])
        nobodys = made.kernel.memory.bases.vmalloc_base + (1 << 30)
        made.word(place, nobodys)
        record = only(machine.check("pointers"), "code.pointer")
        assert "/proc/modules" in record.subject
        assert record.address == place
    assert machine.check("pointers") == []


def swapon(kernel: Kernel) -> tuple[int, int]:
    """Where a long function starts that nobody calls here, and where 64 bytes of code lie in the middle of it."""
    # Some compilers put all of it into the system call, some into a function of its own.
    found = (kernel.symbols.find(name) for name in ("__do_sys_swapon", "__x64_sys_swapon"))
    function = next(gva for gva in found if gva is not None)
    end = kernel.symbols.next_after(function)
    assert end is not None and end - function > 512
    return function, (function + end) // 2 & ~63


def flipped(kernel: Kernel, gva: int) -> bytes:
    return bytes(byte ^ 0x5A for byte in kernel.memory.read(Gva(gva), 64))


@pytest.mark.parametrize("guest", ONE_CPU, indirect=True)
def test_a_kprobe_that_calls_somebody_else(guest: LabGuest, machine: vmon.VirtualMachine) -> None:
    folder = "/sys/kernel/tracing"
    say(guest, f"mkdir -p {folder}; mount -t tracefs t {folder}; true")
    try:
        say(
            guest,
            f"cd {folder}; echo 'p:x __x64_sys_swapon' > kprobe_events; echo 1 > events/kprobes/x/enable",
        )
        with intruder(machine) as made:
            kernel = made.kernel
            table = kernel.symbol("kprobe_table")
            (probe,) = hlist.walk_heads(kernel, table, 64, "kprobes", Gaps()).tolist()
            handler = probe - kernel.offset("kprobe", "hlist") + kernel.offset("kprobe", "pre_handler")
            made.word(handler, kernel.memory.bases.vmalloc_base + (1 << 30))
            record = only(machine.check("pointers"), "code.pointer")
            assert (record.subject, record.address) == ("kprobe handler", handler)
        assert machine.check("pointers") == []
    finally:
        say(
            guest,
            f"cd {folder}; echo 0 > events/kprobes/x/enable; echo > kprobe_events; cd /; umount {folder}",
        )


def test_code_that_changed_and_code_that_leads_away(machine: vmon.VirtualMachine) -> None:
    function, middle = swapon(machine.wide_kernel)
    with intruder(machine) as made:
        made.write(middle, flipped(made.kernel, middle))
        record = only(machine.check("text"), "code.changed")
        assert "sys_swapon" in record.subject
    assert machine.check("text") == []
    with intruder(machine) as made:
        entry = function + 4 * (made.kernel.memory.read(Gva(function), 4) == bytes.fromhex("f30f1efa"))
        made.write(entry, b"\xe9" + (0x3000_0000).to_bytes(4, "little"))
        assert "code.detour" in {record.check for record in machine.check("text")}
    assert machine.check("text") == []


def test_all_code_is_as_in_the_kernels_own_file(guest: LabGuest, machine: vmon.VirtualMachine) -> None:
    """Every byte of it, but what the kernel says that it changes; and what differs is found without an earlier look."""
    from vmon.core.errors import UsageError
    from vmon.lab.kernels import find_kernel

    series = next(name for name in matrix.names() if machine.guest.release.startswith(f"{name}."))
    file = find_kernel(series).vmlinuz
    assert machine.check("text", image=file) == []
    with intruder(machine) as made:
        _, middle = swapon(made.kernel)
        made.write(middle, flipped(made.kernel, middle))
        kinds = {record.check for record in machine.check("text", image=file)}
        assert kinds == {"code.file", "code.changed"}
    other = find_kernel("6.1" if series != "6.1" else "7.2").vmlinuz
    with pytest.raises(UsageError, match="another kernel"):
        machine.check("text", image=other)


@pytest.mark.parametrize("guest", ONE_CPU, indirect=True)
def test_the_kernels_own_changes_are_none(guest: LabGuest, machine: vmon.VirtualMachine) -> None:
    """Static keys, the function tracer, a kprobe, vmon's own probe: all change code, none is a finding."""
    folder = "/sys/kernel/tracing"
    say(guest, f"mkdir -p {folder}; mount -t tracefs t {folder}; true")
    try:
        say(guest, f"cd {folder}; echo 'vfs_*' > set_ftrace_filter; echo function > current_tracer")
        say(guest, f"cd {folder}; echo 'p:x do_sys_openat2' > kprobe_events")
        say(guest, f"cd {folder}; echo 1 > events/kprobes/x/enable; echo 1 > events/sched/enable")
        assert machine.check("text", "pointers") == []
        machine.install_probe()
        assert machine.check("text", "pointers") == []
        machine.remove_probe()
    finally:
        say(guest, f"cd {folder}; echo 0 > events/enable; echo nop > current_tracer; true")
        say(guest, f"cd {folder}; echo > set_ftrace_filter; echo > kprobe_events; true")
        say(guest, f"umount {folder}; true")
    assert machine.check("text", "pointers") == []


@pytest.mark.parametrize("fields", ["uid gid suid sgid euid egid fsuid fsgid", "euid fsuid"])
def test_a_credential_written_over(guest: LabGuest, machine: vmon.VirtualMachine, fields: str) -> None:
    with sleepers(guest, "su alice -c 'exec sleep 1000' & ") as pids, intruder(machine) as made:
        wait_for_uid(machine, pids[1], 1000)
        cred = int(
            made.kernel.read_one("task_struct", "real_cred", task_of(machine, pids[1]))["real_cred"][0]
        )
        for field in fields.split():
            made.word(made.field("cred", field, cred), 0, 4)
        record = only(
            machine.check("credentials"), "credential.raised" if "gid" in fields else "credential.setuid"
        )
        assert (record.pid, record.address) == (pids[1], cred)
        made.restore()
        assert machine.check("credentials") == []


def wait_for_uid(vm: vmon.VirtualMachine, pid: int, uid: int) -> None:
    wait_for(lambda: (vm.process(pid).uid == uid and vm.process(pid).name == "sleep") or None)


def test_a_credential_borrowed(guest: LabGuest, machine: vmon.VirtualMachine) -> None:
    with sleepers(guest, "su alice -c 'exec sleep 1000' & ") as pids, intruder(machine) as made:
        wait_for_uid(machine, pids[1], 1000)
        init = made.kernel.read_one("task_struct", "real_cred", task_of(machine, 1))["real_cred"][0]
        made.word(made.field("task_struct", "real_cred", task_of(machine, pids[1])), int(init))
        found = machine.check("credentials")
        assert {(record.check, record.pid) for record in found} == {
            ("credential.shared", 1),
            ("credential.shared", pids[1]),
        }
        made.restore()
        assert machine.check("credentials") == []


def test_what_should_protect_and_does_not(guest: LabGuest, machine: vmon.VirtualMachine) -> None:
    assert machine.check("defences", expect=["process=w-user", "process=/bin/busybox"]) == []
    missing = only(machine.check("defences", expect=["process=auditd"]), "defence.missing")
    assert missing.attack == ["T1562.001"]
    assert machine.check("defences", expect=["lsm=capability", "lsm=lockdown"]) == []
    absent = only(machine.check("defences", expect=["lsm=smack"]), "defence.missing")
    assert "capability" in absent.evidence[0]
    assert {record.check for record in machine.check("defences", expect=["seccomp=w-user"])} == {
        "defence.seccomp"
    }
    with intruder(machine) as made:
        made.write(made.kernel.symbol("modprobe_path"), b"/tmp/x\0")
        if made.kernel.memory.u32(made.kernel.symbol("apparmor_initialized")):
            made.word(made.kernel.symbol("apparmor_enabled"), 0, 4)
        found = {record.check for record in machine.check("defences")}
        assert "defence.helper" in found
        assert ("defence.off" in found) == bool(
            made.kernel.memory.u32(made.kernel.symbol("apparmor_initialized"))
        )
    assert machine.check("defences") == []


def test_the_command(guest: LabGuest, machine: vmon.VirtualMachine) -> None:
    clean = CliRunner().invoke(cli, ["check", guest.name, "--only", "modules", "-o", "json"])
    assert clean.exit_code == 0
    assert json.loads(clean.stdout)["records"] == []
    with sleepers(guest) as pids, intruder(machine) as made:
        made.unlink(made.field("task_struct", "tasks", task_of(machine, pids[1])))
        shown = CliRunner().invoke(cli, ["check", guest.name, "--only", "processes"])
        assert type(shown.exception).__name__ == "FindingsReported"
        assert f"process {pids[1]} (sleep) runs but is not on the kernel's list" in shown.stdout


def test_no_view_is_empty(machine: vmon.VirtualMachine) -> None:
    """Views that agree because none of them sees anything would prove nothing."""
    from vmon.check.modules import find_everywhere
    from vmon.check.processes import look

    def compare() -> None:
        gaps = Gaps()
        views = look(machine.wide_kernel, gaps).by
        assert all(len(tasks) > 60 for view, tasks in views.items() if view != "run queue"), views
        assert len(pidtable.find_pid_tables(machine.wide_kernel, gaps)) >= 2
        modules = find_everywhere(machine.wide_kernel, gaps)
        assert len(modules) == 3
        assert gaps.records() == []

    # A process that ends while it is looked at is told as a gap.
    settles(compare)
