"""Settings of the guest's kernel: what sysctl shows. Pure data."""

from __future__ import annotations

import msgspec


class SettingRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One setting, as under /proc/sys in the guest's first namespaces."""

    name: str
    """`kernel.kptr_restrict`; a dot within a part is a slash: `net.ipv4.conf.eth0/5.rp_filter`."""
    value: str | None
    """As /proc/sys shows it, several numbers with tabs between them. None: it can't be read by anybody, or the kernel
    makes it up when it is read and vmon does not follow; the coverage counts the latter."""
    mode: str
    """Permissions in octal: 0644."""
    handler: str | None
    """The kernel's function that shows it; None where vmon does not know it."""
    variable: int | None
    """Address of what it shows; None where there is none."""
