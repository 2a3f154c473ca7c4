"""Which security modules decide is on a list of their names; what each of them hooks is on a list a hook.

Reads lsm_idlist (since 6.8) or lsm_names, and the hooks in static_calls_table (since 6.12) or security_hook_heads. A
hostile guest can bend the lists: walks are bounded, and a module that hooks without being listed is told. Hooks are
registered while the kernel boots, so nothing moves but for a module's own state.
Sources: security/security.c, include/linux/lsm_hooks.h, security/lockdown/lockdown.c, security/yama/yama_lsm.c.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from vmon.core.address import Gva
from vmon.core.coverage import Gaps
from vmon.core.errors import BadStructure, GuestDataError
from vmon.core.records.kernel import SecurityModuleRecord
from vmon.core.text import guest_text
from vmon.kernel.columns import Column, unique
from vmon.kernel.profile import Wants
from vmon.linux.kernel import Kernel

# lsm_id came in 6.8 (f3b8788cde61); the list of names went after 6.18. lsm_static_call came in 6.12 (417c5643cd67).
WANTS = Wants(
    symbols=(
        *("lsm_idlist", "lsm_active_cnt", "lsm_names", "security_hook_heads", "static_calls_table"),
        *("kernel_locked_down", "ptrace_scope"),
    ),
    structs={
        "lsm_id": "name id",
        "security_hook_heads": "",
        "security_hook_list": "list.next lsmid|lsm hook",
        "lsm_static_calls_table": "",
        "lsm_static_call": "hl",
    },
    enums=("lockdown_reason",),
)
MAX_MODULES = 64
MAX_HOOKS = 50_000
MAX_NAME_BYTES = 64
MAX_NAMES_BYTES = 1024


def find_security_modules(kernel: Kernel, gaps: Gaps) -> list[SecurityModuleRecord]:
    """Security modules in the order in which they are asked; behind them those that hook and are not listed."""
    listed = _listed(kernel, gaps)
    hooks = _hooks(kernel, gaps)
    unlisted = [name for name in hooks or {} if name not in listed]
    return [
        SecurityModuleRecord(
            name=name,
            id=listed.get(name),
            listed=name in listed,
            hooks=None if hooks is None else hooks.get(name, 0),
            state=_state(kernel, name),
        )
        for name in [*listed, *sorted(unlisted)]
    ]


def _listed(kernel: Kernel, gaps: Gaps) -> dict[str, int | None]:
    """Names of what the kernel itself says is active, with their numbers."""
    memory = kernel.memory
    if kernel.has_symbol("lsm_idlist") and "lsm_id" in kernel.profile.structs:
        count = memory.u32(kernel.symbol("lsm_active_cnt"))
        if count > MAX_MODULES:
            raise BadStructure(f"{count:,} security modules", field="lsm_active_cnt")
        raw = memory.read(kernel.symbol("lsm_idlist"), 8 * count)
        columns = kernel.read("lsm_id", "name id", np.frombuffer(raw, dtype="<u8"))
        return {
            _text(kernel, name): number
            for name, number in zip(columns["name"].tolist(), columns["id"].tolist(), strict=True)
        }
    if kernel.has_symbol("lsm_names"):
        pointer = memory.u64(kernel.symbol("lsm_names"))
        text = guest_text(memory.string(Gva(pointer), MAX_NAMES_BYTES)) if pointer else ""
        return {name: None for name in text.split(",") if name}
    gaps.add("modules", "not on this kernel", "a list of them")
    return {}


def _text(kernel: Kernel, pointer: int) -> str:
    try:
        return guest_text(kernel.memory.string(Gva(pointer), MAX_NAME_BYTES))
    except GuestDataError:
        return ""


def _hooks(kernel: Kernel, gaps: Gaps) -> dict[str, int] | None:
    """How many hooks each module has, by its name; None where this kernel does not tell."""
    try:
        lists = _hook_lists(kernel, gaps)
        if lists is None:
            gaps.add("hooks", "not on this kernel")
            return None
        owners = kernel.read("security_hook_list", "lsmid", lists)["lsmid"]
    except GuestDataError as error:
        gaps.add("hooks", "unreadable", error.message)
        return None
    names = {}
    for owner in unique(owners).tolist():
        # Until 6.8 it is the name itself.
        known = "lsm_id" in kernel.profile.structs
        names[owner] = _text(
            kernel, int(kernel.read_one("lsm_id", "name", owner)["name"][0]) if known else owner
        )
    counted: Counter[str] = Counter()
    for owner, count in Counter(owners.tolist()).items():
        if names[owner]:
            counted[names[owner]] += count
        else:
            gaps.add("hooks", "unreadable", "whose they are", count)
    return dict(counted)


def _hook_lists(kernel: Kernel, gaps: Gaps) -> Column | None:
    """Addresses of every security_hook_list in force."""
    structs = kernel.profile.structs
    if kernel.has_symbol("static_calls_table") and "lsm_static_calls_table" in structs:
        size, step = structs["lsm_static_calls_table"].size, structs["lsm_static_call"].size
        places = kernel.symbol("static_calls_table") + np.arange(0, size, step, dtype=np.uint64)
        lists: Column = kernel.read("lsm_static_call", "hl", places)["hl"]
        in_force: Column = lists[lists != 0]
        return in_force
    if not kernel.has_symbol("security_hook_heads") or "security_hook_heads" not in structs:
        return None
    raw = kernel.memory.read(kernel.symbol("security_hook_heads"), structs["security_hook_heads"].size & ~7)
    level = np.frombuffer(raw, dtype="<u8")
    found: list[Column] = []
    count = 0
    while (level := level[level != 0]).size:
        mapped = kernel.memory.mapped(level)
        if not mapped.all():
            gaps.add("hooks", "unreadable", "a list of them leads nowhere", int((~mapped).sum()))
            level = level[mapped]
        found.append(level)
        count += level.size
        if count > MAX_HOOKS:
            raise BadStructure("a list that does not end", field="security_hook_list")
        level = kernel.read("security_hook_list", "list.next", level)["list.next"]
    return np.concatenate(found) if found else np.zeros(0, dtype=np.uint64)


def _state(kernel: Kernel, name: str) -> str | None:
    """What lockdown and yama are set to."""
    if name == "yama" and kernel.has_symbol("ptrace_scope"):
        return f"ptrace_scope {kernel.memory.u32(kernel.symbol('ptrace_scope'))}"
    if name == "lockdown" and kernel.has_symbol("kernel_locked_down"):
        level = kernel.memory.u32(kernel.symbol("kernel_locked_down"))
        names = {value: key for key, value in kernel.profile.enums.get("lockdown_reason", {}).items()}
        return names.get(level, str(level)).removeprefix("LOCKDOWN_").removesuffix("_MAX").lower()
    return None
