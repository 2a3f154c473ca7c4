"""Mounts, cgroups, containers, locks and terminals, against the guest's own word at that moment, on every kernel."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

import vmon
from tests.guest.conftest import say
from tests.guest.truth import raw, unescape
from vmon.core.coverage import Answer
from vmon.core.errors import NoSuchProcess, UsageError
from vmon.core.records.filesystem import MountRecord
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
sleep 1
umount /tmp/m/q
touch /tmp/m/held
mount --bind /proc/$last/ns/mnt /tmp/m/held
kill $last
/lab/holder idmap /tmp/m/ids || true
"""
NO_MOUNTS = r"""
for pid in $(cat /tmp/m/pids); do kill $pid; done
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
    told = told_mounts(say(guest, MOUNTINFO))
    answer = vm.mounts()
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
kill $(cat /tmp/v-pid)
sleep 1
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
        stat = dict(zip(*[iter(same["cgroup.stat"].split())] * 2, strict=False))
        assert record.descendants == int(stat["nr_descendants"])
        assert record.dying_descendants == int(stat["nr_dying_descendants"])
        assert record.controllers == same.get("cgroup.controllers", "").split()
        assert record.subtree_control == same.get("cgroup.subtree_control", "").split()
        if "cgroup.events" in same:
            assert f"populated {int(record.populated)}" in same["cgroup.events"]
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
    pid = int(say(guest, "/lab/holder forget >/tmp/v-forget 2>&1 </dev/null & sleep 1; cat /tmp/v-forget"))
    processes = vm.processes()
    record = next(process for process in processes if process.pid == pid).record()
    assert record.cmdline is None
    assert [(gap.what, gap.reason, gap.count) for gap in processes.coverage if gap.reason != "torn"] == [
        ("cmdline", "not resident", 1)
    ]
    say(guest, f"kill {pid}; rm /tmp/v-forget")
