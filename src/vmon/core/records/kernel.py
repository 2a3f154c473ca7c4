"""The guest's kernel: what is loaded into it and what hooks it. Pure data."""

from __future__ import annotations

import msgspec


class ModuleRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One loaded module, as lsmod has it."""

    name: str
    size: int
    """Bytes of all its parts, as in /proc/modules."""
    address: int
    """Where its text starts."""
    references: int
    """Users that keep it loaded, modules and others."""
    used_by: list[str]
    """Names of the modules that use it."""
    state: str
    """Live, Loading, Unloading, Unformed."""
    taints: str
    """Letters of /proc/sys/kernel/tainted that it brought: O out of tree, E unsigned, P proprietary..."""
    version: str | None
    module_struct: int
    """Address of its struct module."""


class SecurityModuleRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One Linux security module (LSM)."""

    name: str
    id: int | None
    """LSM_ID of uapi/linux/lsm.h; None on kernels before 6.8."""
    listed: bool
    """Whether the kernel names it in /sys/kernel/security/lsm. One that hooks and is not listed should not be."""
    hooks: int | None
    """Hooks at which it is asked; None where the kernel does not tell."""
    state: str | None
    """Of lockdown its level: none, integrity, confidentiality. Of yama its ptrace_scope."""


class KernelHookRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One place of the guest's kernel at which something else is called: a kprobe, a kretprobe, or ftrace."""

    kind: str
    """kprobe, kretprobe, ftrace."""
    address: int
    function: str | None
    """Function that the address is in; `[veth]` is a module's code; None: no code that the kernel knows."""
    offset: int
    """Bytes from its start."""
    handlers: list[str]
    """What is called, `name+0xoffset`; an address that is in no known code is written in hexadecimal."""
    state: list[str]
    """disabled, gone, optimized, ftrace (a kprobe that ftrace carries out); enabled (of ftrace)."""
    users: int
    """How many want to be called there."""
    missed: int | None
    """Times that a kprobe was not called because another was being served; None for ftrace."""


class SymbolFileRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A symbol file that was written."""

    path: str
    """As it was named; `-` for standard output."""
    build_id: str
    """Of the kernel that it describes, hexadecimal."""
    release: str
    """As uname -r."""
    size: int
    """Bytes written, packed if the name asked for it."""
    json_size: int
    """Bytes of JSON."""
    symbols: int
    """Symbols of the kernel's own table; of equal names the first is in the file."""
    types: int
    """Types of the kernel's BTF, those without a name of their own too."""
