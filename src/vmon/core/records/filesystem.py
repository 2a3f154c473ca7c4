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
