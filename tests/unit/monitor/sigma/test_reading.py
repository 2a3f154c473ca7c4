from __future__ import annotations

from pathlib import Path

import pytest

from vmon.core.errors import UsageError
from vmon.core.records.sigma import SigmaRuleRecord
from vmon.monitor.sigma import reading
from vmon.monitor.sigma.reading import read_sigma
from vmon.policy.rule import Matcher

EXAMPLES = Path(__file__).parents[4] / "examples" / "sigma"
RULE = """\
title: {title}
{more}
logsource: {{product: {product}, category: {category}}}
detection:
  s: {{{s}}}
  condition: {condition}
"""


def rule(
    title: str = "one",
    more: str = "status: test",
    product: str = "linux",
    category: str = "process_creation",
    s: str = "Image|endswith: /nc",
    condition: str = "s",
) -> str:
    return RULE.format(title=title, more=more, product=product, category=category, s=s, condition=condition)


def one_of(tmp_path: Path, text: str) -> SigmaRuleRecord:
    (tmp_path / "rule.yml").write_text(text)
    (record,) = read_sigma(tmp_path).records
    return record


def fitting(path: Path, event: str, **fields: str) -> list[str]:
    """Titles of the rules that fit an event."""
    named = {name.replace("__", "."): value for name, value in fields.items()}
    args = {"process.args": ["x"]} if event == "process.exec" else {}
    return [found.info.title for found in Matcher(read_sigma(path).rules).fitting(event, {**args, **named})]


def test_the_examples_are_in_force() -> None:
    found = read_sigma(EXAMPLES)
    assert len(found.records) >= 8
    assert [record for record in found.records if record.state != "in force"] == []
    assert all(record.id and record.attack and record.events for record in found.records)
    assert len({record.id for record in found.records}) == len(found.records)


def test_a_folder_and_those_below_it(tmp_path: Path) -> None:
    (tmp_path / "below" / "more").mkdir(parents=True)
    (tmp_path / "z.yml").write_text(rule("last"))
    (tmp_path / "below" / "b.yaml").write_text(rule("second"))
    (tmp_path / "below" / "more" / "c.yml").write_text(rule("third"))
    (tmp_path / "README.md").write_text("no rule")
    found = read_sigma(tmp_path)
    assert [record.title for record in found.records] == ["last", "second", "third"]
    assert found.count("in force") == len(found.rules) == 3
    assert found.records[1].source == f"{tmp_path}/below/b.yaml:1"
    assert found.records[1].events == ["process.exec"]
    assert [record.title for record in read_sigma(tmp_path / "z.yml").records] == ["last"]
    assert fitting(tmp_path, "process.exec", process__executable="/bin/NC") == ["last", "second", "third"]
    assert fitting(tmp_path, "process.exec", process__executable="/bin/ncat") == []


def test_a_rule_about_files_is_one_for_each_kind_of_event(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(rule(category="file_event", s="TargetFilename|startswith: /etc/"))
    found = read_sigma(tmp_path)
    assert found.records[0].events == ["file.create", "file.link", "file.open", "file.rename", "file.symlink"]
    assert fitting(tmp_path, "file.rename", file__path="/etc/a", vmon__new_path="/tmp/a") == []
    assert fitting(tmp_path, "file.rename", file__path="/tmp/a", vmon__new_path="/etc/a") == ["one"]


def test_several_conditions_are_any_of_them(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(rule(condition="[s, not s]"))
    assert fitting(tmp_path, "process.exec", process__executable="/bin/x") == ["one"]


def test_several_rules_of_one_file(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(f"{rule('first')}---\n{rule('second')}---\n")
    found = read_sigma(tmp_path)
    assert [(record.title, record.source.rpartition(":")[2]) for record in found.records] == [
        ("first", "1"),
        ("second", "8"),
    ]


def test_documents_that_share_parts(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(
        "action: global\ntitle: shared\nlogsource: {product: linux, category: process_creation}\n"
        "---\ndetection: {s: {Image: /a}, condition: s}\n"
        "---\ndetection: {s: {Image: /b}, condition: s}\n"
    )
    found = read_sigma(tmp_path)
    assert [(record.title, record.state, record.source.rpartition(":")[2]) for record in found.records] == [
        ("shared", "in force", "5"),
        ("shared", "in force", "7"),
    ]
    assert fitting(tmp_path, "process.exec", process__executable="/b") == ["shared"]


def test_what_is_broken_is_told_and_the_rest_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(f"{rule('whole')}---\ntitle: x\nlogsource: [\n")
    (tmp_path / "b.yml").write_bytes(b"title: \xff\n")
    (tmp_path / "c.yml").write_text("just a text")
    (tmp_path / "d.yml").write_text("title: no rule\n")
    (tmp_path / "e.yml").write_text("title: twice\ntitle: twice\n")
    (tmp_path / "f.yml").write_text("")
    (tmp_path / "g.yml").write_text("title: null detection\nlogsource: null\ndetection: null\n")
    (tmp_path / "h.yml").write_text(rule("whole too"))
    (tmp_path / "i.yml").mkdir()
    found = read_sigma(tmp_path)
    assert [record.title for record in found.records if record.state == "in force"] == ["whole", "whole too"]
    places = {
        record.source.removeprefix(f"{tmp_path}/"): record.reason for record in found.records if record.reason
    }
    assert places.pop("a.yml:10").startswith("it is no YAML: ")
    assert places.pop("b.yml:1") == "it is no text: byte 7 is not UTF-8"
    assert places.pop("c.yml:1") == "it is no Sigma rule: it has no fields"
    assert places.pop("d.yml:1") == "it is no Sigma rule: it has no detection"
    assert places.pop("e.yml:1") == "it is no YAML: Duplicate key 'title'"
    assert "logsource" in places.pop("g.yml:1")
    assert not places


@pytest.mark.parametrize(
    "more",
    ["id: 1", "id: none", "date: soon", "tags: attack.t1059", "references: 5", "status: done", "author: 5"],
)
def test_what_does_not_touch_what_a_rule_finds(tmp_path: Path, more: str) -> None:
    record = one_of(tmp_path, rule(more=more))
    assert (record.state, record.title, record.reason) == ("in force", "one", "")


def test_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n"
    for number in range(9):
        above, name = "abcdefghij"[number : number + 2]
        bomb += f"{name}: &{name} [{', '.join([f'*{above}'] * 9)}]\n"
    assert "aliases" in one_of(tmp_path, bomb + rule()).reason
    monkeypatch.setattr(reading, "MAX_FILE_BYTES", 100)
    assert one_of(tmp_path, rule()).state == "unreadable"
    monkeypatch.setattr(reading, "MAX_FILES", 0)
    with pytest.raises(UsageError, match="more than 0 files"):
        read_sigma(tmp_path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (rule(product="windows"), "it is about windows, not Linux"),
        (rule(category="registry_set"), "category registry_set is none that is seen here"),
        (
            rule(s="CurrentDirectory: /"),
            "field CurrentDirectory: no event carries the working directory of a process",
        ),
        (rule(more="status: deprecated"), "its author says that it is deprecated"),
        (rule(more="taxonomy: splunk"), "its fields are those of the taxonomy splunk"),
        (rule(more="level: grave"), "is not a valid Sigma rule level"),
        (rule(s="Image: /a}\n  timeframe: 5m\n  t: {Image: /b"), "a timeframe joins several events"),
        (rule(condition="s and t"), "Detection 't' not defined in detections"),
        (rule(condition="s | count() > 5"), "pipe syntax"),
        (rule(condition="s and ("), "Expected"),
        (rule(s="Image|nonsense: /"), "Unknown modifier"),
        (rule(s="Image|re: 'a(?=b)'"), "egular expression"),
        (rule(s="Image|re: '('"), "egular expression"),
        (rule(s="ProcessId|gt: many"), "incompatible"),
        (rule(s="DestinationIp|cidr: nonsense", category="network_connection"), "Invalid CIDR"),
        (rule(condition="not " * 900 + "s"), "recursion"),
    ],
)
def test_why_a_rule_is_not_in_force(tmp_path: Path, text: str, reason: str) -> None:
    record = one_of(tmp_path, text)
    assert (record.state, record.title) == ("unsupported", "one")
    assert reason in record.reason
    assert record.events == []
    assert "\n" not in record.reason and str(tmp_path) not in record.reason


CORRELATION = """
title: many
correlation:
  type: event_count
  rules: [one]
  group-by: [User]
  timespan: 5m
  condition: {gte: 10}
"""


def test_correlations(tmp_path: Path) -> None:
    record = one_of(tmp_path, CORRELATION)
    assert (record.state, record.title) == ("unsupported", "many")
    assert record.reason.startswith("a correlation counts what other rules found")


FILTER = """
title: not by the backup
logsource: {{product: linux, category: process_creation}}
filter:
  rules: {rules}
  own: {{ParentImage: /usr/bin/backup}}
  condition: not own
"""


def test_filters_of_other_files(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(rule("one", "name: one"))
    (tmp_path / "b.yml").write_text(rule("two", "name: two\ndate: soon"))
    (tmp_path / "c.yml").write_text(CORRELATION)
    (tmp_path / "z.yml").write_text(FILTER.format(rules="[one]"))
    parent = {"process__executable": "/bin/nc", "process__parent__executable": "/usr/bin/backup"}
    assert fitting(tmp_path, "process.exec", **parent) == ["two"]
    assert [record.title for record in read_sigma(tmp_path).records] == ["one", "two", "many"]
    (tmp_path / "z.yml").write_text(FILTER.format(rules="any"))
    assert fitting(tmp_path, "process.exec", **parent) == []
    (tmp_path / "z.yml").write_text(FILTER.format(rules="{}"))
    broken = read_sigma(tmp_path).records[-1]
    assert (broken.state, broken.reason[:24]) == ("unreadable", "a filter that is none: S")
    assert fitting(tmp_path, "process.exec", **parent) == ["one", "two"]


def test_levels(tmp_path: Path) -> None:
    for level in ("informational", "low", "medium", "high", "critical"):
        (tmp_path / f"{level}.yml").write_text(rule(level, f"level: {level}"))
    (tmp_path / "unsaid.yml").write_text(rule("unsaid"))
    found = read_sigma(tmp_path, "medium")
    assert {record.title for record in found.records if record.state == "below level"} == {
        "informational",
        "low",
    }
    assert found.count("in force") == 4
    assert {record.title: record.severity for record in found.records}["unsaid"] == "medium"
    assert {one.info.severity for one in read_sigma(tmp_path, "critical").rules} == {"critical"}


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file of rules in it"):
        read_sigma(tmp_path)
    with pytest.raises(UsageError, match="no such file or folder"):
        read_sigma(tmp_path / "nowhere")
