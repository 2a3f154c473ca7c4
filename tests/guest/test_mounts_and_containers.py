"""Mounts, cgroups, containers, locks and terminals, against the guest's own word at that moment, on every kernel."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

import pytest

import vmon
from tests.guest.compare import while_still
from tests.guest.conftest import say
from tests.guest.truth import raw, tty_name, unescape
from vmon.core.coverage import Answer
from vmon.core.errors import NoSuchProcess, UsageError
from vmon.core.records.filesystem import LockRecord, MountRecord
from vmon.lab.guest import LabGuest

GENERAL = {"ro", "rw", "sync", "dirsync", "mand", "lazytime"}
# One of each: options, odd names, bind mounts of a folder and of one that is gone, peer groups whose middle is only in
# another namespace, a namespace that a mount alone holds, an unbindable one, one with mapped ids.
MOUNTS = r"""
mkdir -p /tmp/m/one /tmp/m/p /tmp/m/q /tmp/m/r /tmp/m/unb /tmp/m/src/gone /tmp/m/gone '/tmp/m/odd \ name' /tmp/m/ids
mount -t tmpfs -o ro,nosuid,nodev,noexec,noatime,nodiratime 'odd source' /tmp/m/one
mount -t tmpfs -o sync,dirsync,relatime none '/tmp/m/odd \ name'
mount --bind /tmp/m/src/gone /tmp/m/gone
rmdir /tmp/m/src/gone
mount -t tmpfs p /tmp/m/p
mount --make-shared /tmp/m/p
mount --bind /tmp/m/p /tmp/m/q
mount --make-slave /tmp/m/q
mount --make-shared /tmp/m/q
mount --bind /tmp/m/q /tmp/m/r
mount --make-slave /tmp/m/r
mount -t tmpfs u /tmp/m/unb
mount --make-unbindable /tmp/m/unb
unshare -m --propagation shared sleep 9999 >/dev/null 2>&1 </dev/null &
echo $! >/tmp/m/pids
unshare -m --propagation slave sleep 9998 >/dev/null 2>&1 </dev/null &
echo $! >>/tmp/m/pids
unshare -m --propagation private sleep 9997 >/dev/null 2>&1 </dev/null &
last=$!
asleep $(cat /tmp/m/pids) $last
umount /tmp/m/q
touch /tmp/m/held
mount --bind /proc/$last/ns/mnt /tmp/m/held
end $last
/lab/holder idmap /tmp/m/ids || true
"""
NO_MOUNTS = r"""
end $(cat /tmp/m/pids)
for place in held one r p unb gone ids 'odd \ name'; do umount "/tmp/m/$place" 2>/dev/null; done
rm -rf /tmp/m
! grep -q /tmp/m/ /proc/mounts
"""
# A namespace's inode, then mountinfo as its first process has it; then the one that no process is in.
MOUNTINFO = r"""
seen=
for folder in /proc/[0-9]*; do
    inode=$(readlink $folder/ns/mnt) || continue
    case " $seen " in *" $inode "*) continue;; esac
    seen="$seen $inode"
    echo "== $inode"
    cat $folder/mountinfo
done
nsenter --mount=/tmp/m/held sh -c 'echo "== $(readlink /proc/self/ns/mnt)"; cat /proc/self/mountinfo'
"""


@pytest.fixture
def mounted(guest: LabGuest) -> Iterator[str]:
    """The scene of mounts; what the last of them said, which 5.10 can't do."""
    yield say(guest, MOUNTS)
    say(guest, NO_MOUNTS)


def told_mounts(text: str) -> dict[int, list[tuple[object, ...]]]:
    """By namespace, mountinfo in the terms of seen_mount."""
    found: dict[int, list[tuple[object, ...]]] = {}
    for line in text.splitlines():
        if line.startswith("=="):
            mounts = found.setdefault(int(line.split("[")[1][:-1]), [])
            continue
        before, after = line.split(" - ")
        number, parent, device, root, point, options, *spread = before.split()
        kind, source, supers = after.split()
        bare = unescape(root.encode("utf-8", "surrogateescape"))
        major, minor = map(int, device.split(":"))
        mounts.append(
            (
                int(number),
                int(parent),
                os.makedev(major, minor),
                bare.removesuffix(b"//deleted"),
                bare.endswith(b"//deleted"),
                unescape(point.encode()),
                options.split(","),
                spread,
                kind,
                unescape(source.encode()),
                [option for option in supers.split(",") if option in GENERAL],
            )
        )
    return found


def seen_mount(record: MountRecord) -> tuple[object, ...]:
    return (
        record.id,
        record.parent_id,
        record.device,
        raw(record.root),
        record.root_deleted,
        raw(record.mount_point),
        record.options,
        record.propagation,
        record.filesystem,
        raw(record.source),
        record.super_options,
    )


def test_mounts_of_every_namespace(guest: LabGuest, vm: vmon.VirtualMachine, mounted: str) -> None:
    told, answer = while_still(lambda: told_mounts(say(guest, MOUNTINFO)), vm.mounts)
    assert answer.coverage == []
    seen: dict[int, list[tuple[object, ...]]] = {}
    for record in answer:
        seen.setdefault(record.namespace, []).append(seen_mount(record))
    assert set(seen) == set(told)
    for namespace, lines in told.items():
        shown = {line[0] for line in lines}
        assert [line for line in seen[namespace] if line[0] in shown] == lines
        # A process does not see what its root is mounted on.
        hidden = [line for line in seen[namespace] if line[0] not in shown]
        assert all(line[8] in ("rootfs", "nullfs") and line[5] == b"/" for line in hidden), hidden
    # The scene is there: each kind of thing that a line can have.
    lines = [line for mounts in told.values() for line in mounts]
    spread = {word.split(":")[0] for line in lines for word in line[7]}  # type: ignore[attr-defined]
    assert spread >= {"shared", "master", "propagate_from", "unbindable"}
    options = {word for line in lines for word in line[6]}  # type: ignore[attr-defined]
    assert options >= {"ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "relatime"}
    assert ("idmapped" in options) == (mounted == "ready\n")
    assert any(line[4] for line in lines)
    assert any(str(line[3]).startswith("b'mnt:[") for line in lines)
    # Those of the workload (w-files, w-contained), the guest's own, and the three of the scene, one held by a mount.
    assert len(told) >= 6


def test_mounts_of_one_namespace(guest: LabGuest, vm: vmon.VirtualMachine) -> None:
    inside = next(process for process in vm.processes() if process.name == "w-contained")
    namespace = inside.record().mnt_namespace
    assert namespace is not None
    told = told_mounts(say(guest, f"echo '== [{namespace}]'; cat /proc/{inside.pid}/mountinfo"))[namespace]
    for answer in (vm.mounts(pid=inside.pid), vm.mounts(namespace=namespace)):
        assert {record.namespace for record in answer} == {namespace}
        assert [line for line in map(seen_mount, answer) if line[8] != "nullfs"] == told
    with pytest.raises(NoSuchProcess):
        vm.mounts(pid=999_999)
    with pytest.raises(UsageError, match="no mount namespace 7"):
        vm.mounts(namespace=7)


# Controllers with and without limits, a frozen one, one for threads, one without controllers.
CGROUPS = r"""
cd /sys/fs/cgroup
echo '+memory +pids +cpu' >cgroup.subtree_control
mkdir -p v-test/a/b v-test/frozen v-threads 'v-odd name'
echo '+pids +memory' >v-test/cgroup.subtree_control
echo 12 >v-test/a/pids.max
echo 100M >v-test/a/memory.max
echo '50000 200000' >v-test/cpu.max
echo 1 >v-test/frozen/cgroup.freeze
echo threaded >v-threads/cgroup.type
sleep 9996 >/dev/null 2>&1 </dev/null &
echo $! >v-test/a/cgroup.procs
echo $! >/tmp/v-pid
"""
NO_CGROUPS = r"""
cd /sys/fs/cgroup
end $(cat /tmp/v-pid)
rm /tmp/v-pid
rmdir v-test/a/b v-test/a v-test/frozen v-test v-threads 'v-odd name'
echo '-memory -pids -cpu' >cgroup.subtree_control
"""
# The inode of each folder, then each line of the files in them, `path:line`.
FOLDERS = r"""
cd /sys/fs/cgroup
find . -type d -exec stat -c '%i %n' {} +
echo ==
find . '(' -name 'cgroup.[cefps]*' -o -name 'pids.[cm]*' -o -name 'memory.[cm]*' -o -name cpu.max ')' \
    -exec grep -H '' {} + 2>/dev/null || true
"""
Files = dict[str, str]


@pytest.fixture
def grouped(guest: LabGuest) -> Iterator[None]:
    say(guest, CGROUPS)
    yield
    say(guest, NO_CGROUPS)


def told_cgroups(text: str) -> dict[tuple[int, str], Files]:
    """By inode and path, what the files say; one that says nothing, or refuses to, is left out."""
    folders, _, lines = text.partition("==\n")
    found: dict[tuple[int, str], Files] = {}
    by_path: dict[str, Files] = {}
    for line in folders.splitlines():
        inode, _, folder = line.partition(" ")
        by_path[folder] = found[int(inode), folder.removeprefix(".") or "/"] = {}
    for line in lines.splitlines():
        path, _, content = line.partition(":")
        folder, _, file = path.rpartition("/")
        by_path[folder][file] = " ".join([*by_path[folder].get(file, "").split(), content])
    return found


def number(text: str | None) -> int | None:
    return int(text) if text not in (None, "max") else None  # type: ignore[arg-type]


def test_cgroups(guest: LabGuest, vm: vmon.VirtualMachine, grouped: None) -> None:
    before = told_cgroups(say(guest, FOLDERS))
    answer = vm.cgroups()
    after = told_cgroups(say(guest, FOLDERS))
    assert answer.coverage == []
    assert {(record.id, record.path) for record in answer} == set(before) == set(after)
    paths = [record.path for record in answer]
    assert paths[0] == "/"
    assert all(paths.index(path.rpartition("/")[0] or "/") < paths.index(path) for path in paths[1:])
    compared = 0
    for record in answer:
        told, later = before[record.id, record.path], after[record.id, record.path]
        same = {file: text for file, text in told.items() if later.get(file) == text}
        # Of a machine that booted a moment ago, cgroups of its own services are still dying.
        if "cgroup.stat" in same:
            stat = dict(zip(*[iter(same["cgroup.stat"].split())] * 2, strict=False))
            assert record.descendants == int(stat["nr_descendants"])
            assert record.dying_descendants == int(stat["nr_dying_descendants"])
            compared += 1
        assert record.controllers == same.get("cgroup.controllers", "").split()
        assert record.subtree_control == same.get("cgroup.subtree_control", "").split()
        if "cgroup.events" in same:
            assert f"populated {int(record.populated)}" in same["cgroup.events"]
        if "cgroup.freeze" in same:
            assert record.frozen == (same["cgroup.freeze"] == "1")
        if told.get("cgroup.procs") == later.get("cgroup.procs") and record.path != "/v-threads":
            assert record.processes == len(told.get("cgroup.procs", "").split())
        quota, period = same["cpu.max"].split() if "cpu.max" in same else (None, None)
        assert (record.cpu_quota_us, record.cpu_period_us) == (number(quota), number(period))
        for file in ("pids.current", "pids.max", "memory.current", "memory.max"):
            if file in same or file not in told:
                assert getattr(record, file.replace(".", "_")) == number(same.get(file)), (record.path, file)
                compared += file in same
    assert compared >= 20
    limited = next(record for record in answer if record.path == "/v-test/a")
    assert (limited.processes, limited.pids_max, limited.memory_max) == (1, 12, 100 << 20)
    threaded = next(record for record in answer if record.path == "/v-threads")
    assert "memory" not in threaded.controllers
    assert {"pids", "cpu"} <= set(threaded.controllers)


def test_a_quiet_guest_lacks_nothing(vm: vmon.VirtualMachine) -> None:
    processes = vm.processes()
    assert all(process.record().pid == process.pid for process in processes)
    answers = [
        processes,
        vm.sockets(),
        *(answer for process in processes for answer in everything_of(process)),
    ]
    # The command that the test ran before may still be ending.
    assert {gap.reason for answer in answers for gap in answer.coverage} <= {"torn"}


def everything_of(process: vmon.Process) -> list[Answer[Any]]:
    return [
        process.files(),
        process.sockets(),
        process.maps(),
        process.environ() or Answer(),
        process.threads(),
    ]


def test_arguments_that_the_guest_dropped_are_told(guest: LabGuest, vm: vmon.VirtualMachine) -> None:
    """A process that gave back the page of its arguments: nobody can read them any more."""
    script = "/lab/holder forget >/tmp/v-forget 2>&1 </dev/null &"
    # It pauses when it is done.
    pid = int(
        say(
            guest, f"{script} until grep -q '^34 ' /proc/$!/syscall; do usleep 20000; done; cat /tmp/v-forget"
        )
    )
    processes = vm.processes()
    record = next(process for process in processes if process.pid == pid).record()
    assert record.cmdline is None
    assert [(gap.what, gap.reason, gap.count) for gap in processes.coverage if gap.reason != "torn"] == [
        ("cmdline", "not resident", 1)
    ]
    say(guest, f"end {pid}; rm /tmp/v-forget")


HEX = "0123456789abcdef"
IDS = [letter * 32 + HEX * 2 for letter in "abcdef"]
# Where each engine puts a container, and what that says: engine, id, name, pod.
STYLES = {
    f"system.slice/docker-{IDS[0]}.scope": ("docker", IDS[0], None, None),
    f"docker/{IDS[1]}": ("docker", IDS[1], None, None),
    "kubepods.slice/kubepods-burstable.slice/"
    f"kubepods-burstable-pod11111111_2222_3333_4444_555555555555.slice/cri-containerd-{IDS[2]}.scope": (
        "containerd", IDS[2], None, "11111111-2222-3333-4444-555555555555",
    ),
    f"machine.slice/libpod-{IDS[3]}.scope/container": ("podman", IDS[3], None, None),
    f"kubepods/besteffort/pod66666666-2222-3333-4444-555555555555/{IDS[4]}": (
        None, IDS[4], None, "66666666-2222-3333-4444-555555555555",
    ),
    f"kubepods.slice/crio-{IDS[5]}.scope": ("cri-o", IDS[5], None, None),
    "lxc.payload.web-1/init.scope": ("lxc", "web-1", "web-1", None),
    "lxc/old_one": ("lxc", "old_one", "old_one", None),
}  # fmt: skip
# In each two processes with namespaces of their own; in those of monitors a process that is in no container.
CONTAINERS = r"""
cd /sys/fs/cgroup
fill() {
    mkdir -p "$1"
    sh -c "echo \$\$ >'$1/cgroup.procs'; exec $2" >/dev/null 2>&1 </dev/null &
    echo $! >>/tmp/v-fillers
}
for folder in FOLDERS; do
    fill $folder "unshare -p -m -u -f sh -c 'hostname inside; sleep 9990 & exec sleep 9991'"
done
fill machine.slice/libpod-conmon-ID.scope 'sleep 9992'
fill lxc.monitor.web-1 'sleep 9992'
fill user.slice/user-0.slice 'sleep 9992'
fill 'machine.slice/machine-my\x2dbox.scope' "unshare -p -m -f sleep 9993"
asleeps() {
    n=0
    for pid in $(cat "$1/cgroup.procs"); do grep -qE '^(35|230) ' /proc/$pid/syscall && n=$((n + 1)); done
}
for folder in FOLDERS; do n=0; until asleeps $folder; [ $n = 2 ]; do usleep 100000; done; done
for folder in machine.slice/libpod-conmon-ID.scope lxc.monitor.web-1 user.slice/user-0.slice \
    'machine.slice/machine-my\x2dbox.scope'; do
    until asleeps "$folder"; [ $n = 1 ]; do usleep 100000; done
done
"""
NO_CONTAINERS = r"""
for id in $(cat /tmp/v-fillers); do
    end $(cat /proc/$id/task/$id/children) $id
done
rm /tmp/v-fillers
cd /sys/fs/cgroup
for top in docker kubepods* system.slice machine.slice user.slice lxc*; do
    until grep -q 'populated 0' $top/cgroup.events; do usleep 50000; done
done
find docker kubepods* system.slice machine.slice user.slice lxc* -depth -type d -exec rmdir {} +
"""
# A line a process: pid, pids in nested namespaces, pid, mount and net namespace, cgroup.
WHERE = r"""
for folder in /proc/[0-9]*; do
    nested=$(grep NSpid $folder/status) &&
        echo "${folder#/proc/}|${nested#NSpid:}|$(readlink $folder/ns/pid)|$(readlink $folder/ns/mnt)|$(readlink \
            $folder/ns/net)|$(cut -d: -f3- $folder/cgroup)"
done 2>/dev/null
true
"""


@pytest.fixture
def contained(guest: LabGuest) -> Iterator[None]:
    say(guest, CONTAINERS.replace("FOLDERS", " ".join(STYLES)).replace("ID", IDS[0]))
    yield
    say(guest, NO_CONTAINERS)


def inode(link: str) -> int:
    return int(link.split("[")[1][:-1])


def test_containers(guest: LabGuest, vm: vmon.VirtualMachine, contained: None) -> None:
    lines = [line.split("|") for line in say(guest, WHERE).splitlines()]
    answer = vm.containers()
    assert [gap for gap in answer.coverage if gap.reason != "torn"] == []
    by_id = {record.id: record for record in answer}
    where = {int(pid): words for pid, *words in lines}
    for path, (engine, name, shown, pod) in STYLES.items():
        record = by_id.pop(name)
        assert (record.kind, record.engine, record.name, record.pod) == ("cgroup", engine, shown, pod)
        # The unshare that waits outside of the new pid namespace, and two in it.
        told = [pid for pid, words in where.items() if words[4] == f"/{path}"]
        assert sorted(record.pids) == sorted(told)
        assert len(told) == 3
        (init,) = (pid for pid in told if where[pid][0].split()[1:] == ["1"])
        assert record.init_pid == init
        _, pid_space, mnt_space, net_space, _ = where[init]
        assert record.pid_namespace == inode(pid_space)
        assert record.mnt_namespace == inode(mnt_space)
        assert record.net_namespace == inode(net_space)
        assert record.host_namespaces == ["net", "user", "ipc", "cgroup"]
        assert (record.hostname, record.process, record.uid) == ("inside", "sleep", 0)
        assert (record.root, record.root_filesystem) == ("/", "rootfs")
        assert f"/{path}".startswith(str(record.cgroup_path))
    # Those of the workload: a cgroup without namespaces, namespaces without a cgroup.
    plain = by_id.pop(HEX * 4)
    assert (plain.engine, plain.process, plain.init_pid, len(plain.pids)) == ("docker", "w-cgroup", None, 1)
    assert plain.host_namespaces == ["pid", "mnt", "net", "user", "uts", "ipc", "cgroup"]
    alone = {record.process: record for record in by_id.values()}
    assert set(alone) == {"w-contained", "sleep"}
    record = alone["w-contained"]
    (inner,) = record.pids
    assert (record.kind, record.engine, record.hostname) == ("namespaces", None, "inner")
    assert record.id == f"pid:[{inode(where[inner][1])}]"
    assert record.init_pid == inner
    assert record.host_namespaces == ["user"]
    assert (alone["sleep"].engine, alone["sleep"].name) == ("systemd-nspawn", "my-box")


def test_who_enters_a_container_from_outside_is_told(
    guest: LabGuest, vm: vmon.VirtualMachine, contained: None
) -> None:
    inside = next(record for record in vm.containers() if record.engine == "podman")
    pid = int(
        say(
            guest,
            f"nsenter -t {inside.init_pid} -p -m sleep 9994 >/dev/null 2>&1 </dev/null &\n"
            "found=; until [ $found ]; do for folder in /proc/[0-9]*; do grep -q 9994 $folder/cmdline && "
            "grep -q '^Name:.sleep' $folder/status && [ $(grep NSpid $folder/status | wc -w) = 3 ] && "
            "asleep ${folder#/proc/} && found=${folder#/proc/}; done 2>/dev/null; done; echo $found",
        )
    )
    after = next(record for record in vm.containers() if record.id == inside.id)
    assert set(after.pids) == {*inside.pids, pid}
    assert after.init_pid == inside.init_pid
    say(guest, f"end {pid}")


LOCKS = r"""
mkdir /tmp/v-locks
/lab/holder locks /tmp/v-locks >/tmp/v-locks.out 2>&1 </dev/null &
until grep -q ready /tmp/v-locks.out; do sleep 0.1; done
cat /tmp/v-locks.out
"""
NO_LOCKS = "end $(grep -v ready /tmp/v-locks.out); rm -r /tmp/v-locks /tmp/v-locks.out; cat /proc/locks"
LINE = re.compile(r"\d+: *(-> )?(\w+) +([\w*]+) +(\w+) +(-?\d+) +(\S+) (-?\d+) (\S+)")


@pytest.fixture
def locked(guest: LabGuest) -> Iterator[list[int]]:
    """Pids: who holds the locks, then those who wait, and one that holds another."""
    out = say(guest, LOCKS).split()
    assert out.pop() == "ready"
    yield list(map(int, out))
    assert say(guest, NO_LOCKS) == ""


def told_lock(line: str) -> tuple[object, ...]:
    match = LINE.fullmatch(line)
    assert match, line
    waiting, kind, _, mode, pid, file, start, end = match.groups()
    major, minor, number = file.split(":") if file[0] != "<" else ("0", "0", "0")
    return (
        kind, mode, bool(waiting), int(pid), os.makedev(int(major, 16), int(minor, 16)), int(number),
        int(start), None if end == "EOF" else int(end),
    )  # fmt: skip


def seen_lock(record: LockRecord) -> tuple[object, ...]:
    breaker = record.type == "LEASE" and record.state == "waiting"
    return (
        record.type, record.mode, record.state == "waiting", -1 if record.pid is None else record.pid,
        0 if breaker else record.device, 0 if breaker else record.inode, record.start, record.end,
    )  # fmt: skip


def test_locks(guest: LabGuest, vm: vmon.VirtualMachine, locked: list[int]) -> None:
    told, answer = while_still(
        lambda: [told_lock(line) for line in say(guest, "cat /proc/locks").splitlines()], vm.locks
    )
    assert [gap for gap in answer.coverage if gap.reason != "torn"] == []
    waiting = {record.lock_struct for record in answer if record.state == "waiting"}
    shown = list(answer)
    if len(told) < len(answer):
        # Who waits for somebody who waits was left out of /proc/locks until 5.13.
        shown = [record for record in answer if record.waits_for_lock not in waiting]
    assert [seen_lock(record) for record in shown] == told
    holder, posix, other, flock, ofd, lease, keeper = locked
    by_path = {
        (str(record.path).rpartition("/")[2], record.mode): record
        for record in answer
        if record.state != "waiting"
    }
    assert all(record.process == "holder" for record in answer if record.pid is not None)
    assert by_path["posix", "WRITE"].waiters == [posix, other]
    assert by_path["flock", "READ"].waiters == [flock]
    assert by_path["breaking", "UNLCK"].waiters == [lease]
    assert by_path["ofd", "READ"].waiters == [ofd]
    assert by_path["ofd", "READ"].pid is None
    assert holder in by_path["ofd", "READ"].holders
    assert by_path["lease", "WRITE"].state == "held"
    assert by_path["breaking", "UNLCK"].state == "breaking"
    assert by_path["gone", "WRITE"].deleted
    assert by_path["inherited", "READ"].holders == [keeper]
    assert ("odd \udcff name", "WRITE") in by_path
    waits = {record.pid: record.waits_for for record in answer if record.state == "waiting"}
    assert waits == {posix: holder, other: posix, flock: holder, lease: holder, None: None}


TERMINALS = r"""
for uid in 1000 0; do
    /lab/holder terminal $uid >/tmp/v-terminal.$uid 2>&1 </dev/null &
    until grep -q ready /tmp/v-terminal.$uid; do sleep 0.1; done
    cat /tmp/v-terminal.$uid
done
"""
NO_TERMINALS = """
for uid in 1000 0; do end $(tail -n +2 /tmp/v-terminal.$uid | grep -v ready); done
rm /tmp/v-terminal.*
"""
# The guest's clock, a terminal a line with its last key and its device, a process a line.
SESSIONS = r"""
date +%s
echo $(stat -c '%n|%X|%t|%T' /dev/pts/[0-9]*)
for folder in /proc/[0-9]*; do
    echo "$(cat $folder/loginuid)|$(grep Uid: $folder/status | cut -f2)|$(tr '\n' ' ' <$folder/stat)"
done 2>/dev/null
date +%s
"""


@pytest.fixture
def terminals(guest: LabGuest) -> Iterator[None]:
    assert say(guest, TERMINALS).split().count("ready") == 2
    yield
    say(guest, NO_TERMINALS)


def test_who(guest: LabGuest, vm: vmon.VirtualMachine, terminals: None) -> None:
    began, nodes, *lines = say(guest, SESSIONS).splitlines()
    answer = vm.who()
    ended = int(say(guest, "date +%s"))
    assert [gap for gap in answer.coverage if gap.reason != "torn"] == []
    told: dict[str, list[list[str]]] = {}
    for line in lines[:-1]:
        if ")" not in line:
            continue  # it ended before its line was whole
        login, uid, stat = line.split("|", 2)
        pid, rest = stat.split(" ", 1)[0], stat[stat.rindex(")") + 2 :].split()
        if (name := tty_name(int(rest[4]))) is not None:
            told.setdefault(name, []).append([pid, login, uid, *rest])
    devices = {}
    for node in nodes.split():
        path, typed, major, minor = node.split("|")
        devices[path.removeprefix("/dev/")] = int(typed), os.makedev(int(major, 16), int(minor, 16))
    assert {record.tty for record in answer} == set(told)
    assert len(answer) >= 3
    for record in answer:
        members = told[record.tty]
        # Behind pid, login uid and uid: state, ppid, pgrp, session, tty_nr, tpgid...
        (session,) = {member[6] for member in members}
        (foreground,) = {member[8] for member in members}
        assert (record.sid, record.foreground_pgid) == (int(session), int(foreground))
        assert record.processes == len(members)
        front = [int(member[0]) for member in members if member[5] == foreground]
        assert sorted(record.foreground_pids) == sorted(front)
        leader = next(member for member in members if member[0] == session)
        assert record.uid == int(leader[2])
        assert record.login_uid == (None if int(leader[1]) == 0xFFFF_FFFF else int(leader[1]))
        typed, device = devices[record.tty]
        assert record.device == device
        assert record.idle is not None
        assert int(began) - typed - 1 <= record.idle <= ended - typed
    first, second = [record for record in answer if record.process == "holder"]
    assert (first.uid, first.login_uid, second.uid, second.login_uid) == (1000, 1000, 0, None)
    assert len(first.foreground_pids) == 2
    assert first.processes == 4
    assert first.foreground_command == ["/lab/holder", "terminal", "1000"]
    workload = next(record for record in answer if record.process == "w-terminal")
    assert workload.foreground_pids == [workload.sid]
