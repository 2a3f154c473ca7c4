"""An event is watched where the kernel itself asks whether it may happen: at the functions of its security hooks.

Pure data. A function is named under every spelling it had, newest first, or with a stand-in that sees the same event
with less; argument lists are those of 5.10 to 7.2, which agree (a guest test compares them with each kernel's own
types). Which functions exist is asked of kallsyms, never of a version. What a guest can do against it: nothing here.
Sources: include/linux/lsm_hook_defs.h, security/security.c and their callers in fs/, net/, kernel/.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vmon.kernel.profile import Wants

Context = Literal["may sleep", "locked", "atomic", "interrupt"]
"""Where the callers stand. may sleep: nobody waits for them. locked: they may sleep, others wait for their lock.
atomic: they hold a spin lock or are in an RCU section, and must not sleep. interrupt: interrupts are off."""

ARGUMENT_KINDS = {
    "task": "task_struct",
    "bprm": "linux_binprm",
    "cred": "cred",
    "siginfo": "kernel_siginfo",
    "file": "file",
    "path": "path",
    "dentry": "dentry",
    "inode": "inode",
    "socket": "socket",
    "sockaddr": "sockaddr",
    "bpf_attr": "bpf_attr",
    "text": "char",
    "memory": "void",
}
"""What a pointer of that kind points to; every other kind is a number in a register."""


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the kernel at which an event is seen."""

    name: str
    arguments: str
    """`name:kind` in the order of the registers RDI, RSI, RDX, RCX, R8. `number` is a value."""
    deny: bool
    """Whether its callers take a negative errno for an answer."""
    context: Context = "may sleep"

    @property
    def shape(self) -> str:
        """How the probe reads the arguments: a VMON_SHAPE_ of probe/include/vmon_abi.h."""
        return SHAPES[self.name]

    @property
    def only(self) -> str:
        """`enumeration.NAME`: the one value of its number that makes such an event; empty where any does."""
        return ONLY.get(self.name, "")

    @property
    def argument_kinds(self) -> list[tuple[str, str]]:
        """(name, kind) of each argument."""
        return [(name, kind) for name, _, kind in (word.partition(":") for word in self.arguments.split())]


@dataclass(frozen=True, slots=True)
class Part:
    """One function is enough, the first that can be hooked."""

    choices: tuple[Function, ...]
    optional: bool = False
    """Without it the event is seen all the same: kernels that lack it ask at another part."""


@dataclass(frozen=True, slots=True)
class Event:
    """A kind of thing that happens in a guest. All of its parts are watched."""

    name: str
    parts: tuple[Part, ...]
    note: str = ""

    @property
    def deny(self) -> bool:
        """Whether it can be refused, with the first choices."""
        return any(part.choices[0].deny for part in self.parts)


def _deny(name: str, arguments: str, context: Context = "may sleep") -> Function:
    return Function(name, arguments, True, context)


def _observe(name: str, arguments: str, context: Context = "may sleep") -> Function:
    return Function(name, arguments, False, context)


def _event(name: str, *choices: Function, note: str = "") -> Event:
    return Event(name, (Part(choices),), note)


SHAPES = {
    "wake_up_new_task": "TASK",
    "security_bprm_check": "BPRM",
    "proc_exec_connector": "EXECED",
    "taskstats_exit": "EXIT",
    "security_task_fix_setuid": "SETUID",
    "security_task_kill": "SIGNAL",
    "security_ptrace_access_check": "PTRACE",
    "security_file_open": "FILE",
    "security_path_mknod": "DIR_ENTRY",
    "security_inode_create": "INODE_ENTRY",
    "security_path_symlink": "NAME",
    "security_inode_symlink": "INODE_NAME",
    "security_path_unlink": "DIR_ENTRY",
    "security_inode_unlink": "INODE_ENTRY",
    "security_path_rename": "RENAME",
    "security_inode_rename": "INODE_RENAME",
    "security_path_link": "LINK",
    "security_inode_link": "INODE_LINK",
    "security_path_mkdir": "DIR_ENTRY",
    "security_inode_mkdir": "INODE_ENTRY",
    "security_path_rmdir": "DIR_ENTRY",
    "security_inode_rmdir": "INODE_ENTRY",
    "security_path_chmod": "PATH",
    "security_path_chown": "PATH",
    "security_path_truncate": "PATH",
    "security_file_truncate": "FILE",
    "security_mmap_file": "FILE_PROT",
    "security_sb_mount": "MOUNT",
    "security_socket_connect": "SOCKADDR",
    "security_socket_bind": "SOCKADDR",
    "security_socket_listen": "SOCKET",
    "security_socket_accept": "SOCKET",
    "security_kernel_read_file": "READ_FILE",
    "security_kernel_load_data": "LOAD_DATA",
    "security_bpf": "BPF",
    "update_process_times": "TICK",
    "tick_nohz_irq_exit": "TICK",
}
ONLY = {
    "security_kernel_read_file": "kernel_read_file_id.READING_MODULE",
    "security_kernel_load_data": "kernel_load_data_id.LOADING_MODULE",
    "security_bpf": "bpf_cmd.BPF_PROG_LOAD",
}

EVENTS: tuple[Event, ...] = (
    _event("process.fork", _observe("wake_up_new_task", "child:task"), note="no threads"),
    # Asked before, again for a script's interpreter; and told when it is done and the arguments lie in memory.
    Event(
        "process.exec",
        (
            Part((_deny("security_bprm_check", "program:bprm"),)),
            Part((_observe("proc_exec_connector", "task:task"),)),
        ),
    ),
    _event("process.exit", _observe("taskstats_exit", "task:task group_dead:number"), note="its last thread"),
    _event("process.setuid", _deny("security_task_fix_setuid", "new:cred old:cred how:number")),
    # Under RCU: kill_pid_info() and its like look the process up.
    _event(
        "process.signal",
        _deny("security_task_kill", "receiver:task info:siginfo signal:number sender:cred", "atomic"),
    ),
    # Under task_lock() of the traced process; also asked for a look at most of its /proc/PID.
    _event("process.ptrace", _deny("security_ptrace_access_check", "traced:task mode:number", "atomic")),
    _event("file.open", _deny("security_file_open", "file:file")),
    # The path hooks need CONFIG_SECURITY_PATH; the inode hooks see no mount, so no whole path.
    # An open that creates asks here first: file.open comes when the new file is there already.
    _event(
        "file.create",
        _deny("security_path_mknod", "folder:path entry:dentry mode:number device:number", "locked"),
        _deny("security_inode_create", "folder:inode entry:dentry mode:number", "locked"),
        note="a file, by open(2); a device, pipe or socket, by mknod(2) or bind(2)",
    ),
    _event(
        "file.symlink",
        _deny("security_path_symlink", "folder:path entry:dentry target:text", "locked"),
        _deny("security_inode_symlink", "folder:inode entry:dentry target:text", "locked"),
    ),
    _event(
        "file.unlink",
        _deny("security_path_unlink", "folder:path entry:dentry", "locked"),
        _deny("security_inode_unlink", "folder:inode entry:dentry", "locked"),
    ),
    _event(
        "file.rename",
        _deny(
            "security_path_rename",
            "old_folder:path old_entry:dentry new_folder:path new_entry:dentry flags:number",
            "locked",
        ),
        _deny(
            "security_inode_rename",
            "old_folder:inode old_entry:dentry new_folder:inode new_entry:dentry flags:number",
            "locked",
        ),
    ),
    _event(
        "file.link",
        _deny("security_path_link", "old_entry:dentry new_folder:path new_entry:dentry", "locked"),
        _deny("security_inode_link", "old_entry:dentry new_folder:inode new_entry:dentry", "locked"),
    ),
    _event(
        "file.mkdir",
        _deny("security_path_mkdir", "folder:path entry:dentry mode:number", "locked"),
        _deny("security_inode_mkdir", "folder:inode entry:dentry mode:number", "locked"),
    ),
    _event(
        "file.rmdir",
        _deny("security_path_rmdir", "folder:path entry:dentry", "locked"),
        _deny("security_inode_rmdir", "folder:inode entry:dentry", "locked"),
    ),
    _event("file.chmod", _deny("security_path_chmod", "file:path mode:number", "locked")),
    _event("file.chown", _deny("security_path_chown", "file:path uid:number gid:number", "locked")),
    # ftruncate() asks security_file_truncate since 6.2 (3350607dc563), before it asked the path hook.
    Event(
        "file.truncate",
        (
            Part((_deny("security_path_truncate", "file:path"),)),
            Part((_deny("security_file_truncate", "file:file"),), optional=True),
        ),
    ),
    _event(
        "file.mmap_exec",
        _deny("security_mmap_file", "file:file protection:number flags:number"),
        note="every mmap; the probe looks for PROT_EXEC; file is null for anonymous memory",
    ),
    _event(
        "file.mount",
        _deny("security_sb_mount", "device:text folder:path type:text flags:number data:memory"),
        note="mount(2); not the calls of the new interface (fsopen, move_mount)",
    ),
    _event("net.connect", _deny("security_socket_connect", "socket:socket address:sockaddr size:number")),
    _event("net.bind", _deny("security_socket_bind", "socket:socket address:sockaddr size:number")),
    _event("net.listen", _deny("security_socket_listen", "socket:socket backlog:number")),
    _event("net.accept", _deny("security_socket_accept", "socket:socket new:socket")),
    Event(
        "module.load",
        (
            Part((_deny("security_kernel_read_file", "file:file what:number contents:number"),)),
            Part((_deny("security_kernel_load_data", "what:number contents:number"),)),
        ),
        note="firmware and kexec images too, told apart by `what`",
    ),
    _event("bpf.load", _deny("security_bpf", "command:number attributes:bpf_attr size:number")),
)

TICKS: tuple[Event, ...] = (
    _event(
        "tick.busy",
        _observe("update_process_times", "user:number", "interrupt"),
        note="each timer tick of a CPU that works",
    ),
    _event(
        "tick.idle", _observe("tick_nohz_irq_exit", "", "interrupt"), note="each interrupt of an idle CPU"
    ),
)
"""Not events to report: from here the probe looks whether the host wants something done."""

FUNCTIONS: tuple[Function, ...] = tuple(
    choice for event in (*EVENTS, *TICKS) for part in event.parts for choice in part.choices
)

ASKABLE: tuple[str, ...] = tuple(
    event.name
    for event in EVENTS
    if any(choice.deny for part in event.parts for choice in part.choices)
    and all(choice.context in ("may sleep", "locked") for part in event.parts for choice in part.choices)
)
"""Events whose callers may sleep: the host can be asked before they happen."""

WANTS = Wants(
    symbols=(
        "_stext",
        "_etext",
        *(function.name for function in FUNCTIONS),
        # Where a function is exported, modules may call it too.
        *(f"__ksymtab_{function.name}" for function in FUNCTIONS),
    )
)
