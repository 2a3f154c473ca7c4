"""What is in the guest's files, against the guest's own word: sha256sum, cat and mincore inside, on every kernel."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

import vmon
from tests.guest.compare import while_still
from tests.guest.conftest import say, sleeping
from vmon.cli import cli
from vmon.core.errors import NoSuchFile, NoSuchProcess, NotResident, NotSupported, UsageError
from vmon.core.records.content import HoleRecord
from vmon.lab.guest import LabGuest
from vmon.linux.content import FileContent

PAGE = 4096
FOLDER = "/tmp/content"
# An ext4 on a loop device, with a file, a file that is mostly a hole, and links.
DISK = f"""
set -e
modprobe loop; modprobe -q ext4 || true
mkdir -p {FOLDER}/disk
truncate -s 24M {FOLDER}/image
mke2fs -F {FOLDER}/image >/dev/null 2>&1
losetup /dev/loop3 {FOLDER}/image
mount -t ext4 /dev/loop3 {FOLDER}/disk
cd {FOLDER}/disk
mkdir folder
dd if=/dev/urandom of=folder/file bs=4096 count=500 2>/dev/null
echo -n tail >>folder/file
dd if=/dev/urandom of=folder/sparse bs=5000 count=1 seek=50 2>/dev/null
ln -s folder/../folder/file link
ln -s ./////////////////////////////////////////////////////////////////////folder/file long
sync
"""
NO_DISK = f"cd /; umount {FOLDER}/disk; losetup -d /dev/loop3; rm -rf {FOLDER}"
# A name or an inode that was used a moment ago is spared the first time.
DROP = "sync; for n in 1 2 3; do echo 3 >/proc/sys/vm/drop_caches; done"


def hash_inside(guest: LabGuest, path: str) -> str:
    return say(guest, f"sha256sum '{path}'").split()[0]


def hash_of(content: FileContent) -> str:
    """By both ways of reading."""
    record = content.sha256()
    assert record.reason is None and record.missing_pages == 0
    assert record.sha256 == hashlib.sha256(content.data).hexdigest()
    assert record.size == len(content.data) == content.size
    return record.sha256


def process(vm: vmon.VirtualMachine, name: str) -> vmon.Process:
    return next(found for found in vm.processes() if found.name == name)


@pytest.fixture
def folder(guest: LabGuest) -> Iterator[str]:
    say(guest, f"mkdir -p {FOLDER}")
    yield FOLDER
    say(guest, f"rm -rf {FOLDER}")


@pytest.fixture
def disk(guest: LabGuest) -> Iterator[str]:
    say(guest, DISK)
    yield f"{FOLDER}/disk"
    say(guest, NO_DISK)


def test_hash_of_each_executable(guest: LabGuest, vm: vmon.VirtualMachine) -> None:
    seen = vm.hashed_processes()
    told = say(guest, "for p in /proc/[0-9]*; do echo $p $(sha256sum $p/exe 2>/dev/null); done")
    inside = {int(line.split()[0][6:]): line.split()[1] for line in told.splitlines() if " " in line.strip()}
    # The command that the test ran before may still be ending.
    assert {gap.reason for gap in seen.coverage} <= {"torn"}
    compared = [record for record in seen if record.pid in inside]
    assert len(compared) > 20
    assert {record.pid: record.sha256 for record in compared} == {
        record.pid: inside[record.pid] for record in compared
    }
    by_exe = {record.exe: record for record in seen}
    workload = by_exe["/lab/workload"]
    # The deleted one and the one that never had a name are copies of it.
    assert by_exe["/tmp/w gone"].sha256 == by_exe["/memfd:w-memfd"].sha256 == workload.sha256
    assert all(record.sha256 is None for record in seen if record.kernel_thread or record.state == "Z")
    assert workload.exe_missing_pages == 0
    assert all(record.exe_missing_pages is None for record in seen if record.kernel_thread)
    one = vm.hashed_processes([workload.pid])
    assert [record.sha256 for record in one] == [workload.sha256]
    with pytest.raises(NoSuchProcess):
        vm.hashed_processes([1, 99_999])


def test_executables(vm: vmon.VirtualMachine, overlay: Path) -> None:
    expected = (overlay / "lab/workload").read_bytes()
    for name, deleted in (("w-threads", False), ("w gone", True)):
        content = vm.read_exe(process(vm, name).pid)
        assert (content.data, content.holes, content.about.deleted) == (expected, [], deleted)
    nameless = next(found for found in vm.processes() if (found.exe or "").startswith("/memfd:"))
    assert vm.read_exe(nameless.pid).data == expected
    with pytest.raises(NoSuchFile, match="no executable"):
        vm.read_exe(2)
    with pytest.raises(NoSuchProcess):
        vm.read_exe(99_999)


def test_libraries(guest: LabGuest, vm: vmon.VirtualMachine) -> None:
    areas = vm.hashed_maps(process(vm, "w-files").pid)
    by_path = {area.path: area.sha256 for area in areas if area.inode}
    assert by_path["/bin/busybox"] == hash_inside(guest, "/bin/busybox")
    assert by_path["/lab/workload"] == hash_inside(guest, "/lab/workload")
    # Three pages and a bit of memory that was never written to.
    memfd = next(digest for path, digest in by_path.items() if path.startswith("/memfd:secret"))
    assert memfd == hashlib.sha256(bytes(12345)).hexdigest()
    assert all(area.sha256 is None and area.missing_pages is None for area in areas if not area.path)
    assert areas.coverage == []


def test_files_in_memory(guest: LabGuest, vm: vmon.VirtualMachine, folder: str) -> None:
    say(
        guest,
        f"cd {folder}; dd if=/dev/urandom of=file bs=1000 count=3333 2>/dev/null; : >empty\n"
        "dd if=/dev/urandom of=sparse bs=5000 count=2 seek=100 2>/dev/null; truncate -s 3M sparse\n"
        "fallocate -l 100000 given; echo start | dd of=given conv=notrunc 2>/dev/null",
    )
    for name in ("file", "empty", "sparse", "given"):
        content = vm.read_file(f"{folder}/{name}")
        assert content.holes == []
        assert hash_of(content) == hash_inside(guest, f"{folder}/{name}")
        assert content.inode == int(say(guest, f"stat -c %i {folder}/{name}"))
    assert vm.read_file("/etc/passwd").data.decode() == say(guest, "cat /etc/passwd")


def test_a_file_that_has_no_name_any_more(guest: LabGuest, vm: vmon.VirtualMachine, folder: str) -> None:
    told = say(
        guest,
        f"cd {folder}; dd if=/dev/urandom of=gone bs=1000 count=77 2>/dev/null; sha256sum gone\n"
        "sleep 1000 7<gone </dev/null >/dev/null 2>&1 &\nasleep $!; echo $!; rm gone",
    )
    digest, pid = told.split()[0], int(told.split()[-1])
    for where in (f"{pid}:7", f"{folder}/gone"):
        content = vm.read_file(where)
        assert (hash_of(content), content.path, content.about.deleted) == (digest, f"{folder}/gone", True)
    # Two of one name can be told apart by descriptors alone.
    say(guest, f"echo other >{folder}/gone")
    other = sleeping(guest, f"sleep 1000 8<{folder}/gone")
    say(guest, f"rm {folder}/gone")
    with pytest.raises(UsageError, match="2 files"):
        vm.read_file(f"{folder}/gone")
    assert vm.read_file(f"{other}:8").data == b"other\n"
    say(guest, f"end {pid} {other}")


def test_memory_files(guest: LabGuest, vm: vmon.VirtualMachine) -> None:
    files = process(vm, "w-files")
    memfd = next(file for file in files.files() if (file.path or "").startswith("/memfd:secret"))
    assert vm.read_file(f"{files.pid}:{memfd.fd}").data == bytes(12345)
    append = next(file for file in files.files() if file.path == "/tmp/w/append")
    assert vm.read_file(f"{files.pid}:{append.fd}").data == bytes(100)


def test_paths(guest: LabGuest, vm: vmon.VirtualMachine, folder: str) -> None:
    say(
        guest,
        f"cd {folder}; mkdir -p a/b mnt; echo one >a/b/one; ln -s b/one a/relative; ln -s {folder}/a/relative two\n"
        "ln -s loop loop; ln -s a/b folder\n"
        "ln -s $(printf './%.0s' $(seq 99))a/b/one long\n"
        "mount -t tmpfs inner mnt; mkdir mnt/deep; echo within >mnt/deep/file; ln -s ../../a/b/one mnt/deep/out\n"
        "mount -t tmpfs over mnt/deep; echo over >mnt/deep/file; ln -s /etc/passwd mnt/deep/passwd\n"
        "mkdir bound; mount --bind a bound",
    )
    try:
        for path in (
            "a/b/one",
            "a/relative",
            "two",
            "long",
            "folder/one",
            "a/../a/./b//one",
            "mnt/../two",
            "mnt/deep/../../two",
            "mnt/deep/file",
            "mnt/deep/passwd",
            "bound/b/one",
            "bound/../folder/../b/one",
        ):
            content = vm.read_file(f"{folder}/{path}")
            assert content.data.decode() == say(guest, f"cat {folder}/{path}"), path
            assert content.path == say(guest, f"realpath {folder}/{path}").strip(), path
        assert vm.read_file("/../../bin/sh").path == "/bin/busybox"
        for path, reason in (
            ("nothing", "there is no"),
            ("a/b/one/more", "no directory"),
            ("loop", "too many symbolic links"),
            ("mnt/deep/out", "there is no"),
        ):
            with pytest.raises(NoSuchFile, match=reason):
                vm.read_file(f"{folder}/{path}")
        with pytest.raises(UsageError, match="is a directory"):
            vm.read_file(f"{folder}/a")
    finally:
        say(guest, f"cd {folder}; umount bound mnt/deep mnt")


def test_what_has_no_pages(vm: vmon.VirtualMachine) -> None:
    files = process(vm, "w-files")
    by_path = {file.path: file.fd for file in files.files()}
    for path in (f"/proc/{files.pid}/status", "/sys/kernel/mm/transparent_hugepage/enabled"):
        with pytest.raises(NotSupported, match="made when"):
            vm.read_file(f"{files.pid}:{by_path[path]}")
    with pytest.raises(NotSupported, match="made when"):
        vm.read_file("/proc/never/looked/up")
    with pytest.raises(UsageError, match="is a character"):
        vm.read_file(f"{files.pid}:{by_path['/dev/null']}")
    with pytest.raises(UsageError, match="is a directory"):
        vm.read_file(f"{files.pid}:{by_path['/tmp/w']}")
    with pytest.raises(NoSuchFile, match="no descriptor"):
        vm.read_file(f"{files.pid}:9999")
    with pytest.raises(UsageError, match="neither"):
        vm.read_file("etc/passwd")


def test_as_another_process_sees_it(guest: LabGuest, vm: vmon.VirtualMachine) -> None:
    contained, jailed = process(vm, "w-contained").pid, process(vm, "w-chroot").pid
    assert vm.read_file("/tmp/only here", contained).data == b""
    with pytest.raises(NoSuchFile):
        vm.read_file("/tmp/not here", contained)
    say(guest, "echo jail >/tmp/jail/inside")
    assert vm.read_file("/inside", jailed).data == vm.read_file("/tmp/jail/inside").data == b"jail\n"
    assert vm.read_file("/../../inside", jailed).data == b"jail\n"
    say(guest, ": >/tmp/jail/inside")


def test_a_disk(guest: LabGuest, vm: vmon.VirtualMachine, disk: str) -> None:
    for name in ("folder/file", "folder/sparse", "link"):
        digest = hash_inside(guest, f"{disk}/{name}")
        content = vm.read_file(f"{disk}/{name}")
        assert content.holes == [], name
        assert hash_of(content) == digest, name
    assert vm.read_file(f"{disk}/link").path == f"{disk}/folder/file"
    digest = hash_inside(guest, f"{disk}/long")
    try:
        assert hash_of(vm.read_file(f"{disk}/long")) == digest
    except NoSuchFile as error:  # a newer ext4 has long targets in the disk's own blocks
        assert "could not be read" in error.message
    with pytest.raises(NoSuchFile, match=r"there is no|not among"):
        vm.read_file(f"{disk}/folder/never")
    say(guest, f"ls {disk}/folder/asked-for || true")
    with pytest.raises(NoSuchFile, match="there is no"):  # the guest remembers that it is not there
        vm.read_file(f"{disk}/folder/asked-for")


def test_what_was_evicted(guest: LabGuest, vm: vmon.VirtualMachine, disk: str) -> None:
    digest = hash_inside(guest, f"{disk}/folder/file")
    whole = vm.read_file(f"{disk}/folder/file").data
    assert hashlib.sha256(whole).hexdigest() == digest
    say(guest, DROP)
    with pytest.raises(NoSuchFile, match="not among the names"):
        vm.read_file(f"{disk}/link")
    # Random reads, so that few pages are read ahead.
    parts = "; ".join(
        f"dd bs=4096 count=1 skip={page} 2>/dev/null <{disk}/folder/file" for page in (3, 200, 201)
    )
    say(guest, f"({parts}) >/dev/null")

    def read() -> tuple[FileContent, bytes, list[HoleRecord]]:
        content = vm.read_file(f"{disk}/folder/file")
        return content, content.data, content.holes

    # What is read ahead comes a moment later.
    told, (content, data, holes) = while_still(
        lambda: say(guest, f"/lab/content resident {disk}/folder/file").strip(), read
    )
    assert "0" in told and told[3] == told[200] == told[201] == "1" and len(told) == 501
    assert {hole.reason for hole in holes} == {"not resident"}
    missing = {page for hole in holes for page in range(hole.start // PAGE, -(-hole.end // PAGE))}
    assert missing == {page for page, letter in enumerate(told) if letter == "0"}
    assert content.missing_pages == len(missing)
    assert holes[-1].end <= content.size == len(data) == len(whole)
    for page in range(len(told)):
        at = slice(page * PAGE, (page + 1) * PAGE)
        assert data[at] == (bytes(len(whole[at])) if page in missing else whole[at]), page
    record = content.sha256()
    assert (record.sha256, record.reason, record.missing_pages) == (None, "not resident", len(missing))


def test_a_program_that_was_evicted(guest: LabGuest, vm: vmon.VirtualMachine, disk: str) -> None:
    say(guest, f"cp /bin/busybox {disk}/busybox; sync")
    pid = sleeping(guest, f"{disk}/busybox sleep 1000")
    try:
        assert vm.hashed_processes([pid])[0].sha256 == hash_inside(guest, "/bin/busybox")
        say(guest, DROP)
        told, seen = while_still(
            lambda: say(guest, f"/lab/content resident {disk}/busybox").strip(),
            lambda: vm.hashed_processes([pid]),
        )
        assert seen[0].sha256 is None
        assert seen[0].exe_missing_pages == told.count("0") > 0
        assert [(gap.what, gap.reason, gap.count) for gap in seen.coverage] == [
            ("sha256", "not resident", told.count("0"))
        ]
        assert f"{disk}/busybox" in seen.coverage[0].detail
    finally:
        say(guest, f"end {pid}")


def size_and_hash(vm: vmon.VirtualMachine, where: str) -> tuple[int, str]:
    content = vm.read_file(where)
    return content.size, hash_of(content)


def test_a_block_device(guest: LabGuest, vm: vmon.VirtualMachine, disk: str) -> None:
    say(guest, "sync; sha256sum /dev/loop3")
    pid = sleeping(guest, "sleep 1000 9</dev/loop3")
    try:
        # The file system that is mounted there writes to it now and then.
        told, (size, digest) = while_still(
            lambda: hash_inside(guest, "/dev/loop3"), lambda: size_and_hash(vm, f"{pid}:9")
        )
        assert (size, digest) == (24 << 20, told)
        with pytest.raises(NotSupported, match="block device"):
            vm.read_file("/dev/loop3")
    finally:
        say(guest, f"end {pid}")


def test_an_overlay(guest: LabGuest, vm: vmon.VirtualMachine, disk: str) -> None:
    """As in a container: files of the lower layer, of the upper one, and one that was copied up."""
    say(
        guest,
        f"set -e; modprobe overlay; cd {FOLDER}; mkdir lower layers both; mount -t tmpfs layers layers\n"
        f"mkdir layers/upper layers/work; cp -r {disk}/folder lower/\n"
        "cp /bin/busybox lower/; echo low >lower/low; echo first >lower/changed; ln -s low lower/link\n"
        f"mount -t overlay both -o lowerdir={FOLDER}/lower:{disk},upperdir={FOLDER}/layers/upper,"
        f"workdir={FOLDER}/layers/work both\n"
        "echo new >both/new; echo second >>both/changed; cat both/low both/folder/* >/dev/null; ls -l both >/dev/null",
    )
    pid = sleeping(guest, f"{FOLDER}/both/busybox sleep 1000 6<{FOLDER}/both/low 5>>{FOLDER}/both/new")
    try:
        for name in ("low", "new", "changed", "link", "folder/file", "folder/sparse"):
            content = vm.read_file(f"{FOLDER}/both/{name}")
            assert hash_of(content) == hash_inside(guest, f"{FOLDER}/both/{name}"), name
            assert content.about.filesystem == "overlay"
        assert vm.read_file(f"{pid}:6").data == b"low\n"
        assert vm.read_file(f"{pid}:5").data == b"new\n"
        digest = hash_inside(guest, "/bin/busybox")
        assert hash_of(vm.read_exe(pid)) == digest
        assert vm.hashed_processes([pid])[0].sha256 == digest
        assert {area.sha256 for area in vm.hashed_maps(pid)} == {digest, None}
    finally:
        say(guest, f"end {pid}; cd {FOLDER}; umount both layers; rm -rf lower layers both")


def test_huge_pages(guest: LabGuest, vm: vmon.VirtualMachine, folder: str) -> None:
    say(guest, f"{DROP}; echo 1 >/proc/sys/vm/compact_memory; mkdir {folder}/huge")
    say(guest, f"mount -t tmpfs -o huge=always huge {folder}/huge")
    try:
        for attempt in range(6):
            say(guest, f"dd if=/dev/urandom of={folder}/huge/file bs=1M count=13 2>/dev/null")
            huge = not re.search(r"ShmemHugePages: +0 kB", say(guest, "cat /proc/meminfo"))
            if huge or attempt == 5:
                break
            say(guest, f"rm {folder}/huge/file; {DROP}; echo 1 >/proc/sys/vm/compact_memory; sleep 0.2")
        content = vm.read_file(f"{folder}/huge/file")
        assert hash_of(content) == hash_inside(guest, f"{folder}/huge/file")
    finally:
        say(guest, f"umount {folder}/huge")
    given = "[ $(cat /proc/sys/vm/nr_hugepages) = 3 ]"
    more = f"{DROP}; echo 1 >/proc/sys/vm/compact_memory; echo 3 >/proc/sys/vm/nr_hugepages; {given} && break"
    say(guest, f"for n in $(seq 10); do {more}; sleep 0.2; done; {given}")
    pid, fd = say(guest, "/lab/content huge").split()
    try:
        content = vm.read_file(f"{pid}:{fd}")
        assert (content.size, content.about.filesystem) == (6 << 20, "hugetlbfs")
        words = range(0, 1 << 19, 4099)
        data = memoryview(content.data).cast("I")
        assert [data[at] for at in words] == [at * 2654435761 & 0xFFFF_FFFF for at in words]
        assert not any(data[1 << 19 : 1 << 20])
        assert [data[(1 << 20) + at] for at in words] == [~at & 0xFFFF_FFFF for at in words]
        assert content.sha256().sha256 == hash_inside(guest, f"/proc/{pid}/fd/{fd}")
    finally:
        say(guest, f"end {pid}; echo 0 >/proc/sys/vm/nr_hugepages")
    if not huge:
        pytest.skip(
            "memory that other tests left in pieces had no huge page for a tmpfs: only hugetlbfs was looked at"
        )


def test_what_was_swapped_out(guest: LabGuest, vm: vmon.VirtualMachine, folder: str) -> None:
    say(
        guest,
        f"set -e; modprobe loop; cd {folder}; dd if=/dev/zero of=swap bs=1M count=16 2>/dev/null\n"
        "mkswap swap >/dev/null\n"
        "losetup /dev/loop4 swap; swapon /dev/loop4; echo +memory >/sys/fs/cgroup/cgroup.subtree_control\n"
        "mkdir /sys/fs/cgroup/content; mkdir pressed; mount -t tmpfs pressed pressed",
    )
    try:
        fill = f"echo 0 >/sys/fs/cgroup/content/cgroup.procs; dd if=/dev/urandom of={folder}/pressed/file bs=1M count=4"
        say(guest, f"sh -c '{fill} 2>/dev/null'")
        whole = vm.read_file(f"{folder}/pressed/file").data
        say(guest, "echo 2M >/sys/fs/cgroup/content/memory.high; sleep 1")

        def read() -> tuple[FileContent, bytes]:
            content = vm.read_file(f"{folder}/pressed/file")
            return content, content.data

        # More is written out some time after.
        swapped_bytes, (content, data) = while_still(
            lambda: int(say(guest, "cat /sys/fs/cgroup/content/memory.swap.current")), read
        )
        assert {hole.reason for hole in content.holes} == {"swapped"}
        missing = {page for hole in content.holes for page in range(hole.start // PAGE, hole.end // PAGE)}
        # Some of the shell's own may be there too.
        assert 0 < len(missing) <= swapped_bytes // PAGE <= len(missing) + 32
        for page in range(len(whole) // PAGE):
            at = slice(page * PAGE, (page + 1) * PAGE)
            assert data[at] == (bytes(PAGE) if page in missing else whole[at]), page
        # Read in again, it is whole.
        say(guest, "echo max >/sys/fs/cgroup/content/memory.high")
        assert hash_inside(guest, f"{folder}/pressed/file") == hashlib.sha256(whole).hexdigest()
        assert hash_of(vm.read_file(f"{folder}/pressed/file")) == hashlib.sha256(whole).hexdigest()
    finally:
        say(
            guest,
            f"cd {folder}; umount pressed; swapoff /dev/loop4; losetup -d /dev/loop4; rmdir /sys/fs/cgroup/content\n"
            "echo -memory >/sys/fs/cgroup/cgroup.subtree_control",
        )


def test_commands(guest: LabGuest, vm: vmon.VirtualMachine, disk: str, tmp_path: Path) -> None:
    run = CliRunner().invoke
    digest = hash_inside(guest, f"{disk}/folder/file")
    whole = vm.read_file(f"{disk}/folder/file").data
    assert hashlib.sha256(whole).hexdigest() == digest
    done = run(cli, ["cat", guest.name, f"{disk}/folder/file"])
    assert (done.exit_code, done.stdout_bytes, done.stderr) == (0, whole, "")
    out = tmp_path / "out"
    done = run(cli, ["exe", guest.name, "1", "-o", str(out)])
    assert done.exit_code == 0 and hashlib.sha256(out.read_bytes()).hexdigest() == hash_inside(
        guest, "/bin/busybox"
    )
    assert not os.access(out, os.X_OK) and "/bin/busybox" in done.stderr
    done = run(cli, ["exe", guest.name, "1", "-o", str(out)])
    assert isinstance(done.exception, UsageError) and "--force" in done.exception.hint
    say(guest, DROP)
    say(guest, f"dd bs=4096 count=1 skip=100 2>/dev/null <{disk}/folder/file >/dev/null")
    done = run(cli, ["cat", guest.name, f"{disk}/folder/file", "-o", str(out), "--force"])
    data = out.read_bytes()
    assert (len(data), data[100 * PAGE : 101 * PAGE]) == (len(whole), whole[100 * PAGE : 101 * PAGE])
    assert "not resident" in done.stderr and done.exit_code == 0
    done = run(cli, ["cat", guest.name, f"{disk}/folder/file", "--holes", "fail"])
    assert isinstance(done.exception, NotResident) and done.stdout_bytes == b""
    done = run(cli, ["ps", guest.name, "--hash", "--pid", "1"])
    assert hash_inside(guest, "/bin/busybox") in done.stdout and "SHA256" in done.stdout
    done = run(cli, ["maps", guest.name, "1", "--hash", "-o", "csv"])
    assert hash_inside(guest, "/bin/busybox") in done.stdout
