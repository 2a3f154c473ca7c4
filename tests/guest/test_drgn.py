"""drgn on a guest without debug information, against the guest's own word, on every kernel."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from ipaddress import IPv4Address
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import vmon
from tests.guest.conftest import say, sleeping
from vmon.core.text import guest_text
from vmon.kernel.btf import KIND_FUNC
from vmon.lab.guest import LabGuest
from vmon.monitor.drgn.variables import VARIABLES

drgn = pytest.importorskip("drgn")
linux = pytest.importorskip("drgn.helpers.linux")

from drgn.helpers.linux.kallsyms import load_vmlinux_kallsyms  # noqa: E402 - only where drgn is

from vmon.monitor.drgn.symbols import KernelSymbols  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
SURVEYED = "6.12"


@pytest.fixture
def prog(vm: vmon.VirtualMachine) -> drgn.Program:
    return vm.drgn_program()


@pytest.fixture
def sleeper(guest: LabGuest) -> Iterator[int]:
    """A process that sleeps, with a file of its own and arguments that nobody else has."""
    say(guest, "echo x > /tmp/drgn.txt")
    script = "cd /tmp; sleep 86399 < drgn.txt > /dev/null 2>&1 & asleep $!; echo $!"
    pid = int(say(guest, script))
    yield pid
    say(guest, f"end {pid}; rm /tmp/drgn.txt")


def soon(check: Callable[[], bool]) -> bool:
    """Kernel workers come and go, what sleeps wakes: two looks agree at once, or at one of the next tries.

    drgn walks lists as they are: what leaves them under its feet can be a fault, or a stack that makes no sense.
    """
    for _ in range(20):
        with suppress(LookupError, ValueError, drgn.FaultError):
            if check():
                return True
        time.sleep(0.2)
    return False


def test_tasks(vm: vmon.VirtualMachine, prog: drgn.Program) -> None:
    def same() -> bool:
        # drgn lists threads too, by pid.
        tasks = [task for task in linux.for_each_task(prog) if linux.thread_group_leader(task)]
        seen = [(task.pid.value_(), guest_text(task.comm.string_())) for task in tasks]
        return seen == sorted((process.pid, process.name) for process in vm.processes())

    assert soon(same)
    assert linux.find_task(prog, 1).pid == 1
    assert not linux.find_task(prog, 4_000_000)
    assert soon(
        lambda: (
            {thread.tid for thread in prog.threads()}
            >= {process.pid for process in vm.processes() if process.pid < 100}
        )
    )


def test_a_process(guest: LabGuest, prog: drgn.Program, sleeper: int) -> None:
    task = linux.find_task(prog, sleeper)
    told = say(guest, f"cat /proc/{sleeper}/stat")
    assert linux.cmdline(task) == [b"sleep", b"86399"]
    assert linux.task_state_to_char(task) == told.rsplit(")", 1)[1].split()[0] == "S"
    assert linux.environ(task) == [
        item.encode("utf-8", "surrogateescape")
        for item in say(guest, f"cat /proc/{sleeper}/environ").split("\0")
        if item
    ]
    files = {number: linux.d_path(file.f_path) for number, file in linux.for_each_file(task) if file}
    links = say(guest, f"cd /proc/{sleeper}/fd; for n in *; do echo $n $(readlink $n); done")
    assert files == {int(line.split()[0]): line.split()[1].encode() for line in links.splitlines()}
    areas = [vma.vm_start.value_() for vma in linux.for_each_vma(task.mm)]
    maps = say(guest, f"cat /proc/{sleeper}/maps").splitlines()
    # The gate area at the end is no area of the process.
    assert areas == [int(line.split("-")[0], 16) for line in maps if "[vsyscall]" not in line]
    soft = linux.task_rlimits(task)["NOFILE"].cur
    assert f" {soft} " in say(guest, f"grep 'open files' /proc/{sleeper}/limits")


def test_the_stack_of_a_task_that_waits(guest: LabGuest, prog: drgn.Program, sleeper: int) -> None:
    told = re.findall(r"\] (\S+)/", say(guest, f"cat /proc/{sleeper}/stack"))
    trace = prog.stack_trace(sleeper)
    # The last frame is the process itself: an address, no symbol.
    seen = [f"{frame.name}+{frame.pc - frame.symbol().address:#x}" for frame in trace if frame.pc >> 63]
    assert len(told) >= 4
    # The kernel leaves out what belongs to its scheduler; up to 5.10 do_nanosleep does.
    scheduler = {name.split("+")[0] for name in seen[: -len(told)]}
    assert {"__schedule", "schedule"} <= scheduler <= {"__schedule", "schedule", "do_nanosleep"}
    assert seen[-len(told) :] == told


def test_a_stack_through_a_module(guest: LabGuest) -> None:
    pid = int(say(guest, "modprobe tun; /lab/tun_reader > /dev/null 2>&1 & echo $!"))
    try:
        look = f"s=$(cat /proc/{pid}/stack)"
        told = say(
            guest, f'{look}; until echo "$s" | grep -q tun_do_read; do sleep 0.1; {look}; done; echo "$s"'
        )
        # After the module came, so that drgn knows where it is.
        with vmon.attach(guest.name) as vm:
            prog = vm.drgn_program()

            def same() -> bool:
                # Packets of the guest itself wake it now and then: a trace is broken then, or refused.
                trace = prog.stack_trace(pid)
                seen = [f"{f.name}+{f.pc - f.symbol().address:#x}" for f in trace if f.pc >> 63]
                return seen[2:] == whole and seen[2].startswith("tun_do_read+")

            whole = re.findall(r"\] (\S+)/", told)
            assert soon(same)
    finally:
        say(guest, f"end {pid}; rmmod tun")


def test_mounts_and_files(guest: LabGuest, prog: drgn.Program) -> None:
    told = [line.split()[1:3] for line in say(guest, "cat /proc/1/mounts").splitlines()]
    seen = [
        [linux.mount_dst(mount).decode(), linux.mount_fstype(mount).decode()]
        for mount in linux.for_each_mount(linux.find_task(prog, 1).nsproxy.mnt_ns)
    ]
    # What lies below the root of the process (7.2) the guest does not tell it.
    assert sorted(mount for mount in seen if mount != ["/", "nullfs"]) == sorted(told)
    inode = linux.path_lookup(prog, "/bin/busybox").dentry.d_inode
    assert inode.i_size == int(say(guest, "stat -c %s /bin/busybox"))


def test_modules_and_their_symbols(guest: LabGuest, prog: drgn.Program) -> None:
    told = say(guest, "modprobe veth; cat /proc/modules; grep -w veth_newlink /proc/kallsyms")
    lines = told.splitlines()
    names = [line.split()[0] for line in lines[:-1]]
    assert [module.name.string_().decode() for module in linux.for_each_module(prog)] == names
    symbol = prog.symbol("veth_newlink")
    assert symbol.address == int(lines[-1].split()[0], 16)
    assert prog.symbol(symbol.address + 1).name == "veth_newlink"
    assert linux.address_to_module(prog, symbol.address).name.string_() == b"veth"
    if "veth" in say(guest, "ls /sys/kernel/btf"):
        private = prog.type("struct veth_priv")
        device = private.member("peer").type.type
        assert {member.name for member in device.members} == {
            member.name for member in prog.type("struct net_device").members
        }
        function = prog.function("veth_newlink")
        assert function.address_ == symbol.address
        assert "struct netlink_ext_ack *" in str(function.type_)
    else:
        # Before 5.11 modules have no BTF.
        assert guest.record.series == "5.10"
        with pytest.raises(LookupError):
            prog.type("struct veth_priv")
    say(guest, "rmmod veth")
    for ask in (prog.symbol, prog.function):
        with pytest.raises(LookupError):
            ask("veth_newlink")
    with pytest.raises(LookupError):
        prog.type("struct veth_priv")


def test_symbols(guest: LabGuest, vm: vmon.VirtualMachine, prog: drgn.Program) -> None:
    told = {}
    for line in say(guest, "grep -wE 'schedule|init_task|vfs_read|jiffies' /proc/kallsyms").splitlines():
        address, _letter, name = line.split()[:3]
        told[name] = int(address, 16)
    # The kernel's own letter for jiffies is T since 6.18.
    functions = {"schedule": True, "vfs_read": True, "init_task": False, "jiffies": False}
    assert told.keys() >= functions.keys()
    for name, function in functions.items():
        symbol = prog.symbol(name)
        assert symbol.address == told[name]
        assert symbol.kind == (drgn.SymbolKind.FUNC if function else drgn.SymbolKind.OBJECT)
        assert name in {found.name for found in prog.symbols(told[name])}
    assert prog.symbol(told["vfs_read"] + 5).name == "vfs_read"
    assert prog.function("vfs_read").address_ == told["vfs_read"]
    assert "struct file *" in str(prog.function("vfs_read").type_)
    assert len(prog.symbols()) > 50_000


def test_network(guest: LabGuest, prog: drgn.Program) -> None:
    devices = say(
        guest, "ip link set lo up; for d in /sys/class/net/*; do echo $(cat $d/ifindex) $(basename $d); done"
    )
    seen = {
        f"{dev.ifindex.value_()} {linux.netdev_name(dev).decode()}" for dev in linux.for_each_netdev(prog)
    }
    assert seen == set(devices.splitlines())
    assert linux.netdev_ipv4_addrs(linux.netdev_get_by_name(prog, "lo")) == [IPv4Address("127.0.0.1")]
    nets = [net.value_() for net in linux.for_each_net(prog)]
    assert prog["init_net"].address_ in nets
    lines = [line.split() for line in say(guest, "cat /proc/net/tcp").splitlines()[1:]]
    told = {int(line[1].split(":")[1], 16) for line in lines if line[3] == "0A"}
    assert told
    assert {sock.__sk_common.skc_num.value_() for sock in listening(prog)} >= told


def listening(prog: drgn.Program) -> Iterator[drgn.Object]:
    """Listening TCP sockets by port and address: buckets are lists of nulls since 6.1 (cae3873c5b3a)."""
    table = prog["tcp_hashinfo"]
    for number in range(table.lhash2_mask.value_() + 1):
        bucket = table.lhash2[number]
        if bucket.type_.has_member("head"):
            name = "icsk_listen_portaddr_node"
            head = bucket.head.address_of_()
            for found in linux.hlist_for_each_entry("struct inet_connection_sock", head, name):
                yield found.icsk_inet.sk
        else:
            head = bucket.nulls_head.address_of_()
            yield from linux.hlist_nulls_for_each_entry("struct sock", head, "__sk_common.skc_nulls_node")


def test_memory(guest: LabGuest, prog: drgn.Program, sleeper: int) -> None:

    def same_caches() -> bool:
        # One that is no longer wanted is taken away some time later.
        told = {line.split()[0] for line in say(guest, "tail -n +3 /proc/slabinfo").splitlines()}
        return {linux_name(cache) for cache in linux.for_each_slab_cache(prog)} == told

    assert soon(same_caches)
    task = linux.find_task(prog, sleeper)
    assert linux_name(linux.find_containing_slab_cache(task)) == "task_struct"
    cache = linux.find_slab_cache(prog, "task_struct")

    def all_are_objects() -> bool:
        tasks = {found.value_() for found in linux.for_each_task(prog) if found.pid > 1}
        found = linux.slab_cache_for_each_allocated_object(cache, "struct task_struct")
        return len(tasks) > 60 and {item.value_() for item in found} >= tasks

    assert soon(all_are_objects)
    page = linux.follow_page(task.mm, task.mm.start_code)
    assert prog.read(linux.page_to_phys(page), 16, True) == linux.access_process_vm(
        task, task.mm.start_code.value_() & ~0xFFF, 16
    )
    assert linux.totalram_pages(prog) * 4 == int(say(guest, "grep MemTotal /proc/meminfo").split()[1])
    offset = prog["page_offset_base"].value_()
    assert prog.read(offset + 0x1000, 64) == prog.read(0x1000, 64, True)


def linux_name(cache: drgn.Object) -> str:
    return cache.name.string_().decode()


def test_processors(guest: LabGuest, prog: drgn.Program) -> None:
    cpus = list(linux.for_each_online_cpu(prog))
    assert len(cpus) == int(say(guest, "nproc"))
    for cpu in cpus:
        rq = linux.per_cpu(prog["runqueues"], cpu)
        assert rq.cpu == cpu
        assert linux.cpu_rq(prog, cpu) == rq.address_of_()
        assert linux.idle_task(prog, cpu).comm.string_() == f"swapper/{cpu}".encode()
        assert soon(lambda cpu=cpu: linux.task_cpu(linux.cpu_curr(prog, cpu)) == cpu)


def test_the_machine(guest: LabGuest, vm: vmon.VirtualMachine, prog: drgn.Program) -> None:
    told = say(guest, "uname -r; hostname; cat /proc/cmdline; cut -d' ' -f1 /proc/uptime").splitlines()
    assert prog["UTS_RELEASE"].string_().decode() == told[0]
    assert prog["init_uts_ns"].name.nodename.string_().decode() == told[1]
    assert prog["saved_command_line"].string_().decode() == told[2]
    # The kernel's own variable moves with its ticks.
    assert soon(lambda: 0 <= linux.uptime(prog) - float(told[3]) < 600)
    assert linux.kaslr_offset(prog) == vm.guest.kaslr_slide
    assert linux.pgtable_l5_enabled(prog) == (vm.guest.paging_levels == 5)
    assert b"Linux version " + told[0].encode() in linux.get_dmesg(prog)
    assert prog["linux_banner"].string_().startswith(b"Linux version")
    flags = drgn.ProgramFlags
    assert prog.flags & flags.IS_LINUX_KERNEL and prog.flags & flags.IS_LIVE


def test_types(prog: drgn.Program) -> None:
    task = prog.type("struct task_struct")
    assert {member.name for member in task.members} >= {"pid", "comm", "mm"}
    fields = [member for member in task.members if member.bit_field_size]
    numbers = {drgn.TypeKind.INT, drgn.TypeKind.BOOL}
    assert fields and {member.type.unaliased_kind() for member in fields} <= numbers
    assert drgn.offsetof(task, "comm") > 0 and drgn.sizeof(task) > drgn.offsetof(task, "comm")
    assert prog.type("pid_t").unaliased().type_name() == "int"
    assert prog.type("const struct file *").type.qualifiers == drgn.Qualifiers.CONST
    assert drgn.sizeof(prog.type("struct list_head")) == 16
    assert prog.type("struct list_head").member("next").type.type_name() == "struct list_head *"
    assert prog.constant("PIDTYPE_PID").value_() == 0
    assert prog.constant("MIGRATE_UNMOVABLE").value_() == 0
    assert prog.constant("PERF_EVENT_STATE_ERROR").value_() == -2
    assert min(item.value for item in prog.type("enum perf_event_state").enumerators) < -2
    operations = prog.type("struct file_operations").member("read").type
    assert operations.kind == drgn.TypeKind.POINTER and operations.type.kind == drgn.TypeKind.FUNCTION
    assert operations.type.parameters[0].type.type_name() == "struct file *"
    with pytest.raises(LookupError):
        prog.type("struct no_such_thing")


def test_no_variable_is_larger_than_its_room(vm: vmon.VirtualMachine, prog: drgn.Program) -> None:
    symbols = KernelSymbols(vm.wide_kernel)
    untyped, large, seen = [], [], 0
    for name in VARIABLES:
        if len(symbols.rows(name)) != 1:
            continue
        try:
            found = prog.variable(name)
        except LookupError:
            untyped.append(name)
            continue
        seen += 1
        assert found.address_ is not None
        if drgn.sizeof(found) > symbols.size_bytes(found.address_):
            large.append(
                (name, found.type_.type_name(), drgn.sizeof(found), symbols.size_bytes(found.address_))
            )
    assert seen > 180
    assert not large
    assert not untyped


def test_what_is_not_there_is_said(prog: drgn.Program) -> None:
    with pytest.raises(LookupError):
        prog["no_such_variable"]
    with pytest.raises(drgn.FaultError):
        prog.read(0xFFFF_8000_0000_0000 if not linux.pgtable_l5_enabled(prog) else 0xFF00_0000_0000_0000, 8)
    with pytest.raises(drgn.FaultError):
        prog.read(1 << 50, 8, True)
    with pytest.raises(drgn.FaultError):
        prog.read(0x400000, 8)


def test_limits_that_the_documentation_names(vm: vmon.VirtualMachine, prog: drgn.Program) -> None:
    """Each of docs/drgn.md's list, tried: when one of them goes away, the list must change."""
    names = Counter(vm.wide_kernel.symbols.names)
    twice = next(
        name
        for name, count in names.items()
        if count > 1 and vm.wide_kernel.types.all_named(name, KIND_FUNC) and name not in VARIABLES
    )
    for name in ("TASK_RUNNING", "PF_KTHREAD", "GFP_KERNEL", "HZ", "list_add", "console_sem", twice):
        with pytest.raises(LookupError):
            prog[name]
    # Of the moments in which init sleeps.
    traces: list[Any] = []
    assert soon(lambda: traces.append(prog.stack_trace(1)) or len(traces[-1]) > 1)
    trace = traces[-1]
    assert trace[1].locals() == []
    with pytest.raises(KeyError):
        trace[1]["task"]
    with pytest.raises(LookupError):
        trace[0].source()
    with pytest.raises(LookupError):
        prog.source_location(prog.symbol("vfs_read").address)
    assert prog.function("entry_SYSCALL_64").type_.type_name() == "void ()"
    assert drgn.Object(prog, "struct semaphore", address=prog.symbol("console_sem").address).count <= 1

    def refused() -> bool:
        running = [linux.cpu_curr(prog, cpu) for cpu in linux.for_each_online_cpu(prog)]
        try:
            for task in running:
                prog.stack_trace(task)
        except ValueError as error:
            return "running" in str(error)
        return False  # all of them have left their CPU since

    assert soon(refused)


def run(guest: LabGuest, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    program = "from vmon.cli import main; main()"
    command = [sys.executable, "-c", program, "drgn", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=600)


def test_the_command(guest: LabGuest, sleeper: int, tmp_path: Path) -> None:
    done = run(
        guest,
        guest.name,
        "-c",
        "print(find_task(1).comm.string_().decode()); import sys; print(sys.argv)",
        "a",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1] == "['-c', 'a']"
    assert run(guest, "-c", "raise SystemExit(7)", guest.name).returncode == 7
    done = run(guest, guest.name, "-c", "1/0")
    assert done.returncode == 1
    head = ["Traceback (most recent call last):", '  File "<string>", line 1, in <module>']
    assert done.stderr.splitlines()[:2] == head
    done = run(guest, guest.name, stdin="print(prog['init_task'].pid.value_())")
    assert done.stdout == "0\n"
    script = tmp_path / "script.py"
    script.write_text("import sys, json\nprint(json.dumps(sys.argv), prog.flags.name)\nsys.exit('over')\n")
    done = run(guest, guest.name, str(script), "--all", "-c", "x")
    assert json.loads(done.stdout.split("]")[0] + "]") == [str(script), "--all", "-c", "x"]
    assert (done.returncode, done.stderr) == (1, "over\n")
    done = run(guest, guest.name, "no-such-script.py")
    assert done.returncode == 2
    assert "no script no-such-script.py" in done.stderr
    done = run(guest, guest.name, str(ROOT / "examples" / "drgn_tasks.py"))
    assert done.returncode == 0, done.stderr
    rows = {int(line.split()[0]): line.split(maxsplit=3)[1:] for line in done.stdout.splitlines()[1:]}
    assert rows[sleeper][0] == "S" and "nanosleep" in rows[sleeper][1] and rows[sleeper][2] == "sleep 86399"
    assert rows[2][2] == "[kthreadd]"


@pytest.mark.parametrize("guest", [SURVEYED], indirect=True)
def test_a_dump(guest: LabGuest, tmp_path: Path) -> None:
    file = tmp_path / "ram.elf"
    vmon.dump(guest.name, file, "elf", paused=True)
    with vmon.attach(f"dump:{file}") as vm:
        prog = vm.drgn_program()
        assert not prog.flags & drgn.ProgramFlags.IS_LIVE
        seen = {task.tgid.value_() for task in linux.for_each_task(prog)}
        assert seen == {process.pid for process in vm.processes()}
        assert "schedule" in str(prog.stack_trace(1))


def documented() -> dict[str, bool]:
    """Of docs/drgn.md: whether each helper works."""
    found = {}
    for line in (ROOT / "docs" / "drgn.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| ") and len(cells) == 3 and cells[0] not in ("drgn.helpers.linux", "what"):
            found |= {f"{cells[0]}.{name}": True for name in cells[1].split()}
            found |= {
                f"{cells[0]}.{item.split(':')[0].strip()}": False
                for item in cells[2].split(";")
                if ":" in item
            }
    return found


def survey_script(prog: drgn.Program) -> ModuleType:
    drgn.set_default_prog(prog)
    spec = importlib.util.spec_from_file_location("drgn_helpers", ROOT / "docs" / "drgn_helpers.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("guest", [SURVEYED], indirect=True)
def test_the_table_of_helpers(guest: LabGuest) -> None:
    swap = "dd if=/dev/zero of=/tmp/swap bs=1M count=4 2>/dev/null; losetup /dev/loop0 /tmp/swap; mkswap /dev/loop0"
    holder = sleeping(guest, "sleep 86398 3</proc/self/ns/net")
    say(guest, f"modprobe loop; {swap}; swapon /dev/loop0")
    table = documented()
    try:
        with vmon.attach(guest.name) as vm:
            script = survey_script(vm.drgn_program())
            # A helper fails now and then where the guest moves under it: that one is tried again.
            differing = survey(script, table)
            for _ in range(3):
                if differing:
                    again = survey(script, table)
                    differing = {name: again[name] for name in differing if name in again}
    finally:
        say(guest, f"end {holder}; swapoff /dev/loop0; losetup -d /dev/loop0; rm /tmp/swap; rmmod loop")
    assert not differing
    assert sum(table.values()) > 420


def survey(script: ModuleType, table: dict[str, bool]) -> dict[str, str]:
    """Helpers that do not do what the table says, and what they say."""
    rows = {f"{module}.{name}": said for module, name, said in script.survey()}
    assert rows.keys() == table.keys()
    return {
        name: said
        for name, said in rows.items()
        if said.startswith("works") != table[name] and "nothing of the kind" not in said
    }


def test_a_second_opinion_on_symbols(prog: drgn.Program) -> None:
    """drgn decodes kallsyms by itself where VMCOREINFO says where it lies, from 6.0 on: the same symbols."""
    try:
        index = load_vmlinux_kallsyms(prog)
    except drgn.MissingDebugInfoError:
        pytest.skip("VMCOREINFO does not tell where kallsyms lies, before Linux 6.0")
    for name in ("schedule", "init_task", "tcp_hashinfo", "vfs_read"):
        (theirs,) = index(prog, name, None, True)
        assert theirs.address == prog.symbol(name).address
