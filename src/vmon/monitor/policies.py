"""A policy on a guest: what its file leaves open is asked of the guest; what makes no sense is said with its line.

Reads the guest's cgroups where a rule names a container; changes nothing.
"""

from __future__ import annotations

import msgspec

from vmon.core.errors import UsageError
from vmon.core.rules import Rule, RuleRecord
from vmon.monitor.acts import Acts
from vmon.policy.file import Draft, Policy
from vmon.policy.safety import refuses_everything
from vmon.probe.abi import load_abi
from vmon.probe.encode import RuleEncoder


def check_policy(policy: Policy, *, force: bool = False) -> None:
    """UsageError, with FILE:LINE, for a rule that can't be judged, or that a guest would not survive, unless forced."""
    encoder = RuleEncoder(load_abi())
    for draft in policy.drafts:
        trees = {tree: 0 for tree in (draft.rule.tree, draft.rule.unless_tree) if tree is not None}
        try:
            encoder.encode([RuleRecord(number=1, hits=0, rule=draft.rule)], trees)
        except UsageError as error:
            raise UsageError(f"{draft.place}: {error.message}", hint=error.hint) from error
        if not force and draft.container is None and refuses_everything(draft.rule):
            raise UsageError(
                f"{draft.place}: this refuses {', '.join(draft.rule.events)} to every process, init too",
                hint="narrow it, try it with --dry-run, or --force it",
            )


def rules_on(vm: Acts, policy: Policy, *, observe: bool = False) -> list[Rule]:
    """The rules of a policy for one guest. UsageError, with FILE:LINE, for a container that is not there."""
    return [_complete(vm, draft, observe=observe) for draft in policy.drafts]


def _complete(vm: Acts, draft: Draft, *, observe: bool) -> Rule:
    rule = msgspec.structs.replace(draft.rule, observe=draft.rule.observe or observe)
    if draft.container is None:
        return rule
    try:
        return msgspec.structs.replace(rule, cgroup_id=vm.cgroup_of(draft.container))
    except UsageError as error:
        raise UsageError(f"{draft.place}: {error.message}", hint=error.hint) from error
