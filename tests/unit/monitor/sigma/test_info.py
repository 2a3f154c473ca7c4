from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from vmon.core.detection import RuleInfo
from vmon.monitor.sigma.info import attack_of, info_of, severity_of


def rule(**fields: Any) -> Any:
    given = dict.fromkeys(("title", "id", "description", "level", "tags", "references"))
    return SimpleNamespace(**(given | fields))


def test_what_a_rule_says_of_itself() -> None:
    found = info_of(
        rule(
            title="A thing",
            id="5b8f2c1e-6f0a-4c55-9a53-0c7d7d1f4e01",
            description=" why \n",
            level=SimpleNamespace(name="HIGH"),
            tags=["attack.t1059.004"],
            references=["https://example.org", 5],
        ),
        "a.yml:3",
    )
    assert found == RuleInfo(
        title="A thing",
        id="5b8f2c1e-6f0a-4c55-9a53-0c7d7d1f4e01",
        description="why",
        severity="high",
        attack=("T1059.004",),
        references=("https://example.org", "5"),
        source="a.yml:3",
    )


def test_what_it_does_not_say() -> None:
    assert info_of(rule(), "a.yml:1") == RuleInfo(title="untitled", severity="medium", source="a.yml:1")
    assert severity_of(rule(level=SimpleNamespace(name="GRAVE"))) == "medium"
    assert severity_of(rule(level="grave")) == "medium"
    assert info_of(rule(tags="attack.t1059", references=5), "a.yml:1").attack == ()


@pytest.mark.parametrize(
    ("tags", "ids"),
    [
        (["attack.t1059", "attack.T1059.004"], ("T1059", "T1059.004")),
        (
            ["attack.execution", "attack.defense_evasion", "attack.command-and-control"],
            ("TA0002", "TA0005", "TA0011"),
        ),
        (["attack.stealth", "attack.defense-impairment"], ("TA0005", "TA0112")),
        (["attack.g0049", "attack.s0002", "attack.ta0040"], ("G0049", "S0002", "TA0040")),
        (["cve.2021-4034", "attack.nonsense", "detection.threat-hunting", "attack.t1"], ()),
        (["attack.t1059", "attack.t1059"], ("T1059",)),
    ],
)
def test_attack(tags: list[str], ids: tuple[str, ...]) -> None:
    assert attack_of(tags) == ids
