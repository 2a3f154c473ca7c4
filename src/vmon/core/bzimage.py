"""A bzImage holds the kernel as a compressed ELF file; behind it lie the places that KASLR moves.

Pure: bytes in, bytes out. LZ4 and Zstandard need packages that are optional. A file of somebody else's can claim any
size: what is unpacked is bounded.
Source: arch/x86/boot/header.S, Documentation/arch/x86/boot.rst (payload_offset, payload_length), scripts/Makefile.lib.
"""

from __future__ import annotations

import importlib
import lzma
import zlib
from typing import Any

from vmon.core.errors import NotSupported, UsageError

SETUP_SECTS = 0x1F1
PAYLOAD = 0x248
DEFAULT_SETUP_SECTS = 4
MAX_UNPACKED_BYTES = 512 << 20
ELF_MAGIC = b"\x7fELF"
LZ4_LEGACY = b"\x02\x21\x4c\x18"
LZ4_BLOCK_BYTES = 8 << 20


def unpack(image: bytes) -> bytes:
    """The ELF file in a bzImage with what lies behind it; an ELF file as it is.

    UsageError where it is neither or damaged, NotSupported where it is packed in a way that needs another package.
    """
    if image.startswith(ELF_MAGIC):
        return image
    if image[0x202:0x206] != b"HdrS":
        raise UsageError("this is no Linux boot image (bzImage) and no vmlinux")
    offset, length = (int.from_bytes(image[at : at + 4], "little") for at in (PAYLOAD, PAYLOAD + 4))
    begin = ((image[SETUP_SECTS] or DEFAULT_SETUP_SECTS) + 1) * 512 + offset
    try:
        elf = _unpack(image[begin : begin + length])
    except (lzma.LZMAError, zlib.error, ValueError) as error:
        raise UsageError(f"the kernel in this boot image is damaged: {error}") from error
    if not elf.startswith(ELF_MAGIC):
        raise UsageError("what this boot image holds is no ELF file")
    return elf


def _unpack(payload: bytes) -> bytes:
    if payload.startswith(b"\xfd7zXZ\0"):
        return lzma.LZMADecompressor().decompress(payload, MAX_UNPACKED_BYTES)
    if payload.startswith(b"\x1f\x8b"):
        return zlib.decompressobj(31).decompress(payload, MAX_UNPACKED_BYTES)
    if payload.startswith(LZ4_LEGACY):
        return _lz4(payload)
    if payload.startswith(b"\x28\xb5\x2f\xfd"):
        zstandard = _package("zstandard")
        try:
            data: bytes = zstandard.ZstdDecompressor().decompressobj().decompress(payload)
        except zstandard.ZstdError as error:
            raise ValueError(str(error)) from error
        return data
    raise NotSupported(f"the kernel in this boot image is packed in an unknown way ({payload[:4].hex()})")


def _lz4(payload: bytes) -> bytes:
    """The old frame: blocks of 8 MiB, each behind its packed size."""
    block = _package("lz4.block")
    pieces: list[bytes] = []
    at = len(LZ4_LEGACY)
    while at + 4 <= len(payload):
        size = int.from_bytes(payload[at : at + 4], "little")
        # Behind the last block lies the size of all, which mkcompress appends.
        if not size or at + 4 + size > len(payload) or len(pieces) * LZ4_BLOCK_BYTES > MAX_UNPACKED_BYTES:
            break
        try:
            piece = block.decompress(payload[at + 4 : at + 4 + size], uncompressed_size=LZ4_BLOCK_BYTES)
        except block.LZ4BlockError as error:
            raise ValueError(str(error)) from error
        pieces.append(piece)
        at += 4 + size
    return b"".join(pieces)


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise NotSupported(
            f"this boot image is packed with {name.split('.', maxsplit=1)[0]}, which is not installed",
            hint="pip install 'vmon[image]', or give the unpacked vmlinux",
        ) from None
