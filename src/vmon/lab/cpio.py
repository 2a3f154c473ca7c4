"""A Linux initramfs is a "newc" cpio archive: each file a header of hexadecimal digits, its name, its bytes.

Pure: bytes in, bytes out. Several archives in a row are one initramfs; the later file of a name wins.
"""

from __future__ import annotations

import stat
from pathlib import Path

MAGIC = b"070701"
TRAILER = "TRAILER!!!"


class CpioWriter:
    """Builds an archive; directories above a file are made as they are needed."""

    def __init__(self) -> None:
        self._out = bytearray()
        self._inode = 0
        self._known: set[str] = {""}

    def directory(self, name: str, mode: int = 0o755, uid: int = 0, gid: int = 0) -> None:
        """Add a directory with its permission bits."""
        name = self._place(name)
        if name not in self._known:
            self._known.add(name)
            self._entry(name, stat.S_IFDIR | mode, b"", uid=uid, gid=gid, links=2)

    def file(self, name: str, data: bytes, mode: int = 0o644, uid: int = 0, gid: int = 0) -> None:
        """Add a regular file."""
        self._entry(self._place(name), stat.S_IFREG | mode, data, uid=uid, gid=gid)

    def symlink(self, name: str, target: str) -> None:
        """Add a symbolic link."""
        self._entry(self._place(name), stat.S_IFLNK | 0o777, target.encode())

    def device(self, name: str, major: int, minor: int, mode: int = 0o600) -> None:
        """Add a character device."""
        self._entry(self._place(name), stat.S_IFCHR | mode, b"", rdev=(major, minor))

    def tree(self, folder: Path) -> None:
        """Add what a folder of the host holds, owned by root; sockets and devices are left out."""
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                self.symlink(name, str(path.readlink()))
            elif stat.S_ISDIR(mode):
                self.directory(name, stat.S_IMODE(mode))
            elif stat.S_ISREG(mode):
                self.file(name, path.read_bytes(), stat.S_IMODE(mode))

    def close(self) -> bytes:
        """The whole archive."""
        self._inode = -1
        self._entry(TRAILER, 0, b"")
        self._out += b"\0" * (-len(self._out) % 512)
        return bytes(self._out)

    def _place(self, name: str) -> str:
        name = name.strip("/")
        parent = name.rpartition("/")[0]
        if parent not in self._known:
            self.directory(parent)
        return name

    def _entry(
        self,
        name: str,
        mode: int,
        data: bytes,
        *,
        uid: int = 0,
        gid: int = 0,
        links: int = 1,
        rdev: tuple[int, int] = (0, 0),
    ) -> None:
        self._inode += 1
        encoded = name.encode() + b"\0"
        fields = (self._inode, mode, uid, gid, links, 0, len(data), 0, 0, *rdev, len(encoded), 0)
        self._out += MAGIC + b"".join(b"%08x" % field for field in fields) + encoded
        self._out += b"\0" * (-len(self._out) % 4)
        self._out += data
        self._out += b"\0" * (-len(self._out) % 4)
