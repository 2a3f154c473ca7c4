"""Each word of Sigma on events, and rules made at random compared with pySigma's own SQL of them, run by SQLite."""

from __future__ import annotations

import random
import re
import sqlite3
from typing import Any

import pytest

from tests.unit.monitor.sigma.made import rule_of
from vmon.core.ecs import Value
from vmon.monitor.sigma.taxonomy import NETWORK_CONNECTION, PROCESS_CREATION, Unsupported
from vmon.monitor.sigma.translate import condition_of, joined
from vmon.policy.condition import AllOf, AnyOf, Not, compiled
from vmon.policy.condition import Test as FieldTest

PROCESS = PROCESS_CREATION[0]
CONNECTION = NETWORK_CONNECTION[0]
EVENT: dict[str, Value] = {
    "process.executable": "/usr/bin/Python3",
    "process.command_line": r"Python3 -c 'x*y?z' \\server\share",
    "process.pid": 400,
    "process.parent.executable": "/bin/sh",
    "user.name": "www-data",
    "network.type": "ipv6",
    "network.transport": "tcp",
    "destination.ip": "10.1.2.3",
    "destination.port": 443,
}


def fits(detection: str, fields: dict[str, Value] = EVENT, source: Any = PROCESS) -> bool:
    if "condition:" not in detection:
        detection = (
            "s:\n" + "".join(f"  {line}\n" for line in detection.strip().splitlines()) + "condition: s"
        )
    (condition,) = rule_of(detection).detection.parsed_condition
    return compiled(condition_of(condition.parsed, source))(fields)


@pytest.mark.parametrize(
    ("detection", "expected"),
    [
        ("Image: /USR/bin/python3", True),
        ("Image: /usr/bin/python", False),
        ("Image|cased: /usr/bin/python3", False),
        ("Image|cased: /usr/bin/Python3", True),
        ("Image|cased|endswith: /Python3", True),
        ("Image|cased|contains: python", False),
        ("Image|startswith: /USR/", True),
        ("Image|endswith: [/perl, /python3]", True),
        ("Image|endswith: [/perl, /ruby]", False),
        ("Image|contains|all: [usr, python]", True),
        ("Image|contains|all: [usr, perl]", False),
        ("Image: '*/python?'", True),
        ("Image: '*/python??'", False),
        ("Image: '/usr/*/pyth*'", True),
        ("Image: '*'", True),
        ("ParentCommandLine: '*'", False),
        (r"CommandLine|contains: 'x\*y\?z'", True),
        (r"CommandLine|contains: 'x\*z'", False),
        (r"CommandLine|endswith: '\\\\server\share'", True),
        ("CommandLine|contains: ''", True),
        ("CommandLine: ''", False),
        ("CommandLine|re: '^Python[0-9] -c'", True),
        ("CommandLine|re: '^python'", False),
        ("CommandLine|re|i: '^python'", True),
        ("CommandLine|re: ['nothing', 'x.y']", True),
        ("ProcessId: 400", True),
        ("ProcessId: '400'", True),
        ("ProcessId: [1, 2]", False),
        ("ProcessId|gt: 399", True),
        ("ProcessId|gt: 400", False),
        ("ProcessId|gte: 400", True),
        ("ProcessId|lt: 400", False),
        ("ProcessId|lte: 400", True),
        ("Image|neq: /bin/sh", True),
        ("Image|neq: /usr/bin/python3", False),
        ("ParentCommandLine: null", True),
        ("ParentImage: null", False),
        ("ParentImage: [null, /bin/sh]", True),
        ("ParentImage|exists: true", True),
        ("ParentImage|exists: false", False),
        ("ParentCommandLine|exists: false", True),
        ("User: www-data", True),
        ("User|contains: WWW", True),
        ("CommandLine|windash|contains: ' /c '", True),
        ("CommandLine|base64offset|contains: foo", False),
        ("process.executable|endswith: /python3", True),
        ("Image|endswith: /python3\nProcessId: 400", True),
        ("Image|endswith: /python3\nProcessId: 401", False),
        ("- Image|endswith: /perl\n- ProcessId: 400", True),
    ],
)
def test_values(detection: str, expected: bool) -> None:
    assert fits(detection) is expected


def test_base64() -> None:
    said = {"process.command_line": "echo c2Vjcm V0 YmFzaCAtaQ== xiYXNoIC1p"}
    assert fits("CommandLine|base64|contains: 'bash -i'", said)
    assert fits("CommandLine|base64offset|contains: 'bash -i'", {"process.command_line": "IGJhc2ggLWk="})


@pytest.mark.parametrize(
    ("detection", "expected"),
    [
        ("DestinationIp: 10.1.2.3", True),
        ("DestinationIp|cidr: 10.0.0.0/8", True),
        ("DestinationIp|cidr: [192.168.0.0/16, fc00::/7]", False),
        ("DestinationPort: [80, 443]", True),
        ("DestinationPort|gte: 1024", False),
        ("Protocol: TCP", True),
        ("Initiated: true", True),
        ("Initiated: 'true'", True),
        ("DestinationIsIpv6: true", True),
        ("DestinationIsIpv6: 'false'", False),
    ],
)
def test_values_of_connections(detection: str, expected: bool) -> None:
    assert fits(detection, source=CONNECTION) is expected


PARTS = """
sel_a: {Image|endswith: /python3}
sel_b: {CommandLine|contains: nothing}
other: {ProcessId: 400}
"""


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("sel_a", True),
        ("not sel_a", False),
        ("sel_a and not sel_b", True),
        ("not (sel_a and other)", False),
        ("1 of sel_*", True),
        ("all of sel_*", False),
        ("any of sel_*", True),
        ("1 of them", True),
        ("all of them", False),
        ("not 1 of sel_b", True),
        ("sel_b or sel_a and other", True),
        ("sel_b and sel_a or other", True),
        ("not sel_b and not 1 of sel_b*", True),
    ],
)
def test_conditions(condition: str, expected: bool) -> None:
    assert fits(f"{PARTS}condition: {condition}") is expected


@pytest.mark.parametrize(
    ("detection", "source", "reason"),
    [
        ("keywords: [a, b]\ncondition: keywords", PROCESS, "values without a field"),
        ("s: {Image|fieldref: ParentImage}\ncondition: s", PROCESS, "another field"),
        ("s: {Image|expand: '%admin_tools%'}\ncondition: s", PROCESS, "%admin_tools% stands for"),
        ("s: {Image|re|expand: '^/%x%'}\ncondition: s", PROCESS, "placeholders in an expression"),
        ("s: {ProcessId|hour: 5}\ncondition: s", PROCESS, "parts of an event's time"),
        ("s: {ProcessId|gt: 1.5}\ncondition: s", PROCESS, "whole numbers"),
        ("s: {Initiated: 'false'}\ncondition: s", CONNECTION, "connections that come in"),
        ("a: {Image: /bin/sh}\nb: {CurrentDirectory: /}\ncondition: a or b", PROCESS, "CurrentDirectory"),
        (
            "a: {Image: /bin/sh}\nb: {CurrentDirectory: /}\ncondition: a and not b",
            PROCESS,
            "CurrentDirectory",
        ),
    ],
)
def test_half_a_rule_is_none(detection: str, source: Any, reason: str) -> None:
    with pytest.raises(Unsupported, match=re.escape(reason)):
        fits(detection, source=source)


def test_stars_and_backslashes() -> None:
    said = {"process.command_line": r"a\b*c"}
    for value, expected in (
        (r"a\b\*c", True),
        (r"a\\b\*c", True),
        (r"*\\b*", True),
        (r"a\b?c", True),
        (r"a?b**c", True),
        (r"a\b\?c", False),
        (r"*\**", True),
        (r"*\?*", False),
    ):
        assert fits(f"CommandLine: '{value}'", said) is expected, value


def test_tests_that_differ_in_their_values_become_one() -> None:
    a, b = FieldTest("f", "contains", ("a",), cased=False), FieldTest("f", "contains", ("b",), cased=False)
    assert joined([a, b, a]) == FieldTest("f", "contains", ("a", "b"), cased=False)
    other = Not(a)
    assert joined([a, other, b]) == AnyOf((FieldTest("f", "contains", ("a", "b"), cased=False), other))
    both = FieldTest("f", "contains", ("c", "d"), all=True, cased=False)
    assert joined([a, both]) == AnyOf((a, both))
    assert joined([AllOf((a, b))]) == AllOf((a, b))


# The peer. Names are those of the columns, and every column has a value: SQL's NULL is neither like nor unlike.
COLUMNS = {
    "Image": "process.executable",
    "CommandLine": "process.command_line",
    "ParentImage": "process.parent.executable",
    "ProcessId": "process.pid",
}
LETTERS = ("a", "B", "ab", "/", "b/A", "-", " ", "%", "_", "a.b", "\\\\", "\\*", "\\?")
PLAIN = ("a", "B", "ab", "/", "b/A", "-", " ", "%", "_", "a.b", "\\", "*", "?")


def some_value(chance: random.Random) -> str:
    found = "".join(chance.choice(LETTERS) for _ in range(chance.randint(1, 3)))
    for wildcard in ("*", "?"):
        if chance.random() < 0.25:
            found = chance.choice((wildcard + found, found + wildcard, f"a{wildcard}{found}"))
    return found


def some_item(chance: random.Random) -> dict[str, object]:
    field = chance.choice(("Image", "CommandLine", "ParentImage"))
    if chance.random() < 0.15:
        return {f"ProcessId{chance.choice(('', '|gt', '|gte', '|lt', '|lte'))}": chance.randint(1, 4)}
    if chance.random() < 0.15:
        return {f"{field}|re": chance.choice(("^a+b", "B.*/", "(?i)AB", "a|-", "[ab]$"))}
    modifier = chance.choice(("", "|contains", "|startswith", "|endswith"))
    values = [some_value(chance) for _ in range(chance.randint(1, 3))]
    every = "|all" if modifier and len(values) > 1 and chance.random() < 0.3 else ""
    return {f"{field}{modifier}{every}": values}


def some_rule(chance: random.Random) -> dict[str, Any]:
    detection: dict[str, Any] = {}
    for number in range(chance.randint(1, 3)):
        items = [some_item(chance) for _ in range(chance.randint(1, 2))]
        detection[f"s{number}"] = (
            items if chance.random() < 0.3 else {k: v for item in items for k, v in item.items()}
        )
    names = list(detection)
    detection["condition"] = chance.choice(
        (
            "1 of s*",
            "all of them",
            " and not ".join(names),
            " or ".join(names),
            f"not {names[0]}",
            f"not ({' and '.join(names)})",
        )
    )
    source = {"product": "linux", "category": "process_creation"}
    return {"title": "made", "logsource": source, "detection": detection}


def test_rules_made_at_random_mean_what_sqlite_says() -> None:
    sqlite = pytest.importorskip("sigma.backends.sqlite")
    from sigma.collection import SigmaCollection

    chance = random.Random(1)
    rows = [
        (
            *("".join(chance.choice(PLAIN) for _ in range(chance.randint(1, 4))) for _ in range(3)),
            chance.randint(1, 4),
        )
        for _ in range(300)
    ]
    database = sqlite3.connect(":memory:")
    database.create_function("REGEXP", 2, lambda pattern, text: re.search(pattern, text) is not None)
    # Its `=` regards case, where the specification does not.
    columns = ", ".join(f"{name} COLLATE NOCASE" for name in COLUMNS)
    database.execute(f"CREATE TABLE logs (number, {columns})")
    database.executemany(
        f"INSERT INTO logs VALUES (?, {', '.join('?' * len(COLUMNS))})",
        [(number, *row) for number, row in enumerate(rows)],
    )
    events: list[dict[str, Value]] = [dict(zip(COLUMNS.values(), row, strict=True)) for row in rows]
    compared = 0
    for _ in range(400):
        (rule,) = SigmaCollection.from_dicts([some_rule(chance)]).rules
        (query,) = sqlite.sqliteBackend().convert_rule(rule)
        theirs = {row[0] for row in database.execute(query.replace("SELECT *", "SELECT number", 1))}
        ours_fits = compiled(condition_of(rule.detection.parsed_condition[0].parsed, PROCESS))
        ours = {number for number, fields in enumerate(events) if ours_fits(fields)}
        differ = ours ^ theirs
        assert not differ, (rule.detection.to_dict(), query, [rows[number] for number in differ][:3])
        compared += 0 < len(ours) < len(rows)
    assert compared > 200  # rules that fit everything or nothing prove little
