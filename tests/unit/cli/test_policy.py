from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from tests.house.sources import ROOT
from tests.unit.cli.conftest import Run
from vmon.core.errors import PolicyError, UsageError


def test_where_each_rule_runs_is_said(run: Run) -> None:
    said = run("policy", "check", str(ROOT / "examples" / "policy.yaml"))
    assert "5 rules, enforce; 11 of 1,024 in the guest" in said.output
    lines = said.output.splitlines()
    assert next(line for line in lines if "shadow" in line).split()[1:4] == ["deny", "in", "the"]
    assert next(line for line in lines if "web server" in line).split()[1:3] == ["suspend", "after"]
    assert "would deny" in run("policy", "check", str(ROOT / "examples" / "policy.yaml"), "--observe").output
    whole = json.loads(run("policy", "check", "linux-server", "-o", "json").output)
    assert all(record["guest"] or record["asked"] or record["after"] for record in whole["records"])


def test_all_that_is_wrong_is_said(run: Run, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("mode: no\nrules:\n  - {event: file.open, do: lgo}")
    with pytest.raises(PolicyError) as caught:
        run("policy", "check", str(tmp_path / "p.yaml"))
    assert caught.value.exit_code == 2
    assert [problem.rpartition("p.yaml:")[2][:2] for problem in caught.value.problems] == ["1:", "3:"]


def test_ready_sets_are_listed_and_shown(run: Run) -> None:
    said = run("policy", "list").output
    for name in ("linux-server", "ai-agent"):
        assert name in said
        assert "rules" in yaml.safe_load(run("policy", "show", name).output)
    with pytest.raises(UsageError, match="no ready set 'linux-sever'") as caught:
        run("policy", "show", "linux-sever")
    assert caught.value.hint == "did you mean linux-server?"


def test_the_schema_and_the_fields_are_told(run: Run) -> None:
    schema = json.loads(run("policy", "schema").output)
    jsonschema.validate({"rules": [{"event": "file.open", "do": "log"}]}, schema)
    assert "process.executable" in run("policy", "fields").output
