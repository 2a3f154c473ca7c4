"""A file is named by who runs it, by a descriptor of a process, or by a path: each leads to its content.

Reads task_struct, mm_struct, fs_struct and struct file, and the rest by the modules of this folder. A hostile guest can
have names lead anywhere; what is no file is refused. A process that ends meanwhile is not found.
Sources: fs/exec.c, fs/proc/base.c.
"""

from __future__ import annotations

import numpy as np

from vmon.core.address import Gva
from vmon.core.errors import GuestDataError, NoSuchFile, NoSuchProcess, UsageError
from vmon.core.text import guest_text
from vmon.kernel.columns import Column, unique
from vmon.kernel.profile import Wants
from vmon.linux import content, fdtable, lookup, vma
from vmon.linux.content import FileContent, content_of_file, content_of_inode
from vmon.linux.dentry import Paths
from vmon.linux.fdtable import read_fds
from vmon.linux.kernel import Kernel
from vmon.linux.lookup import Lookup
from vmon.linux.task import PF_KTHREAD, find_tasks

WANTS = (
    content.WANTS
    | lookup.WANTS
    | vma.WANTS
    | fdtable.WANTS
    | Wants(
        symbols=("init_task",),
        structs={
            "task_struct": "tasks pid mm files fs flags",
            "mm_struct": "exe_file",
            "list_head": "next prev",
        },
    )
)


def find_task(kernel: Kernel, pid: int) -> Column:
    """The task of a process, as a column of one."""
    tasks = find_tasks(kernel)
    found: Column = tasks[kernel.read("task_struct", "pid", tasks)["pid"] == np.uint64(max(pid, 0))][:1]
    if not found.size:
        raise NoSuchProcess(f"no process {pid} in the guest", hint="`vmon ps` lists the processes")
    return found


def exe_files(kernel: Kernel, tasks: Column) -> Column:
    """The struct file of each task's executable; 0 for kernel threads and zombies."""
    columns = kernel.read("task_struct", "mm flags", tasks)
    mms = np.where((columns["flags"] & np.uint64(PF_KTHREAD)) != 0, np.uint64(0), columns["mm"])
    found: Column = kernel.read("mm_struct", "exe_file", mms)["exe_file"]
    return found


def file_content(kernel: Kernel, file: Gva) -> FileContent:
    """The content behind a struct file, with its path. UsageError, NotSupported, BadStructure as content_of_file."""
    columns = kernel.read_one("file", "f_path.mnt f_path.dentry", file)
    paths = Paths(kernel)
    paths.load(columns["f_path.mnt"], columns["f_path.dentry"])
    path = paths.resolve(int(columns["f_path.mnt"][0]), int(columns["f_path.dentry"][0]))
    return content_of_file(
        kernel, file, guest_text(path.text) if path else "?", path.deleted if path else False
    )


def descriptor_content(kernel: Kernel, pid: int, fd: int) -> FileContent:
    """What a process has open. NoSuchProcess, NoSuchFile, and the errors of file_content."""
    files = kernel.read("task_struct", "files", find_task(kernel, pid))["files"]
    fds = read_fds(kernel, files)
    found = fds.file[fds.fd == fd]
    if not found.size:
        raise NoSuchFile(
            f"process {pid} has no descriptor {fd}", hint=f"`vmon files TARGET {pid}` lists what it has open"
        )
    return file_content(kernel, Gva(int(found[0])))


def path_content(kernel: Kernel, path: bytes, pid: int) -> FileContent:
    """What an absolute path leads to for a process. NoSuchProcess, NoSuchFile, and the errors of content_of_inode."""
    fs = kernel.read("task_struct", "fs", find_task(kernel, pid))["fs"]
    root = kernel.read("fs_struct", "root.mnt root.dentry", fs)
    if not fs[0]:
        raise NoSuchFile(f"process {pid} sees no files", hint="it is a zombie")
    names = Lookup(kernel, Gva(int(root["root.mnt"][0])), Gva(int(root["root.dentry"][0])))
    place = names.find(path)
    mount = names.vfsmount(place)
    paths = Paths(kernel)
    paths.load(np.array([mount], np.uint64), np.array([place.dentry], np.uint64))
    text = paths.resolve(mount, place.dentry)
    return content_of_inode(
        kernel, names.inode(place), guest_text(text.text if text else path), deleted=False
    )


def held_content(kernel: Kernel, path: bytes) -> FileContent | None:
    """A file of this path that a process has open, runs or maps; UsageError where they are several."""
    tasks = find_tasks(kernel)
    columns = kernel.read("task_struct", "mm files flags", tasks)
    files = [read_fds(kernel, columns["files"]).file, exe_files(kernel, tasks)]
    for attempt in range(2):
        if attempt:
            files = [_mapped_files(kernel, columns["mm"][(columns["flags"] & np.uint64(PF_KTHREAD)) == 0])]
        every = unique(np.concatenate(files))
        every = every[every != 0]
        found = kernel.read("file", "f_path.mnt f_path.dentry f_inode", every)
        paths = Paths(kernel)
        paths.load(found["f_path.mnt"], found["f_path.dentry"])
        by_inode: dict[int, int] = {}
        rows = zip(found["f_path.mnt"].tolist(), found["f_path.dentry"].tolist(), strict=True)
        for row, pair in enumerate(rows):
            resolved = paths.resolve(*pair)
            if resolved is not None and resolved.text == path:
                by_inode.setdefault(int(found["f_inode"][row]), int(every[row]))
        if len(by_inode) > 1:
            raise UsageError(
                f"{len(by_inode)} files that processes have open are or were {guest_text(path)}",
                hint="name one as PID:FD; `vmon files TARGET PID` lists descriptors",
            )
        if by_inode:
            return file_content(kernel, Gva(by_inode.popitem()[1]))
    return None


def _mapped_files(kernel: Kernel, mms: Column) -> Column:
    """The struct file of every area of these address spaces."""
    found = [np.zeros(0, np.uint64)]
    for mm in unique(mms[mms != 0]).tolist():
        try:
            found.append(vma.find_vmas(kernel, Gva(mm))[1]["vm_file"])
        except GuestDataError:
            continue
    return np.concatenate(found)
