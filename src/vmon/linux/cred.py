"""Credentials: who a task is, and what it may do. struct cred is shared, counted, and replaced as a whole.

Reads struct cred, group_info, user_namespace. Ids are the kernel's own (kuid): what /proc shows to a reader in the
first user namespace. A hostile guest can point anywhere; group lists are bounded.
Sources: include/linux/cred.h, include/linux/capability.h, fs/proc/array.c.
"""

from __future__ import annotations

import numpy as np

from vmon.core.address import Gva
from vmon.core.errors import BadStructure, GuestDataError
from vmon.kernel.columns import Column, Columns
from vmon.kernel.profile import Wants
from vmon.linux.kernel import Kernel

CRED_FIELDS = (
    "uid euid suid fsuid gid egid sgid fsgid cap_inheritable cap_permitted cap_effective cap_bset cap_ambient "
    "user_ns group_info securebits"
)
WANTS = Wants(structs={"cred": CRED_FIELDS, "group_info": "ngroups gid"})
MAX_GROUPS = 65536


def read_creds(kernel: Kernel, creds: Column) -> Columns:
    """Ids and capabilities."""
    return kernel.read("cred", CRED_FIELDS, creds)


def read_groups(kernel: Kernel, group_info: Gva) -> list[int]:
    """Supplementary groups; BadStructure for an impossible number of them."""
    if not group_info:
        return []
    count = kernel.memory.u32(Gva(group_info + kernel.offset("group_info", "ngroups")))
    if count > MAX_GROUPS:
        raise BadStructure(f"{count} groups", field="group_info.ngroups", address=group_info)
    data = kernel.memory.read(Gva(group_info + kernel.offset("group_info", "gid")), 4 * count)
    groups: list[int] = np.frombuffer(data, dtype="<u4").tolist()
    return groups


def read_groups_or_none(kernel: Kernel, group_info: Gva) -> list[int] | None:
    """The same, None where it can't be read."""
    try:
        return read_groups(kernel, group_info)
    except GuestDataError:
        return None
