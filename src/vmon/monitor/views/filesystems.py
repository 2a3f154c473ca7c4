"""The guest's file systems: what is mounted where, who locks what. Reads the guest, changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vmon.core.coverage import Answer, Gaps
from vmon.core.errors import NoSuchProcess, UsageError
from vmon.monitor.views.subject import Subject

if TYPE_CHECKING:
    from vmon.core.records.filesystem import LockRecord, MountRecord


class FilesystemViews(Subject):
    """Mixed into VirtualMachine."""

    def mounts(self, namespace: int | None = None, pid: int | None = None) -> Answer[MountRecord]:
        """Mounts of every mount namespace, that of pid 1 first, each in the order of /proc/PID/mountinfo.

        `namespace` chooses one by its inode number, `pid` that of a process. Namespaces that no process is in are
        found where a mount holds them or shares with them. 1 ms, and 4 for ten more namespaces. UsageError for a
        namespace that is not there, NoSuchProcess.
        """
        from vmon.linux import mount

        if namespace is not None and pid is not None:
            raise UsageError("a namespace and a pid: one of them says which mounts")
        gaps, kernel, snapshot = Gaps(), self.wide_kernel, self.snapshot()
        spaces = mount.find_namespaces(kernel, snapshot.tasks)
        found = mount.Mounts(kernel, gaps)
        if pid is None:
            found.load(spaces, follow=True)
        else:
            found.load(spaces[np.array(snapshot.pid, dtype=np.int64) == pid], follow=False)
            if not found.inums:
                there = pid in snapshot.pid
                raise NoSuchProcess(
                    f"process {pid} has left its mount namespace"
                    if there
                    else f"no process {pid} in the guest",
                    hint="a zombie sees no file system" if there else "`vmon ps` lists the processes",
                )
        records = found.records()
        if namespace is not None:
            if namespace not in found.inums.values():
                raise UsageError(
                    f"no mount namespace {namespace} in the guest",
                    hint="`vmon mounts` without it lists all; `vmon ps -o json` says which process is in which",
                )
            records = [record for record in records if record.namespace == namespace]
        return Answer(records, gaps)

    def locks(self) -> Answer[LockRecord]:
        """Locks on files, held and waited for, in the order of /proc/locks. 2 to 4 ms."""
        from vmon.linux import lock

        gaps, kernel, snapshot = Gaps(), self.wide_kernel, self.snapshot()
        names = dict(zip(snapshot.pid, snapshot.name, strict=True))
        openers = lock.read_openers(kernel, snapshot.tasks, snapshot.pid)
        return Answer(lock.read_locks(kernel, names, openers, gaps), gaps)
