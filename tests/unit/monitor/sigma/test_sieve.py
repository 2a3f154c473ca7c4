from __future__ import annotations

import random

import pytest

from tests.unit.monitor.sigma.made import rule_of
from tests.unit.monitor.sigma.test_translate import PLAIN, some_rule
from vmon.core.detection import RuleInfo
from vmon.core.ecs import Value
from vmon.monitor.sigma.door import pysigma, words_of
from vmon.monitor.sigma.sieve import Sieve, needed
from vmon.monitor.sigma.taxonomy import PROCESS_CREATION
from vmon.monitor.sigma.translate import condition_of
from vmon.policy.condition import AllOf, Condition, Not
from vmon.policy.condition import Test as FieldTest
from vmon.policy.rule import HostRule, Matcher

LINE = "process.command_line"


def condition(detection: str) -> Condition:
    (found,) = rule_of(detection).detection.parsed_condition
    return condition_of(found.parsed, PROCESS_CREATION[0])


@pytest.mark.parametrize(
    ("detection", "needs"),
    [
        ("s: {CommandLine|contains: ABCD}\ncondition: s", (LINE, {"abcd"})),
        ("s: {CommandLine|contains: [abcd, xyz]}\ncondition: s", (LINE, {"abcd", "xyz"})),
        ("s: {CommandLine|contains|all: [ab, longest, long]}\ncondition: s", (LINE, {"longest"})),
        ("s: {CommandLine|contains: [abcd, ab]}\ncondition: s", None),
        ("s: {CommandLine|re: abcd}\ncondition: s", None),
        ("s: {CommandLine: null}\ncondition: s", None),
        ("s: {CommandLine|cased|contains: ABCD}\ncondition: s", (LINE, {"abcd"})),
        ("s: {CommandLine|cased|contains: ΑΣΑΣ}\ncondition: s", None),
        ("s: {CommandLine|contains: abcd}\ncondition: not s", None),
        (
            "s: {CommandLine|contains: abcd}\nt: {CommandLine|endswith: xyz}\ncondition: s or t",
            (LINE, {"abcd", "xyz"}),
        ),
        ("s: {CommandLine|contains: abcd}\nt: {Image|endswith: /xyz}\ncondition: s or t", None),
        (
            "s: {CommandLine|contains: [abcd, xyzz]}\nt: {Image|endswith: /xyz}\ncondition: s and t",
            ("process.executable", {"/xyz"}),
        ),
        (
            "s: {CommandLine|contains: abcd}\nt: {Image|endswith: /xyz}\ncondition: s and not t",
            (LINE, {"abcd"}),
        ),
    ],
)
def test_what_a_condition_needs(detection: str, needs: tuple[str, set[str]] | None) -> None:
    assert needed(condition(detection)) == (None if needs is None else (needs[0], frozenset(needs[1])))


def test_nothing_is_needed_by_what_always_holds() -> None:
    assert needed(AllOf(())) is None
    assert needed(Not(FieldTest("a", "contains", ("abcd",)))) is None


def rules_of(*conditions: Condition) -> list[HostRule]:
    return [
        HostRule(
            info=RuleInfo(title=str(number)), events=frozenset(("process.exec", "file.open")), condition=one
        )
        for number, one in enumerate(conditions)
    ]


def test_rules_come_in_their_order_and_once() -> None:
    words = FieldTest(LINE, "contains", ("abcd", "xyz"), cased=False)
    sieve = Sieve(
        rules_of(
            words, FieldTest("process.pid", "gt", (1,)), words, FieldTest("user.name", "equals", ("root",))
        )
    )
    assert sieve.events == {"process.exec", "file.open"}
    fields: dict[str, Value] = {LINE: "an ABCD and an xyz, abcd", "process.pid": 2, "user.name": "root"}
    assert [rule.info.title for rule in sieve.fitting("process.exec", fields)] == ["0", "1", "2", "3"]
    assert [rule.info.title for rule in sieve.fitting("process.exec", {LINE: "ab cd", "process.pid": 2})] == [
        "1"
    ]
    assert sieve.fitting("process.exec", {}) == []
    assert sieve.fitting("net.connect", fields) == []


def test_numbers_and_lists() -> None:
    port = FieldTest("destination.port", "equals", ("4444", "13333"), cased=False)
    path = FieldTest("file.path", "endswith", ("/one", "/two"), cased=False)
    sieve = Sieve(rules_of(port, path))
    assert needed(port) and needed(path)
    assert [rule.info.title for rule in sieve.fitting("file.open", {"destination.port": 4444})] == ["0"]
    assert not sieve.fitting("file.open", {"destination.port": 444})
    assert [rule.info.title for rule in sieve.fitting("file.open", {"file.path": ["/a", "/b/TWO"]})] == ["1"]


def test_texts_that_are_no_utf8() -> None:
    sieve = Sieve(rules_of(FieldTest(LINE, "contains", ("wört",), cased=False)))
    assert sieve.fitting("process.exec", {LINE: "\udcff WÖRT \udcfe"})
    assert not sieve.fitting("process.exec", {LINE: "\udcff W\udcc3\udc96RT"})


def test_it_finds_what_judging_every_rule_finds() -> None:
    chance = random.Random(2)
    collection = pysigma().collection.SigmaCollection
    conditions = []
    for _ in range(200):
        (rule,) = collection.from_dicts([some_rule(chance)]).rules
        conditions.append(condition_of(rule.detection.parsed_condition[0].parsed, PROCESS_CREATION[0]))
    rules = rules_of(*conditions)
    assert sum(needed(one) is not None for one in conditions) > 20
    sieve, matcher = Sieve(rules), Matcher(rules)
    for _ in range(300):
        text = ["".join(chance.choice(PLAIN) for _ in range(chance.randint(1, 9))) for _ in range(3)]
        fields: dict[str, Value] = {
            "process.executable": text[0],
            LINE: text[1],
            "process.parent.executable": text[2],
            "process.pid": chance.randint(1, 4),
        }
        assert sieve.fitting("process.exec", fields) == list(matcher.fitting("process.exec", fields))


def test_words_are_found_however_many_there_are() -> None:
    chance = random.Random(3)
    words = list(dict.fromkeys("".join(chance.choices("abc", k=chance.randint(3, 6))) for _ in range(900)))
    look = words_of(words)
    for _ in range(50):
        text = "".join(chance.choices("abc", k=2000))
        assert sorted(look(text)) == [number for number, word in enumerate(words) if word in text]
