"""A bzImage holds the kernel as a compressed ELF file, and QEMU starts that file directly (PVH).

Reads a vmlinuz, writes the ELF beside it. An emulated CPU takes seconds to unpack what Python unpacks in one.
Source: arch/x86/boot/header.S, Documentation/arch/x86/boot.rst (payload_offset, payload_length).
"""

from __future__ import annotations

import lzma
import tempfile
import zlib
from pathlib import Path

from vmon.lab.kernels import VMLINUX, Kernel

SETUP_SECTS = 0x1F1
PAYLOAD = 0x248
DEFAULT_SETUP_SECTS = 4


def unpack(image: bytes) -> bytes | None:
    """The ELF file in a bzImage; None where it is packed in a way that Python does not know, or not one."""
    if image[0x202:0x206] != b"HdrS":
        return None
    offset, length = (int.from_bytes(image[at : at + 4], "little") for at in (PAYLOAD, PAYLOAD + 4))
    begin = ((image[SETUP_SECTS] or DEFAULT_SETUP_SECTS) + 1) * 512 + offset
    payload = image[begin : begin + length]
    try:
        if payload.startswith(b"\xfd7zXZ\0"):
            elf = lzma.LZMADecompressor().decompress(payload)
        elif payload.startswith(b"\x1f\x8b"):
            elf = zlib.decompressobj(31).decompress(payload)
        else:
            return None
    except (lzma.LZMAError, zlib.error):
        return None
    return elf if elf.startswith(b"\x7fELF") else None


def unpacked(kernel: Kernel) -> Path:
    """The file to boot: the unpacked kernel, made on first use, or the boot image where that can't be."""
    path = kernel.vmlinuz.with_name(VMLINUX)
    if not path.is_file():
        elf = unpack(kernel.vmlinuz.read_bytes())
        if elf is None:
            return kernel.vmlinuz
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(elf)
        Path(file.name).replace(path)
    return path
