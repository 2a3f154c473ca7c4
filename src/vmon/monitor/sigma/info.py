"""What a Sigma rule says of itself, as vmon's records have it.

Pure; reads objects of pySigma. A rule's author may write anything, and what pySigma calls an error it leaves as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, get_args

from vmon.core.detection import RuleInfo, Severity

SEVERITIES: tuple[Severity, ...] = get_args(Severity)
"""From the least to the most severe."""
UNSAID: Severity = "medium"
"""Of a rule that says nothing of its level."""
ATTACK_ID = re.compile(r"(?:ta|t|g|s)\d{4}(?:\.\d{3})?", re.IGNORECASE)
TACTICS = {
    "reconnaissance": "TA0043",
    "resource-development": "TA0042",
    "initial-access": "TA0001",
    "execution": "TA0002",
    "persistence": "TA0003",
    "privilege-escalation": "TA0004",
    "defense-evasion": "TA0005",
    "stealth": "TA0005",
    "defense-impairment": "TA0112",
    "credential-access": "TA0006",
    "discovery": "TA0007",
    "lateral-movement": "TA0008",
    "collection": "TA0009",
    "command-and-control": "TA0011",
    "exfiltration": "TA0010",
    "impact": "TA0040",
}
"""MITRE's ids of what tags call by name. ATT&CK 19 made two of defense evasion, of which one kept the id."""


def info_of(rule: Any, source: str) -> RuleInfo:
    """`rule` is a SigmaRule; `source` its FILE:LINE."""
    return RuleInfo(
        title=str(rule.title or "untitled"),
        id=str(rule.id or ""),
        description=str(rule.description or "").strip(),
        severity=severity_of(rule),
        attack=attack_of(_texts(rule.tags)),
        references=tuple(_texts(rule.references)),
        source=source,
    )


def severity_of(rule: Any) -> Severity:
    """Its level; UNSAID where it has none."""
    name = str(getattr(rule.level, "name", UNSAID)).lower()
    return next((severity for severity in SEVERITIES if severity == name), UNSAID)


def _texts(value: Any) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else []


def attack_of(tags: Iterable[str]) -> tuple[str, ...]:
    """The ids of tags like attack.t1059.004 and attack.execution, each once; other tags are none."""
    found = []
    for tag in tags:
        space, _, name = tag.partition(".")
        if space.lower() != "attack":
            continue
        if ATTACK_ID.fullmatch(name):
            found.append(name.upper())
        elif tactic := TACTICS.get(name.lower().replace("_", "-")):
            found.append(tactic)
    return tuple(dict.fromkeys(found))
