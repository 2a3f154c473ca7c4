"""Which processes of this host are QEMUs, and which of them listens on a socket.

Reads /proc of the host: exe, cmdline, fd, net/unix. Nothing here comes from the guest. Processes come and go
while we look, and others may not be looked at by this user: both are left out, or reported as TargetDenied
where one process was asked for by its number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from vmon.core.errors import TargetDenied, TargetNotFound

PROC = Path("/proc")
QEMU_NAME = re.compile(r"qemu-system-(x86_64|i386)|qemu-kvm|kvm")
LISTENING = 0x10000  # __SO_ACCEPTCON in the Flags column of net/unix
CONNECTED = 3  # SS_CONNECTED in its St column
UNIX_LINE = re.compile(
    r"[0-9a-f]+: [0-9A-F]+ [0-9A-F]+ (?P<flags>[0-9A-F]+) [0-9A-F]+ (?P<state>[0-9A-F]+) +(?P<inode>\d+) (?P<path>.+)"
)


def command_of(pid: int) -> list[str]:
    """The arguments of a process; empty for a kernel thread, a zombie or one that is gone."""
    try:
        raw = (PROC / str(pid) / "cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return []
    return [part.decode(errors="surrogateescape") for part in raw.rstrip(b"\0").split(b"\0")] if raw else []


def is_qemu(pid: int) -> bool:
    """Whether a process runs a QEMU for x86 guests, by its executable, else by its name."""
    try:
        # An upgrade of the package deletes the executable of a running QEMU.
        name = (PROC / str(pid) / "exe").readlink().name.removesuffix(" (deleted)")
    except OSError:
        name = Path(next(iter(command_of(pid)), "")).name
    return QEMU_NAME.fullmatch(name) is not None


def iter_qemus() -> Iterator[int]:
    """Process ids of the QEMUs of this host, in order."""
    for pid in sorted(int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()):
        if command_of(pid) and is_qemu(pid):
            yield pid


def require_qemu(pid: int) -> list[str]:
    """The command line of a QEMU process, or a TargetNotFound that says what the number is instead."""
    if not (PROC / str(pid)).exists():
        raise TargetNotFound(
            f"there is no process {pid}", hint="`vmon guests` lists the QEMU processes of this host"
        )
    argv = command_of(pid)
    if not argv or not is_qemu(pid):
        raise TargetNotFound(
            f"process {pid} ({Path(next(iter(argv), '?')).name}) is not a QEMU for x86 guests",
            hint="`vmon guests` lists the QEMU processes of this host",
        )
    return argv


def descriptors(pid: int) -> dict[int, str]:
    """What each descriptor of a process leads to."""
    links: dict[int, str] = {}
    try:
        for entry in (PROC / str(pid) / "fd").iterdir():
            try:
                links[int(entry.name)] = str(entry.readlink())
            except FileNotFoundError:
                continue
    except PermissionError as error:
        raise TargetDenied(
            f"this user may not look at process {pid}", hint="run vmon as root or as QEMU's user"
        ) from error
    except (FileNotFoundError, ProcessLookupError) as error:
        raise TargetNotFound(f"process {pid} ended") from error
    return links


def listening_sockets(pid: int) -> dict[int, str]:
    """Inode and path of each listening unix socket in the network namespace of a process."""
    return {inode: path for inode, path, flags, _ in _named_sockets(pid) if flags & LISTENING}


def served_paths(pid: int) -> set[str]:
    """Paths of unix sockets on which a client is being served: one that was accepted has an inode."""
    return {path for inode, path, _, state in _named_sockets(pid) if state == CONNECTED and inode}


def _named_sockets(pid: int) -> Iterator[tuple[int, str, int, int]]:
    """Inode, path, flags and state of each unix socket that has a name."""
    try:
        text = (PROC / str(pid) / "net" / "unix").read_text(errors="surrogateescape")
    except OSError:
        return
    for line in text.splitlines()[1:]:
        if match := UNIX_LINE.fullmatch(line):
            path = match["path"]
            name = "\0" + path[1:] if path.startswith("@") else path
            yield int(match["inode"]), name, int(match["flags"], 16), int(match["state"], 16)


def host_path(pid: int, path: str) -> str:
    """A path as the process sees it, made usable from here: relative to its folder, inside its root."""
    if path.startswith("\0"):
        return path
    within = PROC / str(pid)
    absolute = path if path.startswith("/") else str(within / "cwd" / path)
    if Path(absolute).exists():
        return absolute
    inside = within / "root" / path.lstrip("/")
    return str(inside) if path.startswith("/") and inside.exists() else absolute


def own_listening_sockets(pid: int) -> dict[int, str]:
    """Descriptor number and path of each unix socket that a process listens on."""
    paths = listening_sockets(pid)
    own: dict[int, str] = {}
    for fd, link in descriptors(pid).items():
        if link.startswith("socket:[") and int(link[8:-1]) in paths:
            own[fd] = paths[int(link[8:-1])]
    return own


def same_file(path: str, other: str) -> bool:
    """Whether two spellings lead to the same file."""
    if path == other:
        return True
    try:
        return not path.startswith("\0") and not other.startswith("\0") and Path(path).samefile(other)
    except OSError:
        return False


def owner_of_socket(path: str, peer_pid: int) -> int:
    """The QEMU that listens on a socket.

    `peer_pid` (SO_PEERCRED) is who called listen(): QEMU as a rule, but libvirt listens itself and hands
    the descriptor over, so it is believed only if it is a QEMU that holds a listening socket of that path.
    """
    candidates = [peer_pid] if peer_pid and is_qemu(peer_pid) else []
    denied: TargetDenied | None = None
    for pid in chain(candidates, iter_qemus()):
        try:
            sockets = own_listening_sockets(pid)
        except TargetDenied as error:
            denied = error
        except TargetNotFound:
            continue
        else:
            if any(same_file(path, host_path(pid, other)) for other in sockets.values()):
                return pid
    if denied:
        raise denied
    raise TargetNotFound(
        f"no QEMU process of this host listens on {path}",
        hint="vmon reads the memory of the QEMU process, so it has to run on the same host",
    )
