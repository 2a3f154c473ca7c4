"""What a process has open: descriptors lead to files, files to paths and inodes, some of them to sockets.

Reads file, and through the other modules paths, inodes and sockets: each different file once, however many
descriptors share it. A file that was closed and reused meanwhile shows its new owner's path; nothing here outlasts
one snapshot. Sources: include/linux/fs.h, fs/proc/fd.c.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vmon.core.records import FileRecord, SocketRecord, guest_text
from vmon.kernel.columns import Column
from vmon.linux.dentry import Inode, Path, Paths, file_type
from vmon.linux.fdtable import FILE_COLUMNS, O_CLOEXEC, open_mode, read_fds
from vmon.linux.kernel import Kernel
from vmon.linux.socket import read_sockets


class OpenFile(NamedTuple):
    """One struct file."""

    path: str | None
    deleted: bool
    type: str
    mode: str
    flags: int
    position: int
    inode: int
    device: int
    size: int


class OpenFiles:
    """Every open descriptor of many processes; `files` has a files_struct for each, or 0."""

    def __init__(self, kernel: Kernel, paths: Paths, files: Column) -> None:
        self._kernel = kernel
        self._count = len(files)
        self.fds = read_fds(kernel, files)
        unique, which = np.unique(self.fds.file, return_inverse=True)
        self._which = which.reshape(-1)
        columns = kernel.read("file", FILE_COLUMNS, unique)
        self._private = columns["private_data"]
        mounts, dentries, inodes = columns["f_path.mnt"], columns["f_path.dentry"], columns["f_inode"]
        paths.load(mounts, dentries)
        # Before paths are resolved: names such as pipe:[7] are made of inodes, then already there.
        known = paths.inodes(inodes)
        rows = zip(
            mounts.tolist(),
            dentries.tolist(),
            inodes.tolist(),
            columns["f_flags"].tolist(),
            columns["f_pos"].tolist(),
            strict=True,
        )
        self._files = [
            _describe(paths.resolve(mount, dentry), known.get(inode), flags, position)
            for mount, dentry, inode, flags, position in rows
        ]

    def records(self, pids: list[int]) -> list[list[FileRecord]]:
        """Open files of each process, lowest descriptor first."""
        result: list[list[FileRecord]] = [[] for _ in range(self._count)]
        fds, files = self.fds, self._files
        rows = zip(
            fds.owner.tolist(), fds.fd.tolist(), self._which.tolist(), fds.cloexec.tolist(), strict=True
        )
        for owner, fd, which, cloexec in rows:
            path, deleted, kind, mode, flags, position, inode, device, size = files[which]
            result[owner].append(
                FileRecord(
                    pid=pids[owner],
                    fd=fd,
                    path=path,
                    deleted=deleted,
                    type=kind,
                    mode=mode,
                    flags=flags | O_CLOEXEC if cloexec else flags,
                    position=position,
                    inode=inode,
                    device=device,
                    size=size,
                )
            )
        return result

    def sockets(
        self, pids: list[int], names: list[bytes], net_namespaces: list[int | None]
    ) -> list[list[SocketRecord]]:
        """Sockets of each process, lowest descriptor first."""
        result: list[list[SocketRecord]] = [[] for _ in range(self._count)]
        is_socket = np.array([file.type == "socket" for file in self._files], dtype=bool)
        states = read_sockets(self._kernel, self._private[is_socket])
        private = self._private.tolist()
        for row in np.flatnonzero(is_socket[self._which]).tolist():
            which, owner = int(self._which[row]), int(self.fds.owner[row])
            state = states.get(private[which])
            if state is None:
                continue
            result[owner].append(
                SocketRecord(
                    pid=pids[owner],
                    fd=int(self.fds.fd[row]),
                    process=guest_text(names[owner]),
                    family=state.family,
                    type=state.type,
                    protocol=state.protocol,
                    local_address=state.local_address,
                    local_port=state.local_port,
                    remote_address=state.remote_address,
                    remote_port=state.remote_port,
                    state=state.state,
                    path=socket_path(state.path),
                    inode=self._files[which].inode,
                    net_namespace=net_namespaces[owner],
                )
            )
        return result


def _describe(path: Path | None, inode: Inode | None, flags: int, position: int) -> OpenFile:
    return OpenFile(
        path=guest_text(path.text) if path else None,
        deleted=path.deleted if path else False,
        type=file_type(inode.mode) if inode else "unknown",
        mode=open_mode(flags),
        flags=flags,
        position=position,
        inode=inode.number if inode else 0,
        device=inode.device if inode else 0,
        size=inode.size_bytes if inode else 0,
    )


def socket_path(name: bytes) -> str:
    """A unix socket's name for people: abstract names start with @, as in /proc/net/unix."""
    if name.startswith(b"\0"):
        return "@" + guest_text(name[1:]).replace("\0", "@")
    return guest_text(name)
