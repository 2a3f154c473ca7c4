"""A plan is all bytes of an installation, made before the first is written: code, configuration, changed calls.

Pure, from a survey of the guest's text. Every site leads to an entry of the code that goes on to where the site led
before; two sites share an entry only when they led to the same place. Source: probe/src/entry.S.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from vmon.arch.x86_64.code import CALL, JUMP, Call, encode_branch
from vmon.core.address import Gva
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
from vmon.probe.sites import EventReach, Reach, Survey

REAL_TIME = " PREEMPT_RT "


@dataclass(slots=True)
class Plan:
    """What an installation would write."""

    code: bytearray
    hooks: list[bytes] = field(default_factory=list)
    """A struct vmon_hook for each entry in use."""
    patches: list[Patch] = field(default_factory=list)


def make_plan(kernel: Kernel, abi: Abi, survey: Survey) -> Plan:
    """NotSupported when this kernel lacks what the probe can't do without."""
    if REAL_TIME in kernel.profile.banner:
        # Its signals take locks that sleep, and the probe sends them in an interrupt.
        raise NotSupported("this is a PREEMPT_RT kernel: the probe does not know how to act in it safely")
    lacking = missing_fields(kernel.profile)
    if lacking:
        raise NotSupported(f"this kernel has no {', '.join(lacking)}: the probe can't read it")
    plan = Plan(bytearray(abi.code))
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
    only = _only(kernel, part.function)
    entries: dict[int, int] = {}
    for site in part.sites:
        number = entries.get(site.target)
        if number is None:
            number = entries[site.target] = len(plan.hooks)
            if number >= abi.sizes["HOOKS"]:
                raise NotSupported("more functions are to be hooked than the probe has entries for")
            plan.hooks.append(encode_hook(abi, kind, abi.shapes[part.function.shape], only))
            _jump(plan, number * abi.sizes["HOOK"] + abi.sizes["HOOK_JUMP"], site.target)
        entry = Gva(SLOT_GVA + number * abi.sizes["HOOK"])
        plan.patches.append(Patch(site.gpa, site.old, encode_branch(Call(site.gva, site.opcode, entry))))


def _only(kernel: Kernel, function: Function) -> int:
    """The one value of the argument that makes such an event ours."""
    if not function.only:
        return 0
    enum, _, name = function.only.partition(".")
    try:
        return kernel.profile.enums[enum][name]
    except KeyError:
        raise NotSupported(f"this kernel has no {name}, by which {function.name} is told apart") from None


def encode_config(kernel: Kernel, abi: Abi, plan: Plan) -> bytes:
    """struct vmon_config, with everything switched off."""
    data = encode(
        abi,
        "config",
        {
            "magic": MAGIC,
            "version": abi.sizes["VERSION"],
            "size": abi.size("config"),
            "build": abi.build,
            "current_task": per_cpu(kernel, "current_task", "current_task"),
            "preempt_count": per_cpu(kernel, "preempt_count", "__preempt_count"),
            "ask_kinds": sum(1 << abi.events[name] for name in ASKABLE),
            "beat_ns": DEAD_AFTER_NS,
            "spin_ns": SPIN_NS,
            "init_pid_ns": kernel.symbol("init_pid_ns"),
            "pid_type_tgid": kernel.profile.enums["pid_type"]["PIDTYPE_TGID"],
            "gfp": GFP,
            **{f"at.{name}": value for name, value in offsets(kernel.profile).items()},
        },
    )
    at = abi.offset("config", "hooks")
    table = b"".join(plan.hooks)
    data[at : at + len(table)] = table
    return bytes(data)


def undo(text_gva: Gva, text_gpa: int, code: bytes, sites: list[Call], abi: Abi) -> list[Patch]:
    """Patches that lead redirected sites to where they led before, as the probe's own entries remember it."""
    patches = []
    for site in sites:
        number, inside = divmod(site.target - SLOT_GVA, abi.sizes["HOOK"])
        at = number * abi.sizes["HOOK"] + abi.sizes["HOOK_JUMP"]
        if inside or number >= abi.sizes["HOOKS"] or code[at] != JUMP:
            continue
        distance = int.from_bytes(code[at + 1 : at + 5], "little", signed=True)
        original = Gva((SLOT_GVA + at + 5 + distance) & 0xFFFF_FFFF_FFFF_FFFF)
        assert site.opcode in (CALL, JUMP)
        gpa = text_gpa + site.gva - text_gva
        patches.append(Patch(gpa, encode_branch(site), encode_branch(Call(site.gva, site.opcode, original))))  # type: ignore[arg-type]
    return patches
