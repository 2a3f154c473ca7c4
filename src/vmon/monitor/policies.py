"""A policy on a guest: what its file leaves open is asked of the guest; what makes no sense is said with its line.

Reads the guest's cgroups where a rule names a container; changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from vmon.core.errors import PolicyError, UsageError
from vmon.core.rules import Rule, RuleRecord
from vmon.monitor.acts import Acts
from vmon.policy.file import Policy
from vmon.policy.plan import Entry, Plan, plan_of
from vmon.policy.safety import refuses_everything
from vmon.probe.abi import load_abi
from vmon.probe.decode import RuleDecoder
from vmon.probe.encode import RuleEncoder


def check_policy(policy: Policy, *, force: bool = False) -> None:
    """PolicyError, with FILE:LINE, for rules that can't be judged, or that a guest would not survive, unless forced.

    A policy that observes is checked as if it were enforced: some day it will be.
    """
    plan = plan_of(policy, "enforce")
    plan_of(policy, "observe")
    encoder = RuleEncoder(load_abi())
    problems = []
    try:
        _encoded(encoder, [entry.rule for entry in plan.entries])
    except UsageError as error:
        problems = list(_refused(encoder, plan)) or [f"{policy.file}: {error.message}"]
    for entry in plan.entries:
        place = policy.rules[entry.number].info.source
        if not force and not entry.container and refuses_everything(entry.rule):
            events = ", ".join(entry.rule.events)
            how = "when nobody answers, this refuses" if entry.rule.action == "ask" else "this refuses"
            problems.append(
                f"{place}: {how} {events} to every process, init too (narrow it, try it with --dry-run, or --force it)"
            )
    if problems:
        raise PolicyError(list(dict.fromkeys(problems)))


def _refused(encoder: RuleEncoder, plan: Plan) -> Iterator[str]:
    """What the probe can't judge of each entry by itself."""
    for entry in plan.entries:
        try:
            _encoded(encoder, [entry.rule])
        except UsageError as error:
            place = plan.policy.rules[entry.number].info.source
            yield f"{place}: {error.message}" + (f" ({error.hint})" if error.hint else "")


def rules_on(vm: Acts, plan: Plan) -> list[Rule]:
    """The probe's rules for one guest, one an entry. PolicyError, with FILE:LINE, for a container that is not there."""
    return [_complete(vm, plan, entry) for entry in plan.entries]


def _complete(vm: Acts, plan: Plan, entry: Entry) -> Rule:
    if not entry.container:
        return entry.rule
    try:
        return msgspec.structs.replace(entry.rule, cgroup_id=vm.cgroup_of(entry.container))
    except UsageError as error:
        place = plan.policy.rules[entry.number].info.source
        raise PolicyError(
            [f"{place}: {error.message}" + (f" ({error.hint})" if error.hint else "")]
        ) from error


def as_read(plan: Plan) -> list[Rule]:
    """The rules of the entries as they will be read out of a guest; a container's cgroup is 0."""
    abi = load_abi()
    rules = [
        msgspec.structs.replace(entry.rule, cgroup_id=0) if entry.container else entry.rule
        for entry in plan.entries
    ]
    table = np.frombuffer(_encoded(RuleEncoder(abi), rules), abi.dtype("table"))[0]
    return [rule for _, rule in RuleDecoder(abi).decode(table)]


def is_of(own: Rule, rule: Rule) -> bool:
    """Whether a rule that was read out of a guest is one of `as_read`."""
    if own.cgroup_id == 0 and rule.cgroup_id is not None:
        own = msgspec.structs.replace(own, cgroup_id=rule.cgroup_id)
    return own == rule


def _encoded(encoder: RuleEncoder, rules: Sequence[Rule]) -> bytes:
    named = {tree for rule in rules for tree in (rule.tree, rule.unless_tree) if tree is not None}
    trees = {tree: bit % 32 for bit, tree in enumerate(sorted(named))}
    return encoder.encode([RuleRecord(number=1, hits=0, rule=rule) for rule in rules], trees)
