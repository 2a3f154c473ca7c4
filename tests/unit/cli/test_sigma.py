from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Run
from vmon.cli import sigma as module
from vmon.core.errors import NotSupported, RulesError, UsageError
from vmon.monitor.sigma import door

RULE = """
title: {title}
level: {level}
logsource: {{product: {product}, category: process_creation}}
detection: {{s: {{Image: /bin/nc}}, condition: s}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "rules"
    found.mkdir()
    (found / "a.yml").write_text(RULE.format(title="good", level="low", product="linux"))
    (found / "b.yml").write_text(RULE.format(title='"es\\e[2Jcape"', level="high", product="windows"))
    return found


def test_rules_that_are_not_in_force_are_listed_with_the_reason(run: Run, folder: Path) -> None:
    done = run("sigma", str(folder))
    assert done.exit_code == 0
    assert "it is about windows, not Linux" in done.output
    assert "good" not in done.output
    assert "es\\x1b[2Jcape" in done.output
    assert f"{folder}: 2 rules, 1 in force, 1 unsupported" in done.output


def test_all_of_them(run: Run, folder: Path) -> None:
    done = run("sigma", str(folder), "--all", "-o", "json")
    found = json.loads(done.stdout)["records"]
    assert [(record["title"], record["state"]) for record in found] == [
        ("good", "in force"),
        ("es\x1b[2Jcape", "unsupported"),
    ]


def test_only_severe_ones(run: Run, folder: Path) -> None:
    done = run("sigma", str(folder), "--sigma-level", "medium")
    assert "2 rules, 0 in force, 1 unsupported, 1 below the level" in done.output
    assert "its level is low" in done.output


def test_a_file_that_is_no_rule(run: Run, folder: Path) -> None:
    (folder / "c.yml").write_text("a: [\n")
    with pytest.raises(RulesError, match="1 of these"):
        run("sigma", str(folder))


def test_nowhere(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        run("sigma", str(tmp_path / "nowhere"))


def test_without_pysigma(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    door.pysigma.cache_clear()
    monkeypatch.setitem(sys.modules, "sigma.types", None)
    with pytest.raises(NotSupported):
        run("sigma", str(folder))


def test_a_watch_says_what_is_in_force(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = module.put_in_force(folder, None)
    assert len(found.rules) == 1
    said = capsys.readouterr().err
    assert said.splitlines() == [
        "sigma: 2 rules, 1 in force, 1 unsupported",
        f"sigma: {folder}/b.yml:2: es\\x1b[2Jcape: it is about windows, not Linux",
    ]
    monkeypatch.setattr(module, "TOLD", 0)
    module.put_in_force(folder, None)
    assert capsys.readouterr().err.splitlines()[-1] == f"sigma: and 1 more: `vmon sigma {folder}` tells why"


def test_a_watch_without_rules_is_none(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="nothing would be watched"):
        module.put_in_force(folder / "b.yml", None)
    assert capsys.readouterr().err.startswith("sigma: 1 rule, 0 in force, 1 unsupported\n")
