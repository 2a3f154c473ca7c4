"""What vmon says of a guest: records with the field names of psutil and osquery, ready to be written out.

Pure data. Text that comes from the guest is str decoded as the file system does it (surrogateescape), so no byte is
lost; who prints it escapes it. None means that the field could not be read or does not apply; it is never guessed.
Records of plain values are left out of Python's garbage collection (gc=False): there are ten thousands of them.
"""

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
    """One socket that a process holds."""

    pid: int
    fd: int
    process: str
    family: str
    type: str
    protocol: str
    local_address: str
    local_port: int | None
    remote_address: str
    remote_port: int | None
    state: str
    path: str
    """Name of a unix socket; an abstract one starts with @."""
    inode: int
    net_namespace: int | None


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


def guest_text(data: bytes) -> str:
    """Bytes of the guest as str, reversible."""
    return data.decode("utf-8", "surrogateescape")


class EvidenceRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One thing that was checked when the kernel was identified."""

    check: str
    passed: bool
    detail: str


class GuestRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a guest as a whole."""

    target: str
    os: str
    release: str
    version: str
    banner: str
    build_id: str
    architecture: str
    hostname: str
    boot_time: float | None
    """Seconds since the epoch, by the guest's clock."""
    cpus_online: int | None
    memory_total: int | None
    """Bytes that the guest's kernel manages."""
    ram_size: int
    """Bytes of RAM that the machine has."""
    modules: int | None
    command_line: str | None
    paging_levels: int
    kaslr_slide: int
    page_offset_base: int
    text_address: int
    hypervisor: str
    """tcg, kvm, or dump."""
    ram_access: str
    """How RAM is read: mapped, process memory, file."""
    identified_ms: float
    profile_from_cache: bool
    symbols: int
    types: int
    evidence: list[EvidenceRecord]
    coverage: list[str]
    """What cannot be seen on this guest, a sentence each."""


class HostGuestRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A QEMU process of this host, and what vmon could do with it."""

    target: str
    """What to call it: lab:NAME or pid:N."""
    pid: int
    name: str
    accel: str
    """kvm, tcg, or empty when unknown."""
    ram_size: int
    """Bytes, as the command line asks for."""
    ram_access: str
    """mapped, process memory, or empty when this user may not."""
    qmp: list[str]
    """Its QMP sockets, each with its state."""
    readable: bool
    problem: str
    """Why it can't be read; empty when it can."""


class AbilityRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One thing that a target or this vmon can or can't do."""

    name: str
    available: bool
    detail: str
    """How, or why not."""


class HookRecord(msgspec.Struct, frozen=True, kw_only=True):
    """How one kind of event could be watched in a guest."""

    event: str
    how: str
    """call sites, entry nop, or not available."""
    deny: bool
    """Whether it could be refused too; else it can only be observed."""
    sites: int
    """Instructions of the guest that a probe would change for it."""
    functions: list[str]
    """Functions of the kernel that it would be seen at."""
    context: str
    """Where their callers stand: may sleep, locked (others wait), atomic (no sleep), interrupt."""
    why: str
    """Why it is not available; empty when it is."""
    notes: list[str]
    """What is not seen, and who else is there already."""


class PageRunRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Pages of guest-physical memory, one after another."""

    gpa: int
    pages: int
    why: str
    """Why they can't be used; empty when they can."""


class DoctorRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What could be done to a guest. All of it was found out by reading."""

    target: str
    release: str
    build_id: str
    hypervisor: str
    changed: bool
    """Whether anything of the guest was changed to learn this: never."""
    obstacles: list[str]
    """What keeps a probe from being installed, a sentence each; empty when nothing does."""
    abilities: list[AbilityRecord]
    pages: int
    """Pages that a probe could live in."""
    page_runs: list[PageRunRecord]
    slot_address: int
    """Where in the kernel's address space they would appear."""
    slot_entry_gpa: int | None
    """The one page-table entry that would be written; None when it can't be told."""
    events: list[HookRecord]
    ticks: list[HookRecord]
    """Where the guest would look for what the host wants done."""
    notes: list[str]


class ActRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What was done to a process, and what came of it."""

    key: str
    pid: int
    name: str
    signal: int
    done: bool
    outcome: str
    """sent, gone already, or why it was refused."""
    took_ms: float
    """From asking to the kernel's answer."""


class ProbeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A probe in a guest."""

    installed: bool
    """Whether it was put in now; False where it was there."""
    sites: int
    """Instructions of the guest that were changed now."""
    paused_ms: float
    """How long the guest stood still for it; 0 where it did not."""
    events: list[str]
    """Kinds of events that it sees."""
    not_seen: dict[str, str]
    """The others, with the reason."""


class DifferenceRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One thing about a probe that is not as vmon wrote it."""

    what: str
    """instruction, code, configuration, page-table entry, slot, recording, or probe for all of it."""
    address: int
    """In the guest's kernel half."""
    expected: str
    """Bytes, as hex."""
    found: str
    said: str
    """The same as a sentence."""


class CheckRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a probe is as vmon wrote it."""

    intact: bool
    differences: list[DifferenceRecord]
    took_ms: float


class NoticeRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What happened to the watching itself, between the events of a guest."""

    event: str
    """vmon.tampered, vmon.repaired, vmon.intact, vmon.rules, vmon.rebooted, vmon.installed."""
    said: str
    differences: list[DifferenceRecord] = []
    """Of vmon.tampered; the first eight."""
