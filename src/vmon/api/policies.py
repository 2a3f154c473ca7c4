"""A policy put in force over HTTP, in place of the one before: as a whole or not at all.

What is wrong is found before anything is changed. The new rules take the place of the old ones at once, and stay when
the server ends. Only what the probe decides, or leaves to who answers asks, is taken: judging on the host is
`vmon guard`'s.
"""

from __future__ import annotations

import msgspec

from vmon.api.pool import Served
from vmon.api.probing import put_in
from vmon.api.table import VM, Asked, Row
from vmon.core.errors import PolicyError
from vmon.core.rules import RuleRecord
from vmon.monitor.machine import VirtualMachine
from vmon.monitor.policies import check_policy, rules_on
from vmon.policy.file import for_target, read_policy
from vmon.policy.plan import Plan, plan_of


class PolicyBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A policy."""

    text: str
    """YAML, as in a policy file."""
    observe: bool = False
    """Carry nothing out, whatever its mode says."""
    force: bool = False
    """Also rules that a guest would not survive."""


class PolicyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The policy that was put in force here last."""

    text: str
    """Empty when none was."""
    rules: list[int]
    """Numbers of its rules."""


def put_policy(
    served: Served,
    vm: VirtualMachine,
    text: str,
    *,
    observe: bool = False,
    force: bool = False,
    file: str = "policy",
) -> list[RuleRecord]:
    """Put it in force. UsageError with the line of what is wrong; then the one before stays as it is."""
    policy = for_target(read_policy(text, file), vm.target)
    check_policy(policy, force=force)
    plan = plan_of(policy, "observe" if observe else None)
    if left := _left_to_the_host(plan):
        raise PolicyError(left)
    rules = rules_on(vm, plan)
    put_in(served, vm)
    old = [
        record.number for record in vm.rules() if record.number in served.policy_rules or record.rule in rules
    ]
    added = vm.exchange_rules(old, rules)
    served.policy, served.policy_rules = text, [record.number for record in added]
    return added


def _left_to_the_host(plan: Plan) -> list[str]:
    """Rules that somebody has to judge after the probe, FILE:LINE first."""
    coarse = {entry.number for entry in plan.entries if not entry.exact}
    found = []
    for number, (rule, at) in enumerate(zip(plan.policy.rules, plan.placements, strict=True)):
        if at.after or at.started or number in coarse:
            why = f": {'; '.join(at.why)}" if at.why else ""
            found.append(f"{rule.info.source}: this rule is judged on the host, by `vmon guard` alone{why}")
    return found


def put(asked: Asked) -> list[RuleRecord]:
    """The policy in a body."""
    body: PolicyBody = asked.body
    return put_policy(asked.served, asked.vm, body.text, observe=body.observe, force=body.force)


ROWS = (
    Row(
        name="policy",
        path=f"{VM}/policy",
        call=lambda asked: PolicyRecord(text=asked.served.policy, rules=asked.served.policy_rules),
        returns=PolicyRecord,
        said="The policy that was put in force by this server last.",
    ),
    Row(
        name="put_policy",
        method="PUT",
        path=f"{VM}/policy",
        call=put,
        returns=RuleRecord,
        many=True,
        body=PolicyBody,
        role="operator",
        said="Put a policy in force, in place of the one that was put here before; as a whole or not at all.",
    ),
)
