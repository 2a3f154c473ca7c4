"""A lab guest's root is one initramfs: Debian's static busybox, a few users and services, the agent.

Reads busybox and the kernel's modules, writes nothing: the archive is handed to whoever boots the guest.
What runs in the guest is in the folder `guest/` beside this file, as it is.
"""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path

from vmon.lab.cpio import CpioWriter
from vmon.lab.kernels import Kernel, fetch_busybox

PORT_NAME = "org.vmon.lab"
SERIAL_PORT = "/dev/ttyS1"
AT_BOOT = ("virtio_pci", "virtio_console")
FOLDERS = ("dev", "proc", "sys", "tmp", "run", "mnt", "root", "new", "var/log")
USERS = {
    "passwd": "alice:x:1000:1000:Alice:/home/alice:/bin/sh\n",
    "group": "alice:x:1000:\n",
    "shadow": "alice:*:19000::::::\n",
}
"""What a guest has beyond the users that every Debian has."""
ETC = {
    "passwd": "root:x:0:0:root:/root:/bin/sh\n"
    "daemon:x:1:1:daemon:/usr/sbin:/bin/false\n"
    "www-data:x:33:33:www-data:/srv/www:/bin/false\n"
    "nobody:x:65534:65534:nobody:/:/bin/false\n" + USERS["passwd"],
    "group": "root:x:0:\ndaemon:x:1:\ntty:x:5:\nwww-data:x:33:\nnogroup:x:65534:\nusers:x:100:alice\n"
    + USERS["group"],
    "shadow": "root:*:19000::::::\n" + USERS["shadow"],
    "hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "os-release": 'PRETTY_NAME="vmon lab (busybox)"\nNAME="vmon lab"\nID=vmon-lab\n',
    "services": "http 80/tcp\n",
}


def build_initramfs(kernel: Kernel, overlay: Path | None = None) -> bytes:
    """The initramfs of a guest; `overlay` is a folder whose files are laid over it, owned by root."""
    archive = CpioWriter()
    for folder in FOLDERS:
        archive.directory(folder, 0o1777 if folder == "tmp" else 0o755)
    archive.directory("home/alice", 0o755, 1000, 1000)
    # The kernel opens it for init before devtmpfs is mounted.
    archive.device("dev/console", 5, 1)
    busybox = fetch_busybox()
    archive.file("bin/busybox", busybox.read_bytes(), 0o755)
    for applet in _applets(busybox):
        if applet != "busybox":
            archive.symlink(f"bin/{applet}", "busybox")
    archive.symlink("sbin", "bin")
    archive.symlink("usr/bin", "../bin")
    archive.symlink("usr/sbin", "../bin")
    for name, text in ETC.items():
        archive.file(f"etc/{name}", text.encode())
    archive.file("srv/www/index.html", b"<h1>vmon lab</h1>\n")
    for path in sorted((Path(__file__).parent / "guest").iterdir()):
        where = {"init": "init", "inittab": "etc/inittab"}.get(path.name, f"lab/{path.name}")
        archive.file(where, path.read_bytes(), 0o644 if path.name == "inittab" else 0o755)
    _add_modules(archive, kernel)
    first = archive.close()
    if overlay is None:
        return first
    second = CpioWriter()
    second.tree(overlay)
    return first + second.close()


def _add_modules(archive: CpioWriter, kernel: Kernel) -> None:
    folder = f"lib/modules/{kernel.release}"
    lines = []
    for module in kernel.modules:
        archive.file(f"{folder}/{module.name}.ko", module.path.read_bytes())
        # modules.dep wants the whole chain, nearest first.
        chain = [own.name for own in kernel.closure([module.name])][-2::-1]
        lines.append(f"{module.name}.ko:{''.join(f' {name}.ko' for name in chain)}\n")
    archive.file(f"{folder}/modules.dep", "".join(lines).encode())
    archive.file(
        f"{folder}/modules.builtin", "".join(f"{name}.ko\n" for name in sorted(kernel.builtin)).encode()
    )
    archive.file("lab/modules", "".join(f"{own.name}\n" for own in kernel.closure(AT_BOOT)).encode())


@functools.cache
def _applets(busybox: Path) -> tuple[str, ...]:
    listing = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True)
    return tuple(listing.stdout.split())
