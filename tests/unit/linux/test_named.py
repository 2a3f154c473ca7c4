from __future__ import annotations

import pytest

from tests.unit.linux.files import FOLDER, NEW, Files
from vmon.core.address import Gva
from vmon.core.errors import NoSuchFile, NoSuchProcess, UsageError
from vmon.linux import named
from vmon.linux.task import PF_KTHREAD

STRUCTS = {
    **NEW,
    "fs_struct": "root:path pwd:path",
    "files_struct": "fdt:p",
    "fdtable": "max_fds:u32 fd:p close_on_exec:p open_fds:p",
    "mm_struct": "mmap:p exe_file:p",
    "vm_area_struct": "vm_start:u64 vm_end:u64 vm_mm:p vm_next:p vm_flags:u64 vm_pgoff:u64 vm_file:p",
    "task_struct": "tasks:list_head pid:s32 flags:u32 mm:p files:p fs:p",
}
TASK_BYTES = 64


class Tasks(Files):
    """Processes of a few fields, on the list that starts at init_task."""

    def __init__(self) -> None:
        super().__init__(STRUCTS, {"init_task": TASK_BYTES})
        self._tasks: list[int] = []

    def task(
        self, pid: int, exe: int = 0, opened: dict[int, int] | None = None, root: int = 0, **more: int
    ) -> int:
        small = self.small
        fs = small.new("fs_struct", root__mnt=self.vfsmount(self.root_mount), root__dentry=root or self.root)
        slots, bits, shut = small.alloc(512), small.alloc(8), small.alloc(8)
        for fd, file in (opened or {}).items():
            small.put(slots + 8 * fd, file)
        small.put(bits, sum(1 << fd for fd in opened or {}))
        table = small.new("fdtable", max_fds=64, fd=slots, open_fds=bits, close_on_exec=shut)
        values = {
            "mm": small.new("mm_struct", exe_file=exe) if exe else 0,
            "files": small.new("files_struct", fdt=table),
            "fs": fs,
            **more,
        }
        task = small.new("task_struct", pid=pid, **values)
        self._tasks.append(small.field(task, "task_struct", "tasks"))
        small.chain(small.field(small.symbol("init_task"), "task_struct", "tasks"), self._tasks)
        return task

    def named_file(self, name: bytes, data: bytes, *, hashed: bool = True) -> Gva:
        node = self.inode()
        self.fill(node, data)
        return self.file(node, self.dentry(name, self.root, node, hashed=hashed))


def test_executables_and_descriptors() -> None:
    files = Tasks()
    program, log = files.named_file(b"program", b"code"), files.named_file(b"log", b"lines")
    files.task(1, program, {0: log, 5: program})
    kernel_thread = files.task(2, program, flags=PF_KTHREAD)
    files.task(3)
    kernel = files.kernel()
    tasks = [named.find_task(kernel, pid) for pid in (1, 2, 3)]
    assert [int(named.exe_files(kernel, task)[0]) for task in tasks] == [program, 0, 0]
    assert int(tasks[1][0]) == kernel_thread
    content = named.file_content(kernel, program)
    assert (content.path, content.about.deleted, content.data) == ("/program", False, b"code")
    assert named.descriptor_content(kernel, 1, 0).data == b"lines"
    assert named.descriptor_content(kernel, 1, 5).path == "/program"
    for fd in (1, 64, 9999):
        with pytest.raises(NoSuchFile, match="no descriptor"):
            named.descriptor_content(kernel, 1, fd)
    for pid in (0, -1, 4, 1 << 40):
        with pytest.raises(NoSuchProcess):
            named.find_task(kernel, pid)


def test_a_path_is_as_a_process_sees_it() -> None:
    files = Tasks()
    files.named_file(b"name", b"outer")
    jail = files.dentry(b"jail", files.root, files.inode(FOLDER))
    inner = files.inode()
    files.fill(inner, b"inner")
    files.dentry(b"name", jail, inner)
    files.task(1)
    files.task(2, root=jail)
    files.task(3, fs=0)
    kernel = files.kernel()
    outside, inside = named.path_content(kernel, b"/name", 1), named.path_content(kernel, b"/name", 2)
    assert (outside.data, outside.path, inside.data, inside.path) == (
        b"outer",
        "/name",
        b"inner",
        "/jail/name",
    )
    with pytest.raises(NoSuchFile, match="sees no files"):
        named.path_content(kernel, b"/name", 3)


def test_names_of_files_that_are_held() -> None:
    files = Tasks()
    gone = files.named_file(b"gone", b"deleted", hashed=False)
    run = files.named_file(b"run", b"program", hashed=False)
    mapped = files.named_file(b"library", b"mapped", hashed=False)
    twice = [files.named_file(b"twice", bytes([65 + number]), hashed=False) for number in range(2)]
    task = files.task(1, run, {0: gone, 1: gone, 2: twice[0]})
    files.task(2, 0, {0: twice[1]})
    mm = int.from_bytes(
        files.small.ram[files.small._at(files.small.field(task, "task_struct", "mm")) :][:8], "little"
    )
    area = files.small.new("vm_area_struct", vm_start=0x1000, vm_end=0x2000, vm_mm=mm, vm_file=mapped)
    files.small.set(mm, "mm_struct", mmap=area)
    kernel = files.kernel()
    for name, data in ((b"/gone", b"deleted"), (b"/run", b"program"), (b"/library", b"mapped")):
        content = named.held_content(kernel, name)
        assert content is not None
        assert (content.data, content.about.deleted) == (data, True)
    assert named.held_content(kernel, b"/nobody") is None
    with pytest.raises(UsageError, match="2 files"):
        named.held_content(kernel, b"/twice")
