"""A lab kernel is Debian's own file, byte for byte: vmlinuz and the few modules that a small guest needs.

Fetches packages through apt.py and keeps of them what is used, under the cache folder, one folder a series.
A kernel that is there is used as it is, without asking the network; `fetch(..., refresh=True)` or deleting
the folder renews it.
"""

from __future__ import annotations

import json
import lzma
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from vmon.core.errors import LabError, UsageError
from vmon.core.folders import cache_folder
from vmon.lab.apt import Archives, Package, Suite, choose_archives, newest, read_sources, run_quiet
from vmon.lab.lock import file_lock
from vmon.lab.matrix import Series, find_series, names
from vmon.lab.progress import Progress

MODULES = (
    "virtio_pci",
    "virtio_mmio",
    "virtio_console",
    "virtio_blk",
    "virtio_net",
    "virtio_scsi",
    "crc32c_generic",
    "ext4",
    "overlay",
    "loop",
    "veth",
    "dummy",
    "bridge",
    "tun",
    "fuse",
    "unix_diag",
    "tcp_diag",
    "udp_diag",
    "vsock",
    "vmw_vsock_virtio_transport",
    "binfmt_misc",
    "nf_tables",
)
"""What is kept of a kernel's modules, with what they depend on; the rest of them a lab guest never loads."""

SPLIT = re.compile(r"linux-(?:binary|modules)-\d\S+")
LISTS = re.compile(r"linux-base-\d\S+")
"""From 7.2 on it has modules.builtin; of older kernels the mirror may not have it any more, nor is it needed."""
VMLINUZ = "vmlinuz"
VMLINUX = "vmlinux"
"""The same kernel unpacked, where something made it: an emulated CPU is slow at unpacking."""
VMLINUZ_MAGIC = (0x202, b"HdrS")


@dataclass(frozen=True, slots=True)
class Module:
    """A kernel module in the cache, uncompressed."""

    name: str
    path: Path
    depends: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel ready to boot."""

    release: str
    """What uname -r says; of a file given by path, what its header says."""
    vmlinuz: Path
    series: Series | None
    """Its line in the matrix; None for a file given by path whose release no line matches."""
    package: str = ""
    modules: tuple[Module, ...] = ()
    builtin: frozenset[str] = frozenset()

    def closure(self, wanted: Iterable[str]) -> list[Module]:
        """The wanted modules and what they need, in the order to load; built-in and unknown ones left out."""
        return _closure({module.name: module for module in self.modules}.get, wanted)

    def has(self, module: str) -> bool:
        """Whether the kernel can do what the module does, built in or loadable."""
        return module in self.builtin or any(own.name == module for own in self.modules)


def _closure(find: Callable[[str], Module | None], wanted: Iterable[str]) -> list[Module]:
    ordered: dict[str, Module] = {}

    def visit(name: str, depth: int) -> None:
        if name in ordered or depth > 32:
            return
        module = find(name)
        if module is None:
            return
        for need in module.depends:
            visit(need, depth + 1)
        ordered[name] = module

    for name in wanted:
        visit(name, 0)
    return list(ordered.values())


def find_kernel(which: str, *, refresh: bool = False) -> Kernel:
    """A kernel by series (fetched if need be) or by the path of a vmlinuz file."""
    series = find_series(which)
    if series is not None:
        return fetch(series, refresh=refresh)
    path = Path(which)
    if path.is_file():
        return from_file(path.resolve())
    raise UsageError(
        f"{which!r} is neither a kernel series of the matrix nor a file",
        hint=f"the series are {', '.join(names(extra=True))}",
    )


def from_file(path: Path) -> Kernel:
    """A kernel from a vmlinuz; its modules from the cache or this host's /lib/modules, if there."""
    if (path.parent / "kernel.json").is_file() and path.name in (VMLINUZ, VMLINUX):
        return replace(_load(path.parent), vmlinuz=path)
    release = read_release(path)
    series = find_series(".".join(re.split(r"[.\-+]", release)[:2]))
    modules = Path("/lib/modules") / release
    if not modules.is_dir():
        return Kernel(release, path, series)
    found = _finder(modules.rglob("*.ko*"))
    return Kernel(release, path, series, "", tuple(_closure(found, MODULES)), _builtin(modules))


def read_release(path: Path) -> str:
    """The release that a bzImage's header names; UsageError where the file is no bzImage."""
    with path.open("rb") as file:
        head = file.read(0x10000)
    offset, magic = VMLINUZ_MAGIC
    at = int.from_bytes(head[0x20E:0x210], "little") + 0x200
    if head[offset : offset + 4] != magic or at >= len(head):
        raise UsageError(f"{path} is not a Linux boot image (bzImage)")
    words = head[at : at + 256].split(b"\0", 1)[0].split()
    return words[0].decode(errors="replace") if words else "unknown"


def fetch(series: Series, *, refresh: bool = False) -> Kernel:
    """The newest kernel of a series from the cache or the mirror; LabError where Debian has none."""
    folder = cache_folder() / "kernels" / series.key
    if not refresh and (folder / "kernel.json").is_file():
        return _load(folder)
    with file_lock(folder.parent / f"{series.key}.lock", f"waiting for kernel {series.key}"):
        if refresh or not (folder / "kernel.json").is_file():
            _fetch_into(series, folder)
    return _load(folder)


def _fetch_into(series: Series, folder: Path) -> None:
    archives = choose_archives(read_sources())
    suite, package = _newest_of(series, archives)
    with tempfile.TemporaryDirectory(prefix=f".{series.key}-", dir=folder.parent) as temporary:
        debs = Path(temporary) / "debs"
        debs.mkdir()
        needed = suite.depends(package)
        parts = [Package(name, package.version) for name in needed if SPLIT.fullmatch(name)]
        files = suite.download([package, *parts], debs)
        lists = [Package(name, package.version) for name in needed if parts and LISTS.fullmatch(name)]
        files = suite.download(lists, debs) if lists else files
        ready = Path(temporary) / "kernel"
        ready.mkdir()
        with Progress(f"unpacking {package.name}") as progress:
            _unpack(files, Path(temporary) / "all", progress)
            _keep(Path(temporary) / "all", ready, series, package)
        if folder.exists():
            folder.rename(Path(temporary) / "old")
        ready.rename(folder)


def _newest_of(series: Series, archives: Archives) -> tuple[Suite, Package]:
    troubles: list[str] = []
    for names_ in (series.suites, series.fallback):
        suites: dict[str, Suite] = {}
        found: list[Package] = []
        for name in names_:
            try:
                suite = suites[name] = Suite(name, archives)
                suite.refresh()
                found += suite.packages(series.package, f"linux-image-{series.name}")
            except LabError as error:
                # One suite less: an old release's security archive goes away before its main one does.
                troubles.append(error.message)
        package = newest(found)
        if package is not None:
            return suites[package.suite], package
    raise LabError(
        f"no {series.flavour} kernel of series {series.name} in {', '.join(series.suites + series.fallback)}"
        + "".join(f"; {trouble}" for trouble in troubles),
        hint="give --kernel another series, or the path of a vmlinuz",
    )


def _unpack(debs: Iterable[Path], into: Path, progress: Progress) -> None:
    """Boot image, modules and their lists; not the documentation, the map or the configuration."""
    into.mkdir()
    for deb in debs:
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            with tarfile.open(fileobj=child.stdout, mode="r|") as archive:
                for member in archive:
                    progress.tick()
                    name = Path(member.name).name
                    if member.isfile() and (name.startswith(("vmlinuz", "modules.")) or ".ko" in name):
                        source = archive.extractfile(member)
                        assert source is not None
                        with (into / name).open("wb") as target:
                            shutil.copyfileobj(source, target, 1 << 20)
        if child.returncode:
            raise LabError(f"{deb.name} does not unpack: dpkg-deb exited with {child.returncode}")


def _keep(unpacked: Path, ready: Path, series: Series, package: Package) -> None:
    images = sorted(unpacked.glob("vmlinuz*"))
    if not images:
        raise LabError(f"{package.name} {package.version} holds no vmlinuz")
    shutil.copyfile(images[0], ready / "vmlinuz")
    builtin = _builtin(unpacked)
    chosen = _closure(_finder(unpacked.glob("*.ko*")), MODULES + series.modules)
    for module in chosen:
        (ready / f"{module.name}.ko").write_bytes(_plain(module.path))
    (ready / "kernel.json").write_text(
        json.dumps(
            {
                "release": read_release(ready / "vmlinuz"),
                "series": series.name,
                "package": f"{package.name}={package.version}",
                "modules": [{"name": module.name, "depends": module.depends} for module in chosen],
                "builtin": sorted(builtin),
            },
            indent=1,
        )
    )


def _load(folder: Path) -> Kernel:
    record = json.loads((folder / "kernel.json").read_text())
    return Kernel(
        record["release"],
        folder / "vmlinuz",
        find_series(record["series"]),
        record["package"],
        tuple(
            Module(module["name"], folder / f"{module['name']}.ko", tuple(module["depends"]))
            for module in record["modules"]
        ),
        frozenset(record["builtin"]),
    )


def module_name(file_name: str) -> str:
    """The name a module has when loaded, from its file's: dashes become underscores."""
    return file_name.split(".ko", 1)[0].replace("-", "_")


def _builtin(folder: Path) -> frozenset[str]:
    path = folder / "modules.builtin"
    if not path.is_file():
        return frozenset()
    return frozenset(module_name(Path(line).name) for line in path.read_text().splitlines() if line)


def _finder(paths: Iterable[Path]) -> Callable[[str], Module | None]:
    """Modules by name, each read only when asked for: a package has a thousand of them, maybe compressed."""
    by_name = {module_name(path.name): path for path in paths}

    def find(name: str) -> Module | None:
        path = by_name.get(name)
        return Module(name, path, read_depends(_plain(path))) if path else None

    return find


def read_depends(image: bytes) -> tuple[str, ...]:
    """What a module's .modinfo says it needs to be loaded before it."""
    match = re.search(rb"\0depends=([^\0]*)\0", image)
    return tuple(module_name(name) for name in match[1].decode().split(",") if name) if match else ()


def _plain(path: Path) -> bytes:
    data = path.read_bytes()
    match path.suffix:
        case ".xz":
            return lzma.decompress(data)
        case ".zst":
            return subprocess.run(["zstd", "-dc"], input=data, capture_output=True, check=True).stdout
        case ".gz":
            return subprocess.run(["gzip", "-dc"], input=data, capture_output=True, check=True).stdout
    return data


def fetch_busybox() -> Path:
    """Debian's static busybox: the host's if it is the static one, else fetched."""
    own = Path("/bin/busybox")
    if own.is_file() and b"/lib64/ld-linux" not in own.read_bytes():
        return own
    target = cache_folder() / "busybox"
    with file_lock(target.with_suffix(".lock"), "waiting for busybox"):
        if not target.is_file():
            suite = Suite("bookworm", choose_archives(read_sources()))
            suite.refresh()
            package = newest(suite.packages(re.compile("busybox-static"), "busybox-static"))
            if package is None:
                raise LabError("no package busybox-static", hint="apt-get install busybox-static")
            with tempfile.TemporaryDirectory(prefix=".busybox-", dir=target.parent) as temporary:
                (deb,) = suite.download([package], Path(temporary))
                run_quiet(["dpkg-deb", "-x", str(deb), f"{temporary}/x"], "unpacking busybox")
                found = next(path for path in Path(temporary).glob("x/**/busybox") if path.is_file())
                found.rename(target)
    return target
