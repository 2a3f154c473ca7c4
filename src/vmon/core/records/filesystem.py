"""The guest's file systems: where each is mounted, and who holds locks on their files. Pure data."""

from __future__ import annotations

import msgspec


class MountRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One mount in one mount namespace: a line of /proc/PID/mountinfo."""

    namespace: int
    """Inode number of the mount namespace, as `mnt_namespace` of a process."""
    id: int
    """As in mountinfo; used again after an unmount."""
    parent_id: int
    """Id of the mount that it is mounted on; its own for the topmost."""
    device: int
    """As st_dev has it: os.major() and os.minor() take it apart."""
    root: str
    """Which directory or file of the file system is mounted: / or, for a bind mount, one below; net:[N] and the
    like for a namespace that is held by a mount."""
    root_deleted: bool
    """Whether that was unlinked since."""
    mount_point: str | None
    """Path from the namespace's topmost root; a process under chroot sees a part of it. None where the tree of
    mounts makes no sense."""
    options: list[str]
    """Of this mount: ro or rw, nosuid, nodev, noexec, noatime, nodiratime, relatime, nosymfollow, idmapped."""
    propagation: list[str]
    """shared:N, master:N, propagate_from:N (peer groups), unbindable; empty for a private mount."""
    filesystem: str
    """Type, with its subtype: ext4, tmpfs, fuse.sshfs."""
    source: str | None
    """Device or what else was named at mount time; None where it can't be read. NFS and btrfs may show another."""
    super_options: list[str]
    """Of the whole file system, the kernel's general ones: ro or rw, sync, dirsync, mand, lazytime. What a type
    of file system has of its own (size=, uid=, lowerdir=) is not read."""
    mount_struct: int
    """Address of its struct mount."""


class LockRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One lock on a file, held or waited for: a line of /proc/locks."""

    type: str
    """POSIX (fcntl), FLOCK, OFDLCK (of an open file description), LEASE, DELEG; ACCESS for a look that waits."""
    mode: str
    """READ or WRITE; of a lease that is being broken, what it shall become: READ or UNLCK."""
    state: str
    """held, waiting; breaking for a lease that its holder is asked to give back."""
    pid: int | None
    """Who took it, in the first pid namespace; None for a lock of an open file description."""
    process: str | None
    """Name of that process; None where it is gone (a child may hold its file) or there is none."""
    holders: list[int]
    """Processes that have the file open through which it was taken: who a FLOCK or OFDLCK belongs to."""
    waits_for: int | None
    """Pid of the lock in the way; None for a lock that is held, and where that one has no pid."""
    waits_for_lock: int | None
    """`lock_struct` of the lock in the way; None for a lock that is held."""
    waiters: list[int]
    """Pids of those that wait for it to be given back, and for those who do."""
    device: int
    """As st_dev has it. Of who waits for a lease to be given back: the lease's, as inode and path."""
    inode: int
    path: str | None
    """Of the file, in its mount namespace's tree; None where it can't be told."""
    deleted: bool
    start: int
    """First byte."""
    end: int | None
    """Last byte; None up to the end of the file."""
    lock_struct: int
    """Address of its struct file_lock or file_lease."""
