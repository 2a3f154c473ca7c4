"""A process, and what it holds: descriptors, sockets, memory areas, environment. Pure data."""

from __future__ import annotations

import msgspec


class ProcessRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One process."""

    key: str
    """pid@start: the same process for ever, where a pid alone is used again."""
    pid: int
    ppid: int
    parent_key: str | None
    pgid: int | None
    sid: int | None
    name: str
    """comm: at most 15 bytes, set by the process itself."""
    exe: str | None
    exe_deleted: bool | None
    cmdline: list[str] | None
    """None when the pages are not in memory; empty for a kernel thread."""
    cwd: str | None
    root: str | None
    state: str
    """Letter of /proc/PID/stat: R S D T t Z X I P."""
    uid: int | None
    euid: int | None
    suid: int | None
    fsuid: int | None
    gid: int | None
    egid: int | None
    sgid: int | None
    fsgid: int | None
    groups: list[int] | None
    cap_inheritable: int | None
    cap_permitted: int | None
    cap_effective: int | None
    cap_bounding: int | None
    cap_ambient: int | None
    start_time: float | None
    """Seconds since the epoch, by the guest's clock."""
    start_boottime_ns: int
    """Nanoseconds since the guest booted."""
    threads: int
    nice: int
    user_time: float
    """Seconds of CPU in user mode, all threads."""
    system_time: float
    resident_size: int | None
    """Bytes in RAM (rss); None for a kernel thread."""
    total_size: int | None
    """Bytes of address space (vms)."""
    tty: str | None
    cgroup_path: str | None
    container_id: str | None
    pid_namespace: int | None
    mnt_namespace: int | None
    net_namespace: int | None
    user_namespace: int | None
    uts_namespace: int | None
    ipc_namespace: int | None
    cgroup_namespace: int | None
    ns_pids: list[int]
    """Its pid in each nested pid namespace, outermost first."""
    kernel_thread: bool
    seccomp: int | None
    """0 disabled, 1 strict, 2 filter."""
    no_new_privs: bool | None
    cpu: int
    """The CPU that it last ran on."""


class ThreadRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One thread of a process."""

    tid: int
    name: str
    state: str
    start_boottime_ns: int
    user_time: float
    system_time: float
    cpu: int


class FileRecord(msgspec.Struct, frozen=True, gc=False):
    """One open file descriptor."""

    pid: int
    fd: int
    path: str | None
    deleted: bool
    type: str
    """regular, directory, character, block, fifo, socket, anonymous."""
    mode: str
    """Access as psutil spells it: r, w, a, r+, a+."""
    flags: int
    """open(2) flags, O_CLOEXEC included."""
    position: int
    inode: int
    device: int
    size: int


class SocketRecord(msgspec.Struct, frozen=True, gc=False):
    """One socket: of a process, or one that no process holds (pid, fd and process are None then)."""

    pid: int | None
    fd: int | None
    process: str | None
    family: str
    type: str
    protocol: str
    """tcp, udp, icmp...; of netlink route, audit, generic...; of a packet socket the frames it gets: all, arp..."""
    local_address: str
    local_port: int | None
    remote_address: str
    remote_port: int | None
    state: str
    path: str
    """Name of a unix socket; an abstract one starts with @."""
    inode: int
    """0 where no file leads to it: TIME_WAIT, a connection not yet accepted, a process that has closed it."""
    net_namespace: int | None
    uid: int | None = None
    """User that made it; None for TIME_WAIT and NEW_SYN_RECV."""
    rx_queue: int | None = None
    """Bytes that wait to be read, as /proc/net counts them; of a listener the connections that wait to be accepted.
    Of a unix datagram socket the bytes of the next datagram. None for TIME_WAIT and NEW_SYN_RECV."""
    tx_queue: int | None = None
    """Bytes that were sent and not yet acknowledged or taken."""
    peer_inode: int | None = None
    """Inode of the unix socket at the other end, 0 where that one has none; None where there is no other end."""
    peer_pid: int | None = None
    """Process that holds the other end, the first of several; None where that is not known."""
    peer_process: str | None = None
    portid: int | None = None
    """Port of a netlink socket, by habit the pid; 0 for the kernel's own and for one that is not bound."""
    interface: str | None = None
    """Interface that it is bound to, or #number where that has no name; None for none."""
    kernel: bool = False
    """The kernel made it for itself: no process need hold it."""
    sock: int = 0
    """Address of its struct sock."""


class MapRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One area of a process's address space."""

    pid: int
    start: int
    end: int
    permissions: str
    offset: int
    device: int
    inode: int
    path: str
    """File, or [heap], [stack], [vdso]...; empty for anonymous memory."""
    deleted: bool


class EnvRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One environment variable, as laid out at exec."""

    pid: int
    name: str
    value: str
