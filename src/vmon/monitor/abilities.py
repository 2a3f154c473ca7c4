"""What an attached machine can do, by name, and why it can't do the rest: asked at attach or before a call.

Reads what `vmon doctor` reads, and changes nothing. A hostile guest can look more able than it is: what installs a
probe looks again.
"""

from __future__ import annotations

from collections.abc import Sequence

from vmon.core.errors import NotSupported, UsageError
from vmon.core.records.probe import AbilityRecord, DoctorRecord

NAMES = {"read RAM": "read", "run state": "live"}
"""Of the doctor's abilities those that have a shorter name here."""
OBSTACLES = 3


def abilities_of(found: DoctorRecord) -> list[AbilityRecord]:
    """read, registers, live, write, probe, and each kind of event: events are seen and refused by the probe alone."""
    abilities = [
        AbilityRecord(name=NAMES.get(item.name, item.name), available=item.available, detail=item.detail)
        for item in found.abilities
    ]
    obstacles = "; ".join(found.obstacles[:OBSTACLES])
    abilities.append(
        AbilityRecord(
            name="probe",
            available=not obstacles,
            detail=obstacles or "events, rules, questions and signals",
        )
    )
    for hook in found.events:
        seen = not obstacles and not hook.why
        refused = "seen and refused" if hook.deny else "seen, not refused"
        detail = f"{refused}, by {hook.how}" if seen else obstacles or hook.why
        abilities.append(AbilityRecord(name=hook.event, available=seen, detail=detail))
    return abilities


def require(target: str, abilities: Sequence[AbilityRecord], names: Sequence[str]) -> None:
    """NotSupported that names what is missing of these, UsageError for a name that is no ability's."""
    by_name = {item.name: item for item in abilities}
    for name in names:
        if name not in by_name:
            raise UsageError(f"there is no ability {name!r}", hint=f"there are {', '.join(by_name)}")
    missing = [by_name[name] for name in names if not by_name[name].available]
    if missing:
        # One reason is often that of several.
        reasons = dict.fromkeys(item.detail for item in missing)
        raise NotSupported(
            f"{target} lacks {', '.join(item.name for item in missing)}: {'; '.join(reasons)}",
            hint="`vmon doctor TARGET` tells what can be done",
        )
