"""What became of each Sigma rule of a folder. Pure data."""

from __future__ import annotations

from typing import Literal

import msgspec

from vmon.core.detection import Severity

SigmaState = Literal["in force", "below level", "unsupported", "unreadable"]
"""unreadable: the file, or a part of it, is no Sigma rule."""


class SigmaRuleRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One rule of a folder of Sigma rules, or what stands in its place."""

    source: str
    """FILE:LINE."""
    state: SigmaState
    reason: str
    """Why it is not in force; empty when it is."""
    title: str
    id: str
    severity: Severity
    attack: list[str]
    """MITRE ATT&CK ids."""
    events: list[str]
    """Events of the probe that it is judged on; none when it is not in force."""
