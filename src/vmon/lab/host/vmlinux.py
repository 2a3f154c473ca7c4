"""A bzImage holds the kernel as a compressed ELF file, and QEMU starts that file directly (PVH).

Reads a vmlinuz, writes the ELF beside it. An emulated CPU takes seconds to unpack what Python unpacks in one.
Source: Documentation/arch/x86/boot.rst.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from vmon.core.bzimage import unpack
from vmon.core.errors import NotSupported, UsageError
from vmon.lab.kernels import VMLINUX, Kernel


def unpacked(kernel: Kernel) -> Path:
    """The file to boot: the unpacked kernel, made on first use, or the boot image where that can't be."""
    path = kernel.vmlinuz.with_name(VMLINUX)
    if not path.is_file():
        try:
            elf = unpack(kernel.vmlinuz.read_bytes())
        except (UsageError, NotSupported):
            return kernel.vmlinuz
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(elf)
        Path(file.name).replace(path)
    return path
