"""Every QEMU of this host, and what vmon could do with it, found without attaching to any.

Reads /proc of the host, and knocks at QMP sockets: connects, sees whether QEMU greets, hangs up; nothing is
sent. Where /proc shows that a client is being served nobody knocks (the knock would stay in the queue for as long
as that client stays), nor where QEMU may be waiting for its first client (wait=on), for that would start the
guest. The guests have no say in what is shown here, those who start QEMU have (its command line).
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from vmon.core.errors import TargetBusy, TargetDenied, TargetError
from vmon.transport.qemu import backing, host_processes, qmp
from vmon.transport.qemu.command_line import QemuCommand, parse_command_line

KNOCKS_AT_ONCE = 32
KNOCK_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class QmpOffer:
    """One QMP socket of a guest, as it was a moment ago."""

    path: str
    state: Literal["free", "busy", "denied", "broken", "waiting"]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class FoundGuest:
    """One QEMU process."""

    pid: int
    name: str
    machine: str
    accel: str
    """kvm or tcg, "" if unknown."""
    ram_bytes: int
    """As the command line asks for, hot-plugged RAM left out."""
    memory: Literal["mapped", "process", ""]
    """How RAM would be read: its shared file, or the process's memory; "" where this user may not."""
    qmp: tuple[QmpOffer, ...]
    problem: str = ""
    """Why vmon can't attach; "" if it can."""

    @property
    def target(self) -> str:
        """How to name this guest to vmon."""
        return f"pid:{self.pid}"


def find_guests() -> list[FoundGuest]:
    """The QEMU guests of this host, by process id; takes 0.3 s where a QEMU does not answer."""
    commands = {
        pid: parse_command_line(host_processes.command_of(pid)) for pid in host_processes.iter_qemus()
    }
    offers = {pid: _offers(pid, command) for pid, command in commands.items()}
    knocked = knock([offer.path for found in offers.values() for offer in found if offer.state == "free"])
    return [
        _describe(pid, command, tuple(knocked.get(offer.path, offer) for offer in offers[pid]))
        for pid, command in commands.items()
    ]


def _offers(pid: int, command: QemuCommand) -> list[QmpOffer]:
    """The QMP sockets that the command line names, and what /proc says of them."""
    own: dict[int, str] = {}
    if any(not socket.path for socket in command.qmp):
        with contextlib.suppress(TargetError):
            own = host_processes.own_listening_sockets(pid)
    served = host_processes.served_paths(pid) if command.qmp else set()
    found: dict[str, QmpOffer] = {}
    for named in command.qmp:
        bound_path = named.path or own.get(named.fd, "")
        if not bound_path:
            continue
        path = host_processes.host_path(pid, bound_path)
        if bound_path in served:
            found[path] = QmpOffer(path, "busy", "another client holds it")
        elif named.waits:
            found[path] = QmpOffer(path, "waiting", "QEMU may wait for its first client here: not tried")
        else:
            found[path] = QmpOffer(path, "free")
    return list(found.values())


def _describe(pid: int, command: QemuCommand, offers: tuple[QmpOffer, ...]) -> FoundGuest:
    memory, problem = _memory_of(pid, command.ram_bytes)
    if not problem and not any(offer.state in ("free", "waiting") for offer in offers):
        if any(offer.state == "busy" for offer in offers):
            problem = "its QMP socket is taken by another client"
        elif offers:
            problem = offers[0].reason
        elif command.qmp_elsewhere:
            problem = "it offers QMP, but not on a unix socket"
        else:
            problem = "it offers no QMP socket"
    return FoundGuest(
        pid=pid,
        name=command.name,
        machine=command.machine,
        accel=_accel_of(pid) or command.accel,
        ram_bytes=command.ram_bytes,
        memory=memory,
        qmp=offers,
        problem=problem,
    )


def _accel_of(pid: int) -> str:
    """kvm where the process holds a KVM machine, tcg where it holds none, "" where we may not look."""
    try:
        return "kvm" if "anon_inode:kvm-vm" in host_processes.descriptors(pid).values() else "tcg"
    except TargetError:
        return ""


def _memory_of(pid: int, ram_bytes: int) -> tuple[Literal["mapped", "process", ""], str]:
    """The way to RAM, and why there is none."""
    try:
        maps = backing.read_maps(pid)
        os.close(os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC))
    except PermissionError:
        return "", "this user may not read the memory of the process"
    except TargetDenied as error:
        return "", error.message
    except (OSError, TargetError):
        return "", "the process ended"
    shared_bytes = sum(m.end_hva - m.start_hva for m in maps if m.shared and m.inode)
    return ("mapped" if shared_bytes >= ram_bytes else "process"), ""


def knock(paths: Sequence[str]) -> dict[str, QmpOffer]:
    """Whether QEMU greets on each socket; all at once, a few dozen at a time."""
    offers: dict[str, QmpOffer] = {}
    for start in range(0, len(paths), KNOCKS_AT_ONCE):
        waiting: dict[int, tuple[str, socket.socket]] = {}
        poller = select.poll()
        for path in paths[start : start + KNOCKS_AT_ONCE]:
            try:
                sock = qmp.connect(path, seconds=0)
            except TargetError as error:
                offers[path] = _refused(path, error)
                continue
            waiting[sock.fileno()] = path, sock
            poller.register(sock, select.POLLIN)
        deadline = time.monotonic() + KNOCK_SECONDS
        while waiting and (answered := poller.poll(max(0, deadline - time.monotonic()) * 1000)):
            for fd, _ in answered:
                poller.unregister(fd)
                path, sock = waiting.pop(fd)
                try:
                    qmp.check_greeting(sock, path)
                    offers[path] = QmpOffer(path, "free")
                except TargetError as error:
                    offers[path] = _refused(path, error)
                sock.close()
        for path, sock in waiting.values():
            offers[path] = QmpOffer(path, "busy", "another client holds it")
            sock.close()
    return offers


def _refused(path: str, error: TargetError) -> QmpOffer:
    if isinstance(error, TargetBusy):
        return QmpOffer(path, "busy", "another client holds it")
    return QmpOffer(path, "denied" if isinstance(error, TargetDenied) else "broken", error.message)
