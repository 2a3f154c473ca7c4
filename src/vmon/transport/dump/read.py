"""A dump is a table of runs in front of bytes; what kind it is stands in its first bytes.

Reads the file's headers by pread and maps the rest read-only. The file may be hostile, or cut short: each
header is checked against the file's size, their number is bounded, and nothing is allocated by what a header
says.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from vmon.core.address import PAGE_SIZE_BYTES, Gpa
from vmon.core.errors import DumpFormatError, TargetDenied, TargetNotFound
from vmon.transport.dump import elf, lime
from vmon.transport.ram import Extent, FileRam

SMALLEST_RAW_BYTES = 1 << 20
NOT_RAM = (
    (
        b"KDUMP   ",
        "a compressed kdump",
        "dump without compression: virsh dump --format elf, or dump-guest-memory FILE",
    ),
    (
        b"DISKDUMP",
        "a compressed kdump",
        "dump without compression: virsh dump --format elf, or dump-guest-memory FILE",
    ),
    (
        b"makedumpfile\0",
        "a flattened makedumpfile",
        "rebuild it as ELF: makedumpfile -R, then makedumpfile -E",
    ),
    (b"AVML", "a compressed AVML dump", "convert it: avml-convert --format lime"),
    (b"QEVM", "a saved machine state of QEMU", "start the guest from it and take a memory dump"),
    (
        b"LibvirtQemudSave",
        "a libvirt save image",
        "restore the guest and run: virsh dump --memory-only --format elf",
    ),
    (b"QFI\xfb", "a qcow2 disk image", ""),
    (b"\x1f\x8b", "gzip-compressed", "decompress it first"),
    (b"\xfd7zXZ", "xz-compressed", "decompress it first"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed", "decompress it first"),
    (b"PK\x03\x04", "a zip archive", "unpack it first"),
)


class DumpRam(FileRam):
    """ReadPhys over a dump file; there is nobody to write for."""

    def __init__(self, extents: list[Extent], fd: int, kind: str) -> None:
        super().__init__(extents, [fd])
        self.kind = kind
        """raw, elf or lime."""


def open_dump(path: str | Path) -> DumpRam:
    """Open a dump file as guest RAM; the format is told from the content."""
    fd = _open(Path(path))
    try:
        kind, extents = _layout(fd, path)
    except BaseException:
        os.close(fd)
        raise
    return DumpRam(extents, fd, kind)  # it owns the descriptor from here on, in failure too


def _open(path: Path) -> int:
    try:
        # A fifo would block without O_NONBLOCK.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise TargetNotFound(f"there is no file {path}") from error
    except PermissionError as error:
        raise TargetDenied(f"this user may not read {path}") from error
    except OSError as error:
        raise TargetNotFound(f"{path} can't be opened: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise DumpFormatError(f"{path} is not a regular file")
    return fd


def _layout(fd: int, path: str | Path) -> tuple[str, list[Extent]]:
    size_bytes = os.fstat(fd).st_size
    start = os.pread(fd, 64, 0)
    if start.startswith(elf.MAGIC):
        return "elf", elf.extents(fd, size_bytes)
    if start.startswith(lime.MAGIC):
        return "lime", lime.extents(fd, size_bytes)
    for magic, what, hint in NOT_RAM:
        if start.startswith(magic):
            raise DumpFormatError(f"{path} is {what}, which vmon does not read", hint=hint)
    if size_bytes < SMALLEST_RAW_BYTES or size_bytes % PAGE_SIZE_BYTES:
        raise DumpFormatError(
            f"{path} is not a memory dump: no known header, and {size_bytes} bytes are not pages of RAM",
            hint="vmon reads raw RAM (address = offset), ELF cores of dump-guest-memory, and LiME",
        )
    return "raw", [Extent(Gpa(0), size_bytes, 0)]
