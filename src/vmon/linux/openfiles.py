"""What a process has open: descriptors lead to files, files to paths and inodes, some of them to sockets.

Reads file, and through the other modules paths, inodes and sockets: each different file once, however many
descriptors share it. A file that was closed and reused meanwhile shows its new owner's path; nothing here outlasts
one snapshot. Sources: include/linux/fs.h, fs/proc/fd.c.
"""

from __future__ import annotations

from collections import Counter
from operator import or_

import numpy as np

from vmon.core.records.process import FileRecord, SocketRecord
from vmon.core.text import guest_text
from vmon.kernel.columns import Column
from vmon.linux import fdtable, inode, socketrecord
from vmon.linux.dentry import Paths
from vmon.linux.fdtable import FILE_COLUMNS, O_CLOEXEC, open_mode, read_fds
from vmon.linux.inode import read_inodes
from vmon.linux.kernel import Kernel
from vmon.linux.socket import read_sockets
from vmon.linux.socketrecord import SocketRecords

WANTS = fdtable.WANTS | inode.WANTS | socketrecord.WANTS


class OpenFiles:
    """Every open descriptor of many processes; `files` has a files_struct for each, or 0."""

    def __init__(self, kernel: Kernel, paths: Paths, files: Column) -> None:
        self._kernel = kernel
        self._count = len(files)
        self.unknown_sockets: Counter[int] = Counter()
        """By process, sockets that are being torn down or lead nowhere."""
        self.fds = read_fds(kernel, files)
        unique, which = np.unique(self.fds.file, return_inverse=True)
        self._which = which.reshape(-1)
        columns = kernel.read("file", FILE_COLUMNS, unique)
        self._private = columns["private_data"]
        mounts, dentries = columns["f_path.mnt"], columns["f_path.dentry"]
        paths.load(mounts, dentries)
        resolved = list(map(paths.resolve, mounts.tolist(), dentries.tolist()))
        # A column a field, a row a file.
        self._paths = [guest_text(path.text) if path else None for path in resolved]
        self._deleted = [path.deleted if path else False for path in resolved]
        self._flags = columns["f_flags"].tolist()
        access = {flags: open_mode(flags) for flags in set(self._flags)}
        self._modes = [access[flags] for flags in self._flags]
        self._positions = columns["f_pos"].tolist()
        self._inodes = read_inodes(kernel, columns["f_inode"])

    def unnamed(self) -> list[int]:
        """Of each process, descriptors whose file has no path that could be read."""
        missing = np.array([path is None for path in self._paths], dtype=bool)
        counts: list[int] = np.bincount(self.fds.owner[missing[self._which]], minlength=self._count).tolist()
        return counts

    def records(self, pids: list[int]) -> list[list[FileRecord]]:
        """Open files of each process, lowest descriptor first."""
        result: list[list[FileRecord]] = [[] for _ in range(self._count)]
        which, owners = self._which.tolist(), self.fds.owner.tolist()
        shut = (self.fds.cloexec * O_CLOEXEC).tolist()
        inodes = self._inodes
        made = map(
            FileRecord,
            map(pids.__getitem__, owners),
            self.fds.fd.tolist(),
            map(self._paths.__getitem__, which),
            map(self._deleted.__getitem__, which),
            map(inodes.types.__getitem__, which),
            map(self._modes.__getitem__, which),
            map(or_, map(self._flags.__getitem__, which), shut),
            map(self._positions.__getitem__, which),
            map(inodes.numbers.__getitem__, which),
            map(inodes.devices.__getitem__, which),
            map(inodes.sizes.__getitem__, which),
        )
        for owner, record in zip(owners, made, strict=True):
            result[owner].append(record)
        return result

    def sockets(
        self, pids: list[int], names: list[bytes], net_namespaces: list[int | None]
    ) -> list[list[SocketRecord]]:
        """Sockets of each process, lowest descriptor first."""
        result: list[list[SocketRecord]] = [[] for _ in range(self._count)]
        self.unknown_sockets.clear()
        is_socket = np.array([kind == "socket" for kind in self._inodes.types], dtype=bool)
        states = read_sockets(self._kernel, self._private[is_socket])
        rows = np.flatnonzero(is_socket[self._which])
        which = self._which[rows]
        columns = (which, self.fds.owner[rows], self.fds.fd[rows], self._private[which])
        texts = [guest_text(name) for name in names]
        held = []
        holders: dict[int, tuple[int, str]] = {}
        for at, owner, fd, private in zip(*(column.tolist() for column in columns), strict=True):
            state = states.get(private)
            if state is None:
                self.unknown_sockets[owner] += 1
                continue
            held.append((at, owner, fd, state))
            holders.setdefault(state.sock, (pids[owner], texts[owner]))
        described = SocketRecords(self._kernel, list(states.values()), holders)
        for at, owner, fd, state in held:
            inode = self._inodes.numbers[at]
            record = described.record(state, inode, (pids[owner], fd, texts[owner]), net_namespaces[owner])
            result[owner].append(record)
        return result
