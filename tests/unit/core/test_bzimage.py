"""The ELF file in a boot image is found however it is packed, and nothing else is taken for one."""

from __future__ import annotations

import importlib
import lzma
import zlib
from typing import Any

import lz4.block
import pytest
import zstandard

from vmon.core.bzimage import unpack
from vmon.core.errors import NotSupported, UsageError

ELF = b"\x7fELF" + bytes(range(256)) * 40


def gzip(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=31)
    return packer.compress(data) + packer.flush()


def boot_image(payload: bytes, setup_sects: int = 3) -> bytes:
    head = bytearray((setup_sects + 1) * 512)
    head[0x1F1] = setup_sects
    head[0x202:0x206] = b"HdrS"
    head[0x248:0x24C] = (64).to_bytes(4, "little")
    head[0x24C:0x250] = len(payload).to_bytes(4, "little")
    return bytes(head) + bytes(64) + payload + b"the rest of the image"


def old_lz4(data: bytes) -> bytes:
    packed = lz4.block.compress(data, store_size=False)
    return b"\x02\x21\x4c\x18" + len(packed).to_bytes(4, "little") + packed


# After an xz stream, and after the last block of LZ4, the kernel's build appends the unpacked size.
PAYLOADS = {
    "xz": lzma.compress(ELF) + b"\x10\0\0\0",
    "gzip": gzip(ELF),
    "lz4": old_lz4(ELF) + len(ELF).to_bytes(4, "little"),
    "zstd": zstandard.compress(ELF) + b"\x10\0\0\0",
}


@pytest.mark.parametrize("name", PAYLOADS)
def test_packed_kernel(name: str) -> None:
    assert unpack(boot_image(PAYLOADS[name])) == ELF
    assert unpack(ELF) == ELF


@pytest.mark.parametrize(
    "image",
    [
        b"",
        boot_image(b"\xfd7zXZ\0 torn"),
        boot_image(b"\x28\xb5\x2f\xfd zstd"),
        boot_image(b"\x02\x21\x4c\x18\x05\0\0\0\xff torn"),
        boot_image(gzip(b"not an ELF")),
    ],
    ids=["empty", "torn xz", "torn zstd", "torn lz4", "something else"],
)
def test_what_is_no_packed_kernel(image: bytes) -> None:
    with pytest.raises(UsageError):
        unpack(image)


@pytest.mark.parametrize(("name", "package"), [("lz4", "lz4.block"), ("zstd", "zstandard")])
def test_a_package_that_is_not_there_is_named(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.import_module

    def absent(wanted: str, *rest: Any) -> Any:
        if wanted == package:
            raise ImportError(wanted)
        return real(wanted, *rest)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(NotSupported) as caught:
        unpack(boot_image(PAYLOADS[name]))
    assert package.split(".", maxsplit=1)[0] in caught.value.message
    assert "vmon[image]" in caught.value.hint


def test_an_unknown_packing_is_not_supported() -> None:
    with pytest.raises(NotSupported, match="42"):
        unpack(boot_image(b"BZh9 what"))
