"""The kernel that a boot image holds is made once beside it, where it can be."""

import zlib
from pathlib import Path

from vmon.lab.host.vmlinux import unpacked
from vmon.lab.kernels import Kernel, from_file

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


def test_it_is_made_once_beside_the_image(tmp_path: Path) -> None:
    kernel = Kernel("6.1", tmp_path / "vmlinuz", None)
    kernel.vmlinuz.write_bytes(boot_image(gzip(ELF)))
    made = unpacked(kernel)
    assert made == tmp_path / "vmlinux"
    assert made.read_bytes() == ELF
    kernel.vmlinuz.write_bytes(b"")
    assert unpacked(kernel) == made
    assert sorted(path.name for path in tmp_path.iterdir()) == ["vmlinux", "vmlinuz"]


def test_an_image_that_does_not_unpack_is_booted_as_it_is(tmp_path: Path) -> None:
    kernel = Kernel("6.1", tmp_path / "vmlinuz", None)
    kernel.vmlinuz.write_bytes(boot_image(b"BZh9 unknown"))
    assert unpacked(kernel) == kernel.vmlinuz


def test_the_unpacked_file_keeps_its_kernels_modules(tmp_path: Path) -> None:
    (tmp_path / "kernel.json").write_text(
        '{"release": "6.1.0-9-amd64", "series": "6.1", "package": "p=1", "modules": [], "builtin": ["ext4"]}'
    )
    (tmp_path / "vmlinux").write_bytes(ELF)
    kernel = from_file(tmp_path / "vmlinux")
    assert (kernel.vmlinuz, kernel.release) == (tmp_path / "vmlinux", "6.1.0-9-amd64")
    assert kernel.has("ext4")
