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
