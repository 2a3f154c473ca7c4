"""A detection is an event that a rule fitted, with what the rule says of it and what was done.

Pure data: made by who matches on the host (policies, Sigma rules), written out by exports. Severity and ATT&CK ids are
the rule's, the event is the guest's.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from vmon.core.events import Event

Severity = Literal["informational", "low", "medium", "high", "critical"]
"""As Sigma spells its levels."""
Verb = Literal["allow", "log", "deny", "kill", "suspend", "quarantine", "ask"]
Done = Literal["done", "would", "failed"]
"""would: the rule is only observed; failed: `reason` says why."""


class RuleInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a rule says of itself."""

    title: str
    id: str = ""
    """Of a Sigma rule its UUID; of a policy's rule what its author gave it."""
    description: str = ""
    severity: Severity = "medium"
    attack: tuple[str, ...] = ()
    """MITRE ATT&CK ids: T1059.004, TA0002."""
    references: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    source: str = ""
    """FILE:LINE that it was read from."""


class Detection(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One rule that fitted one event."""

    rule: RuleInfo
    event: Event
    verb: Verb
    done: Done = "done"
    reason: str = ""
    """Why it failed."""
    suppressed: int = 0
    """How many of the same rule were not told before this one: its rate limit."""
