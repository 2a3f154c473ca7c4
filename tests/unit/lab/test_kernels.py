"""What is kept of a kernel package, and how its modules are put in order."""

import json
import lzma

import pytest

from vmon.core.errors import UsageError
from vmon.lab import kernels
from vmon.lab.kernels import Kernel, Module, find_kernel, module_name, read_depends, read_release
from vmon.lab.matrix import find_series


def elf(depends: str) -> bytes:
    return b"\x7fELF junk\0license=GPL\0depends=" + depends.encode() + b"\0intree=Y\0"


def boot_image(release: str) -> bytes:
    head = bytearray(0x1000)
    head[0x202:0x206] = b"HdrS"
    head[0x20E:0x210] = (0x400 - 0x200).to_bytes(2, "little")
    head[0x400:] = f"{release} (build@host) #1 SMP\0".encode().ljust(0xC00, b"\0")
    return bytes(head)


def test_depends():
    assert read_depends(elf("virtio,virtio-ring")) == ("virtio", "virtio_ring")
    assert read_depends(elf("")) == ()
    assert read_depends(b"no modinfo") == ()


def test_module_names():
    assert module_name("virtio-rng.ko.xz") == "virtio_rng"
    assert module_name("ext4.ko") == "ext4"


def test_load_order(tmp_path):
    modules = tuple(
        Module(name, tmp_path / name, depends)
        for name, depends in {"c": ("b", "a"), "b": ("a",), "a": (), "x": ("y",), "y": ("x",)}.items()
    )
    kernel = Kernel("6.1", tmp_path, None, "", modules, frozenset({"ext4"}))
    assert [module.name for module in kernel.closure(["c", "ext4", "missing"])] == ["a", "b", "c"]
    # Modules that need each other end too.
    assert {module.name for module in kernel.closure(["x"])} == {"x", "y"}
    assert kernel.has("ext4")
    assert kernel.has("a")
    assert not kernel.has("missing")


def test_release_from_the_boot_image(tmp_path):
    (tmp_path / "image").write_bytes(boot_image("7.2.12+deb13-cloud-amd64"))
    assert read_release(tmp_path / "image") == "7.2.12+deb13-cloud-amd64"
    (tmp_path / "other").write_bytes(b"\x7fELF" * 1000)
    with pytest.raises(UsageError, match="not a Linux boot image"):
        read_release(tmp_path / "other")


def test_a_kernel_by_path_knows_its_line_of_the_matrix(tmp_path):
    (tmp_path / "image").write_bytes(boot_image("6.12.3-custom"))
    kernel = find_kernel(str(tmp_path / "image"))
    assert kernel.release == "6.12.3-custom"
    assert kernel.series is not None
    assert kernel.series.name == "6.12"
    assert kernel.modules == ()


def test_neither_series_nor_path():
    with pytest.raises(UsageError) as caught:
        find_kernel("4.4")
    assert "5.10, 6.1" in caught.value.hint


def test_only_what_is_needed_is_kept(tmp_path, monkeypatch):
    """From unpacked packages to the cache and back."""
    monkeypatch.setattr(kernels, "MODULES", ("virtio_console", "ext4"))
    unpacked, ready = tmp_path / "all", tmp_path / "ready"
    unpacked.mkdir()
    ready.mkdir()
    (unpacked / "vmlinuz").write_bytes(boot_image("6.18.1-cloud"))
    (unpacked / "modules.builtin").write_text("kernel/fs/ext4/ext4.ko\nkernel/net/unix/unix.ko\n")
    (unpacked / "virtio_console.ko.xz").write_bytes(lzma.compress(elf("virtio")))
    (unpacked / "virtio.ko").write_bytes(elf(""))
    (unpacked / "unwanted.ko").write_bytes(elf(""))
    series = find_series("6.18")
    assert series is not None
    kernels._keep(unpacked, ready, series, kernels.Package("linux-image-x", "6.18.1-1"))
    assert {path.name for path in ready.iterdir()} == {
        "vmlinuz",
        "kernel.json",
        "virtio.ko",
        "virtio_console.ko",
    }
    kernel = find_kernel(str(ready / "vmlinuz"))
    assert kernel.release == "6.18.1-cloud"
    assert kernel.package == "linux-image-x=6.18.1-1"
    assert [module.name for module in kernel.modules] == ["virtio", "virtio_console"]
    assert kernel.modules[1].path.read_bytes() == elf("virtio")
    assert kernel.builtin == {"ext4", "unix"}
    assert json.loads((ready / "kernel.json").read_text())["series"] == "6.18"
