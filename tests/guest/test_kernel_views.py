"""What is in the kernel, against the guest's own word: /proc and /sys read inside at that moment, on every kernel."""

from __future__ import annotations

import re
import time

import pytest

import vmon
from tests.guest.compare import settles, while_still
from tests.guest.conftest import ONE_CPU, say, sleeping
from vmon.core.errors import UsageError
from vmon.lab.guest import LabGuest


def test_modules(guest: LabGuest, vm: vmon.VirtualMachine) -> None:
    say(guest, "modprobe veth; modprobe bridge; modprobe overlay")
    told, seen = while_still(lambda: say(guest, "cat /proc/modules"), vm.modules)
    lines = []
    for record in seen:
        users = "".join(f"{name}," for name in record.used_by) or "-"
        taints = f" ({record.taints})" if record.taints else ""
        lines.append(
            f"{record.name} {record.size} {record.references} {users} {record.state} "
            f"{record.address:#018x}{taints}"
        )
    assert lines == told.splitlines()
    assert {"veth", "bridge", "llc"} <= {record.name for record in seen}
    assert seen.coverage == []
    # The guest as others use it has none of them.
    say(guest, "rmmod bridge veth overlay")


LEVELS = ("emerg", "alert", "crit", "err", "warn", "notice", "info", "debug")
FACILITIES = {0: "kern", 1: "user", 3: "daemon"}


def of_kmsg(text: str) -> dict[int, tuple[int, str, str, str, str | None, str | None]]:
    """Records of /dev/kmsg by their sequence: microseconds, facility, level, text as it is escaped there, device."""
    found = {}
    last = 0
    for line in text.split("\n"):
        if line.startswith(" "):
            name, _, value = line[1:].partition("=")
            at = {"SUBSYSTEM": 4, "DEVICE": 5}[name]
            found[last] = (*found[last][:at], value, *found[last][at + 1 :])
        elif line:
            head, _, said = line.partition(";")
            priority, sequence, usec = (int(word) for word in head.split(",")[:3])
            last = int(sequence)
            found[last] = (usec, FACILITIES[priority >> 3], LEVELS[priority & 7], said, None, None)
    return found


def read_kmsg(guest: LabGuest) -> str:
    """All of /dev/kmsg up to a line of our own: who reads it waits for more when it has all."""
    mark = f"vmon-mark-{time.monotonic_ns()}"
    return say(
        guest,
        f"echo {mark} >/dev/kmsg; cat /dev/kmsg >/run/kmsg & until grep -q {mark} /run/kmsg; do usleep 50000; done;"
        "end $!; cat /run/kmsg; rm /run/kmsg",
    )


def test_dmesg(guest: LabGuest, vm: vmon.VirtualMachine) -> None:
    say(
        guest,
        "echo on > /proc/sys/kernel/printk_devkmsg;"
        "echo '<30>of a daemon' > /dev/kmsg; "
        "printf '<12>first\\nsecond \\001\\\\\\n' > /run/said;"
        "dd if=/run/said of=/dev/kmsg bs=1024 2>/dev/null; rm /run/said",
    )

    def compare() -> list[int]:
        told = of_kmsg(read_kmsg(guest))
        answer = vm.dmesg()
        seen = {}
        for record in answer:
            raw = record.text.encode("utf-8", "surrogateescape")
            said = "".join(chr(b) if 32 <= b < 127 and b != 92 else f"\\x{b:02x}" for b in raw)
            seen[record.sequence] = (
                round(record.time * 1e9) // 1000,
                record.facility,
                record.level,
                said,
                record.subsystem,
                record.device,
            )
        # The guest may have said more, and overwritten as much, since.
        assert max(told) - min(seen) > 100
        assert {seq: said for seq, said in seen.items() if seq <= max(told)} == {
            seq: said for seq, said in told.items() if seq >= min(seen)
        }
        first = [gap.count for gap in answer.coverage if gap.reason == "not resident"]
        assert first == ([min(seen)] if min(seen) else [])
        return sorted(seen)

    numbers = compare()
    records = vm.dmesg(after=numbers[-1] - 2)
    assert [record.sequence for record in records][:2] == numbers[-2:]
    by_text = {record.text: record for record in vm.dmesg()}
    daemon = by_text["of a daemon"]
    assert (daemon.facility, daemon.level, daemon.caller is not None) == ("daemon", "info", True)
    assert by_text["first\nsecond \1\\"].level == "warn"
    # Now so much that the ring goes round.
    say(
        guest,
        "i=0; while [ $i -lt 2500 ]; do"
        ' echo "vmon $i ${i}abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz" > /dev/kmsg; i=$((i+1)); done',
    )
    assert compare()[0] > 0
    say(guest, "echo ratelimit > /proc/sys/kernel/printk_devkmsg")


NAMED = """
    kernel.kptr_restrict kernel.dmesg_restrict kernel.modules_disabled kernel.kexec_load_disabled
    kernel.yama.ptrace_scope kernel.randomize_va_space kernel.unprivileged_bpf_disabled
    kernel.perf_event_paranoid kernel.core_pattern kernel.modprobe fs.suid_dumpable kernel.sysrq
    fs.protected_symlinks fs.protected_hardlinks fs.protected_fifos fs.protected_regular
    net.ipv4.ip_forward net.ipv4.conf.all.rp_filter user.max_user_namespaces
    kernel.unprivileged_userns_clone kernel.tainted kernel.pid_max kernel.threads-max
    kernel.random.boot_id vm.mmap_min_addr net.core.bpf_jit_harden
"""


def told_settings(guest: LabGuest) -> dict[str, str]:
    """Values under /proc/sys by the name that sysctl gives them; of what has several lines all."""
    found: dict[str, list[str]] = {}
    for line in say(guest, "find /proc/sys -type f | xargs grep -H '' 2>/dev/null || true").split("\n"):
        path, _, value = line.partition(":")
        found.setdefault(path.removeprefix("/proc/sys/").replace(".", "%"), []).append(value)
    return {
        name.replace("/", ".").replace("%", "/"): "\n".join(lines) for name, lines in found.items() if name
    }


def test_sysctl(guest: LabGuest, vm: vmon.VirtualMachine) -> None:
    change = (
        "cd /proc/sys; echo {} > kernel/kptr_restrict; echo {} > fs/protected_fifos; "
        "echo '{}' > kernel/core_pattern"
    )
    old = say(
        guest, "cd /proc/sys; cat kernel/kptr_restrict fs/protected_fifos kernel/core_pattern"
    ).splitlines()
    say(guest, change.format(2, 1, "|/sbin/keep %p"))
    # A dot in the name of an interface is no dot between names.
    say(guest, "modprobe dummy numdummies=0 && ip link add name a.b type dummy")
    moving: set[str] | None = None
    for _ in range(5):
        told, seen, again = told_settings(guest), vm.sysctl(), told_settings(guest)
        values = {record.name: record.value for record in seen if record.value is not None}
        differ = {
            name: (value, told.get(name), again.get(name))
            for name, value in values.items()
            if value not in (told.get(name, ""), again.get(name, ""))
        }
        # What stood still is as it was told. What moves without end is looked at again.
        assert {name for name in differ if told.get(name) == again.get(name)} == set()
        moving = set(differ) if moving is None else moving & set(differ)
        if not moving:
            break
    assert not moving, {name: differ[name] for name in moving}
    modes = dict(
        reversed(line.split(" ", 1))
        for line in say(guest, "cd /proc/sys; find . -type f | xargs stat -c '%a %n'").splitlines()
    )
    say(guest, "ip link del a.b; rmmod dummy; " + change.format(*old))
    assert sorted(record.name for record in seen) == sorted(
        name[2:].replace(".", "%").replace("/", ".").replace("%", "/") for name in modes
    )
    assert [int(record.mode, 8) for record in seen] == [
        int(modes["./" + record.name.replace("/", "%").replace(".", "/").replace("%", ".")], 8)
        for record in seen
    ]
    # Nearly all are followed, and of those that matter for security every one.
    assert len(values) > 0.9 * len(told)
    present = [name for name in NAMED.split() if name in told]
    assert len(present) > 20
    assert set(present) <= values.keys()
    assert values["kernel.core_pattern"] == "|/sbin/keep %p"
    assert "net.ipv4.conf.a/b.rp_filter" in values
    hidden = [record for record in seen if record.value is None and int(record.mode, 8) & 0o444]
    assert [(gap.what, gap.reason, gap.count) for gap in seen.coverage] == [
        ("value", "not looked for", len(hidden))
    ]
    assert [record.name for record in vm.sysctl(["kernel.kptr_*"])] == ["kernel.kptr_restrict"]
    with pytest.raises(UsageError, match="no setting kernel"):
        vm.sysctl(["kernel.nix"])


def test_lsm(guest: LabGuest, vm: vmon.VirtualMachine) -> None:
    told = say(
        guest,
        "mkdir -p /run/sec; mount -t securityfs none /run/sec; cat /run/sec/lsm; echo;"
        " cat /run/sec/lockdown; cat /proc/sys/kernel/yama/ptrace_scope; umount /run/sec; rmdir /run/sec",
    )
    names, levels, scope = told.split("\n")[:3]
    seen = vm.lsm()
    assert [record.name for record in seen] == names.split(",")
    assert all(record.listed for record in seen)
    state = {record.name: record.state for record in seen}
    assert f"[{state['lockdown']}]" in levels.split()
    assert state["yama"] == f"ptrace_scope {scope}"
    hooks = {record.name: record.hooks or 0 for record in seen}
    # include/linux/lsm_hook_defs.h: yama has four, lockdown one, in every kernel of the matrix.
    assert hooks["yama"] == 4
    assert hooks["lockdown"] == 1
    assert hooks["capability"] >= 15
    assert seen.coverage == []


def test_bpf(guest: LabGuest, vm: vmon.VirtualMachine) -> None:
    child = say(guest, "/lab/bpf hold").strip()
    told = say(guest, "/lab/bpf list").splitlines()
    programs, maps = vm.bpf_programs(), vm.bpf_maps()
    # As uapi/linux/bpf.h has them; the guest has no others.
    numbers = {"prog": {"socket_filter": 1, "cgroup_skb": 8, "tracing": 26}, "map": {"hash": 1, "array": 2}}
    lines = [
        f"prog {record.id} {numbers['prog'][record.type]} [{record.name}] {record.tag} {record.uid} "
        f"{record.load_time_ns} {record.instructions} {record.jited_size} [{','.join(map(str, record.map_ids))}]"
        for record in programs
    ]
    lines += [
        f"map {record.id} {numbers['map'][record.type]} [{record.name}] {record.key_size} {record.value_size} "
        f"{record.max_entries} {record.flags}"
        for record in maps
    ]
    assert lines == told
    own = {record.name: record for record in programs}["vmon_with_map"]
    held = {record.name: record for record in maps}["vmon_map"]
    assert (own.type, own.map_ids, own.uid, own.attach_type) == ("socket_filter", [held.id], 0, None)
    assert (held.type, held.key_size, held.value_size, held.max_entries) == ("hash", 4, 24, 7)
    assert own.jited
    assert own.jited_address is not None
    assert programs.coverage == []
    assert maps.coverage == []
    # One that is unloaded is gone.
    say(
        guest,
        f"end {child}; while /lab/bpf list | grep -q vmon_; do sleep 0.1; done",
    )
    assert "vmon_alone" not in [record.name for record in vm.bpf_programs()]


@pytest.mark.parametrize("guest", ONE_CPU, indirect=True)
def test_hooks(guest: LabGuest, vm: vmon.VirtualMachine) -> None:
    say(
        guest,
        "modprobe veth; mount -t debugfs none /sys/kernel/debug; mount -t tracefs none /sys/kernel/tracing;"
        "cd /sys/kernel/tracing; echo 'p:vmon/one vfs_open' > kprobe_events;"
        "echo 'r:vmon/back vfs_rename' >> kprobe_events; echo 'p:vmon/two vfs_open' >> kprobe_events;"
        "echo 'p:vmon/off vfs_mkdir' >> kprobe_events; echo 'p:vmon/mod veth_open' >> kprobe_events;"
        "for at in one two back mod; do echo 1 > events/vmon/$at/enable; done;"
        "echo vfs_write > set_ftrace_filter; echo function > current_tracer",
    )
    probes = say(guest, "cat /sys/kernel/debug/kprobes/list")
    traced = say(guest, "cat /sys/kernel/tracing/enabled_functions")
    seen = vm.hooks()
    say(
        guest,
        "cd /sys/kernel/tracing; echo nop > current_tracer; echo > set_ftrace_filter;"
        "for at in one two back mod; do echo 0 > events/vmon/$at/enable; done; echo > kprobe_events;"
        "cd /; umount /sys/kernel/tracing /sys/kernel/debug; rmmod veth",
    )
    by_kind = {
        kind: [record for record in seen if record.kind.endswith(kind)] for kind in ("probe", "ftrace")
    }
    told = []
    for line in probes.splitlines():
        address, kind, place, *rest = line.split()
        state = [word for word in ["gone", "disabled", "optimized", "ftrace"] if f"[{word.upper()}]" in line]
        name = "[veth]" if "veth" in rest else place.split("+")[0]
        told.append((int(address, 16), {"k": "kprobe", "r": "kretprobe"}[kind], name, state))
    assert sorted((r.address, r.kind, r.function, r.state) for r in by_kind["probe"]) == sorted(told)
    assert len(told) == 5
    dispatchers = {(record.kind, *record.handlers) for record in by_kind["probe"]}
    assert dispatchers == {("kprobe", "kprobe_dispatcher"), ("kretprobe", "kretprobe_dispatcher")}
    lines = [line.split() for line in traced.splitlines() if not line.startswith("\t")]
    functions = {
        "[veth]" if "[veth]" in words else words[0]: int(words[words[1].startswith("[") + 1].strip("()"))
        for words in lines
    }
    assert {record.function: record.users for record in by_kind["ftrace"]} == functions
    assert functions.keys() == {"vfs_open", "vfs_write", "vfs_rename", "[veth]"}
    calls = {record.function: record.handlers for record in by_kind["ftrace"]}
    assert calls["vfs_open"] == ["kprobe_ftrace_handler"]
    assert calls["vfs_write"] == ["function_trace_call"]
    assert seen.coverage == []
    after = vm.hooks()
    assert after == []
    assert after.coverage == []


KEY_MARKS = (
    *((0, "I", "instantiated"), (1, "R", "revoked"), (2, "D", "dead"), (3, "Q", "in quota")),
    *((4, "U", "under construction"), (5, "N", "negative"), (6, "i", "invalidated")),
)
USER_MAY_SEE = 0x0001_0000


Key = tuple[str, int, int, int, int, str, str]


def told_keys(guest: LabGuest) -> tuple[dict[int, Key], list[list[int]]]:
    """Of /proc/keys by serial: marks, usage, permissions, owner, group, type and text; lines of /proc/key-users."""
    told = {}
    keys, users = say(guest, "cat /proc/keys; echo; cat /proc/key-users").split("\n\n")
    for line in keys.splitlines():
        serial, marks, usage, _, perm, uid, gid, kind, text = line.split(None, 8)
        told[int(serial, 16)] = (marks, int(usage), int(perm, 16), int(uid), int(gid), kind, text)
    lines = users.replace("/", " ").replace(":", " ").splitlines()
    return told, [[int(number) for number in line.split()] for line in lines]


def test_keys(guest: LabGuest, vm: vmon.VirtualMachine) -> None:
    before = int(say(guest, "date +%s"))
    timed, revoked, ring = (int(word) for word in say(guest, "/lab/keys").split())
    # Who asks has keyrings too, and what was revoked is collected some time later.
    (told, users), (seen, seen_users) = while_still(
        lambda: told_keys(guest), lambda: (vm.keys(), vm.key_users())
    )
    say(guest, "/lab/keys clear")
    by_serial = {record.serial: record for record in seen}
    assert told.keys() <= by_serial.keys()
    # What is not in /proc/keys may not be seen by its owner either.
    assert not [
        record
        for record in seen
        if record.serial not in told and record.uid == 0 and record.permissions & USER_MAY_SEE
    ]
    for serial, (marks, usage, perm, uid, gid, kind, text) in told.items():
        record = by_serial[serial]
        assert (record.usage, record.permissions, record.uid) == (usage, perm, uid)
        assert record.gid == (None if gid == 65534 else gid)
        assert record.type[:9] == kind
        assert sorted(record.state) == sorted(name for at, mark, name in KEY_MARKS if marks[at] == mark)
        assert text.startswith(record.description)
        if record.type == "keyring" and not {"revoked", "dead"} & set(record.state):
            assert text == f"{record.description}: {record.keys or 'empty'}"
    assert [
        (r.uid, r.usage, r.keys, r.instantiated_keys, r.quota_keys, r.quota_bytes) for r in seen_users
    ] == [(u[0], u[1], u[2], u[3], u[4], u[6]) for u in users]
    assert (by_serial[timed].type, by_serial[timed].description) == ("user", "vmon:timed")
    assert before + 3600 <= (by_serial[timed].expiry or 0) <= before + 3660
    assert by_serial[ring].keys == 0
    assert by_serial[ring].expiry is None
    assert revoked not in by_serial or "revoked" in by_serial[revoked].state
    assert seen.coverage == []
    assert seen_users.coverage == []


CLOCKS = ("monotonic", "realtime", "boottime", "tai") * 2


def told_timers(guest: LabGuest) -> set[tuple[int, str, str, int]]:
    """Timers of /proc/timer_list: CPU, clock, function, expiry in ns."""
    found = set()
    cpu, clock, function = 0, "", ""
    for line in say(guest, "cat /proc/timer_list").splitlines():
        words = line.replace(",", " ").split()
        if line.startswith("cpu:"):
            cpu = int(words[1])
        elif line.startswith(" clock "):
            clock = CLOCKS[int(words[1].rstrip(":"))]
        elif line.startswith(" #") and words[0][1:-1].isdigit():
            function = words[2]
        elif line.startswith(" # expires at"):
            found.add((cpu, clock, function, int(words[3].split("-")[1])))
    return found


def test_timers(guest: LabGuest, vm: vmon.VirtualMachine) -> None:
    sleeper = sleeping(guest)
    # What is set and runs out within the milliseconds of a look is in neither list of the guest.
    settles(lambda: compare_timers(guest, vm, sleeper))
    say(guest, f"end {sleeper}")


def compare_timers(guest: LabGuest, vm: vmon.VirtualMachine, sleeper: int) -> None:
    before = told_timers(guest)
    seen = vm.timers()
    after = told_timers(guest)
    high = {(r.cpu, r.clock, r.function, r.expires) for r in seen if r.kind == "hrtimer"}
    # Many are set anew every few milliseconds; those that stood still are seen.
    assert before & after <= high
    assert len(before & after) >= 2
    assert {function for _, _, function, _ in high} <= {function for _, _, function, _ in before | after} | {
        "it_real_fn",
        "dl_task_timer",
    }
    assert sleeper in [record.pid for record in seen if record.function == "hrtimer_wakeup"]
    wheel = [record for record in seen if record.kind == "timer"]
    assert "vmstat_shepherd" in [record.work for record in wheel]
    assert not [record for record in wheel if record.function.startswith("0x")]
    assert all((record.work is not None) == (record.function == "delayed_work_timer_fn") for record in wheel)
    threads = set(say(guest, "echo /proc/[0-9]*/task/*").split())
    waiting = [record.pid for record in wheel if record.function == "process_timeout"]
    assert waiting
    assert all(any(path.endswith(f"/{pid}") for path in threads) for pid in waiting)
    # Timers of other CPUs move while a wheel is read.
    assert {gap.reason for gap in seen.coverage} <= {"torn"}


def told_kworkers(guest: LabGuest) -> dict[int, str]:
    """Names of kworker threads, without what they work on."""
    lines = say(
        guest, "cd /proc; for at in [0-9]*; do echo $at $(cat $at/comm 2>/dev/null); done"
    ).splitlines()
    names = dict(line.split(" ", 1) for line in lines if " kworker/" in line)
    return {
        int(pid): re.split(r"[-+](?!\d)", name, maxsplit=1)[0]
        for pid, name in names.items()
        if "/R-" not in name
    }


def test_workqueues(guest: LabGuest, vm: vmon.VirtualMachine) -> None:
    # Workers and queues come and go with the work.
    settles(lambda: compare_workqueues(guest, vm))


def compare_workqueues(guest: LabGuest, vm: vmon.VirtualMachine) -> None:
    seen = vm.workqueues()
    names = {record.name for record in seen}
    assert {record.name for record in seen if "sysfs" in record.flags} == set(
        say(guest, "cd /sys/devices/virtual/workqueue; for at in */max_active; do dirname $at; done").split()
    )
    assert {"events", "events_highpri", "events_unbound", "mm_percpu_wq", "writeback"} <= names
    rescuers = [record for record in seen if record.rescuer_pid]
    assert len(rescuers) > 5
    assert all("mem_reclaim" in record.flags for record in rescuers)
    for record in rescuers:
        comm = say(guest, f"cat /proc/{record.rescuer_pid}/comm").strip()
        assert record.name.startswith(comm.removeprefix("kworker/R-"))
    before, pools = while_still(lambda: told_kworkers(guest), vm.worker_pools)
    told = {
        pid: (name.removeprefix("kworker/").split(":")[0], name.endswith("H")) for pid, name in before.items()
    }
    found = {
        pid: (f"u{pool.id}" if pool.cpu is None else str(pool.cpu), pool.nice < 0 and pool.cpu is not None)
        for pool in pools
        for pid in pool.worker_pids
    }
    assert found == told
    assert all(pool.idle <= pool.workers for pool in pools)
    assert all(pool.workers == len(pool.worker_pids) for pool in pools if pool.worker_pids)
    served = {number for record in seen for number in record.pools}
    assert served <= {pool.id for pool in pools}
    assert seen.coverage == []
    assert pools.coverage == []


def told_meminfo(guest: LabGuest) -> dict[str, int]:
    """Lines of /proc/meminfo in bytes."""
    lines = say(guest, "cat /proc/meminfo").splitlines()
    return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.endswith("kB")}


# What grows and shrinks with the processes that ask.
WITH_PROCESSES = """
    MemFree MemAvailable Active Inactive Active(anon) Inactive(anon) AnonPages Mapped Slab
    SReclaimable SUnreclaim KReclaimable KernelStack PageTables Committed_AS Active(file)
    Inactive(file) Dirty Writeback
"""


def test_meminfo(guest: LabGuest, vm: vmon.VirtualMachine) -> None:
    say(
        guest,
        "modprobe loop; dd if=/dev/zero of=/run/disk bs=1M count=24 2>/dev/null; losetup /dev/loop0 /run/disk;"
        "mkswap /dev/loop0 > /dev/null; swapon /dev/loop0; cat /dev/loop0 > /dev/null",
    )
    settles(lambda: compare_meminfo(guest, vm))
    say(guest, "swapoff /dev/loop0; losetup -d /dev/loop0; rm /run/disk; rmmod loop || true")


def compare_meminfo(guest: LabGuest, vm: vmon.VirtualMachine) -> None:
    moving = set(WITH_PROCESSES.split())
    before, seen, after = told_meminfo(guest), vm.meminfo(), told_meminfo(guest)
    found = {record.name: record.size for record in seen}
    still = [name for name in found if name not in moving]
    assert {name: before[name] for name in still} == {name: after[name] for name in still}
    assert {name: found[name] for name in still} == {name: after[name] for name in still}
    assert found["Buffers"] >= 20 << 20
    assert found["SwapTotal"] > 20 << 20
    assert found.keys() >= {*moving, "MemTotal", "Cached", "SwapFree", "SwapCached", "Shmem"}
    # The shell that asks has some hundred KiB itself.
    slack = 3 << 20
    assert not [
        (name, before[name], found[name], after[name])
        for name in moving
        if not min(before[name], after[name]) - slack <= found[name] <= max(before[name], after[name]) + slack
    ]
    assert [record.name for record in seen] == [name for name in after if name in found]
    assert seen.coverage == []


def told_cpu_times(guest: LabGuest) -> list[list[int]]:
    """Hundredths of a second by CPU and kind, when each CPU has just run something."""
    script = "for cpu in 0 1; do taskset -c $cpu true; done; grep '^cpu[0-9]' /proc/stat"
    return [[int(word) for word in line.split()[1:]] for line in say(guest, script).splitlines()]


def test_cpus(guest: LabGuest, vm: vmon.VirtualMachine) -> None:
    # Time in which somebody waits for a disk is counted as idle in the end: it can become less.
    settles(lambda: compare_cpus(guest, vm))


def compare_cpus(guest: LabGuest, vm: vmon.VirtualMachine) -> None:
    before = told_cpu_times(guest)
    # An idle CPU counts when it wakes up.
    say(guest, "for cpu in 0 1; do taskset -c $cpu true; done")
    seen = vm.cpus()
    after = told_cpu_times(guest)
    told: list[dict[str, str]] = []
    for line in say(guest, "cat /proc/cpuinfo").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "processor":
            told.append({})
        told[-1][name.strip()] = value.strip()
    assert [
        (
            str(r.cpu),
            r.vendor,
            r.model_name,
            str(r.family),
            str(r.model),
            str(r.stepping),
            f"{r.microcode:#x}",
        )
        for r in seen
    ] == [
        tuple(
            cpu[name]
            for name in (
                "processor",
                "vendor_id",
                "model name",
                "cpu family",
                "model",
                "stepping",
                "microcode",
            )
        )
        for cpu in told
    ]
    assert [record.online for record in seen] == [True, True]
    for record, low, high in zip(seen, before, after, strict=True):
        times = (record.user, record.nice, record.system, record.idle, record.iowait, record.irq)
        times += (record.softirq, record.steal, record.guest, record.guest_nice)
        assert all(a <= int(t * 100 + 1e-6) <= b for a, t, b in zip(low, times, high, strict=True)), (
            low,
            times,
            high,
        )
    assert seen.coverage == []
