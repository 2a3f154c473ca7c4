"""A plan is all bytes of an installation, made before the first is written: code, configuration, changed calls.

Pure, from a survey of the guest's text. Every site leads to an entry of the code that goes on to where the site led
before; two sites share an entry only when they led to the same place. A function that is hooked at its own start calls
an entry that goes back into it. What stood in the guest is kept in the code itself, so that any vmon can put it back; a
guest can change it there, and what comes back then is its own: a branch, or a nop of those that a kernel has.
Source: probe/src/entry.S.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from vmon.arch.x86_64.code import (
    BRANCH_BYTES,
    CALL,
    ENTRY_NOPS,
    JUMP,
    Call,
    decode_branch,
    encode_branch,
)
from vmon.core.address import PAGE_SIZE_BYTES, Gpa, Gva
from vmon.core.errors import NotSupported
from vmon.core.ports import Patch
from vmon.linux.kernel import Kernel
from vmon.probe.abi import Abi
from vmon.probe.config import (
    DEAD_AFTER_NS,
    GFP,
    KERNEL_FUNCTIONS,
    MAGIC,
    SPIN_NS,
    encode,
    encode_hook,
    missing_fields,
    offsets,
    per_cpu,
)
from vmon.probe.hooks import ASKABLE, Function
from vmon.probe.place import SLOT_GVA
from vmon.probe.sites import EntryNop, EventReach, Reach, Survey, Way
from vmon.probe.tenant import boot_of
from vmon.probe.window import Window

REAL_TIME = " PREEMPT_RT "


@dataclass(slots=True)
class Plan:
    """What an installation would write."""

    code: bytearray
    hooks: list[bytes] = field(default_factory=list)
    """A struct vmon_hook for each entry in use."""
    patches: list[Patch] = field(default_factory=list)
    prefer: Way = "call sites"


def make_plan(kernel: Kernel, abi: Abi, survey: Survey) -> Plan:
    """NotSupported when this kernel lacks what the probe can't do without."""
    if REAL_TIME in kernel.profile.banner:
        # Its signals take locks that sleep, and the probe sends them in an interrupt.
        raise NotSupported("this is a PREEMPT_RT kernel: the probe does not know how to act in it safely")
    lacking = missing_fields(kernel.profile)
    if lacking:
        raise NotSupported(f"this kernel has no {', '.join(lacking)}: the probe can't read it")
    plan = Plan(bytearray(abi.code), prefer=survey.prefer)
    _join_kernel(plan, kernel, abi)
    ticks = [reach for reach in survey.ticks if reach.available]
    if not ticks:
        raise NotSupported(
            "no timer or interrupt of this kernel can be hooked", hint="`vmon doctor` tells why"
        )
    for tick in ticks:
        _add_event(plan, kernel, abi, tick)
    for reach in survey.events:
        if reach.available:
            _add_event(plan, kernel, abi, reach)
    return plan


def _join_kernel(plan: Plan, kernel: Kernel, abi: Abi) -> None:
    """The jumps to the kernel's own functions."""
    sizes = abi.sizes
    for name, number in abi.kfuncs.items():
        spelling = next((word for word in KERNEL_FUNCTIONS[name] if kernel.has_symbol(word)), None)
        if spelling is None:
            raise NotSupported(f"this kernel has no {KERNEL_FUNCTIONS[name][0]}, which the probe calls")
        _jump(plan, sizes["HOOKS"] * sizes["HOOK"] + number * sizes["KFUNC"], kernel.symbol(spelling))


def _jump(plan: Plan, at: int, target: Gva) -> None:
    branch = encode_branch(Call(Gva(SLOT_GVA + at), JUMP, target))
    plan.code[at : at + len(branch)] = branch


def _add_event(plan: Plan, kernel: Kernel, abi: Abi, reach: EventReach) -> None:
    for part in reach.parts:
        _add_function(plan, kernel, abi, reach, part)


def _add_function(plan: Plan, kernel: Kernel, abi: Abi, event: EventReach, part: Reach) -> None:
    # Ticks are no events.
    kind = abi.events.get(event.event.name, abi.kinds["NONE"])
    hook = encode_hook(abi, kind, abi.shapes[part.function.shape], _only(kernel, part.function))
    if part.how == "entry nop":
        assert part.entry is not None
        _add_entry(plan, abi, hook, part.entry)
        return
    entries: dict[int, int] = {}
    for site in part.sites:
        number = entries.get(site.target)
        if number is None:
            number = entries[site.target] = _add_hook(plan, abi, hook)
            _jump(plan, number * abi.sizes["HOOK"] + abi.sizes["HOOK_JUMP"], site.target)
        entry = Gva(SLOT_GVA + number * abi.sizes["HOOK"])
        plan.patches.append(Patch(site.gpa, site.old, encode_branch(Call(site.gva, site.opcode, entry))))


def _add_entry(plan: Plan, abi: Abi, hook: bytes, nop: EntryNop) -> None:
    at = _entry_at(abi, _add_hook(plan, abi, hook))
    kept = at + abi.sizes["ENTRY_NOP"]
    plan.code[kept : kept + len(nop.old)] = nop.old
    call = encode_branch(Call(nop.gva, CALL, Gva(SLOT_GVA + at)))
    plan.patches.append(Patch(nop.gpa, nop.old, call))


def _add_hook(plan: Plan, abi: Abi, hook: bytes) -> int:
    if len(plan.hooks) >= abi.sizes["HOOKS"]:
        raise NotSupported("more functions are to be hooked than the probe has entries for")
    plan.hooks.append(hook)
    return len(plan.hooks) - 1


def _entry_at(abi: Abi, number: int) -> int:
    """Where in the code a function's entry lies."""
    return abi.sizes["ENTRIES_AT"] + number * abi.sizes["ENTRY"]


def _only(kernel: Kernel, function: Function) -> int:
    """The one value of the argument that makes such an event ours."""
    if not function.only:
        return 0
    enum, _, name = function.only.partition(".")
    try:
        return kernel.profile.enums[enum][name]
    except KeyError:
        raise NotSupported(f"this kernel has no {name}, by which {function.name} is told apart") from None


def encode_config(kernel: Kernel, abi: Abi, plan: Plan, table_gpa: Gpa) -> bytes:
    """struct vmon_config, with everything switched off; `table_gpa` is where its page of page-table entries lies."""
    data = encode(
        abi,
        "config",
        {
            "magic": MAGIC,
            "version": abi.sizes["VERSION"],
            "size": abi.size("config"),
            "build": abi.build,
            "table_gpa": table_gpa,
            "boot": boot_of(kernel),
            "current_task": per_cpu(kernel, "current_task", "current_task"),
            "preempt_count": per_cpu(kernel, "preempt_count", "__preempt_count"),
            "ask_kinds": sum(1 << abi.events[name] for name in ASKABLE),
            "beat_ns": DEAD_AFTER_NS,
            "spin_ns": SPIN_NS,
            "init_pid_ns": kernel.symbol("init_pid_ns"),
            "pid_type_tgid": kernel.profile.enums["pid_type"]["PIDTYPE_TGID"],
            "gfp": GFP,
            "at_entry": plan.prefer == "entry nop",
            **{f"at.{name}": value for name, value in offsets(kernel.profile).items()},
        },
    )
    at = abi.offset("config", "hooks")
    table = b"".join(plan.hooks)
    data[at : at + len(table)] = table
    return bytes(data)


def page_counts(abi: Abi) -> tuple[int, int, int, int]:
    """Low pages that a probe needs: for page-table entries, code, configuration, state."""
    code, config, state = (
        -(-size // PAGE_SIZE_BYTES) for size in (len(abi.code), abi.size("config"), abi.size("state"))
    )
    return 1, code, config, state


def way_of(abi: Abi, window: Window) -> Way:
    """How functions are hooked by the probe that lies in a window, where both ways are open."""
    offset, size = abi.member("config", "at_entry")
    word = window.read(abi.sizes["CONFIG_AT"] + offset, size)
    return "entry nop" if any(word) else "call sites"


def undo(text_gva: Gva, text_gpa: int, code: bytes, sites: list[Call], abi: Abi) -> list[Patch]:
    """Patches that make redirected instructions what they were, as the probe's own entries remember it."""
    patches = []
    for site in sites:
        original = _call_before(code, site, abi) or _nop_before(code, site, abi)
        if original is not None:
            patches.append(Patch(Gpa(text_gpa + site.gva - text_gva), encode_branch(site), original))
    return patches


def _call_before(code: bytes, site: Call, abi: Abi) -> bytes | None:
    """A call or jump to where the entry goes on to; None where it is no entry of that kind."""
    number, inside = divmod(site.target - SLOT_GVA, abi.sizes["HOOK"])
    at = number * abi.sizes["HOOK"] + abi.sizes["HOOK_JUMP"]
    if inside or number >= abi.sizes["HOOKS"]:
        return None
    jump = decode_branch(code[at : at + BRANCH_BYTES], Gva(SLOT_GVA + at))
    if jump is None or jump.opcode != JUMP:
        return None
    return encode_branch(Call(site.gva, site.opcode, jump.target))


def _nop_before(code: bytes, site: Call, abi: Abi) -> bytes | None:
    """The nop of a function's start; None where it is no entry of that kind."""
    number, inside = divmod(site.target - SLOT_GVA - abi.sizes["ENTRIES_AT"], abi.sizes["ENTRY"])
    if inside or not 0 <= number < abi.sizes["HOOKS"] or site.opcode != CALL:
        return None
    at = _entry_at(abi, number) + abi.sizes["ENTRY_NOP"]
    nop = code[at : at + BRANCH_BYTES]
    return nop if nop in ENTRY_NOPS else None
