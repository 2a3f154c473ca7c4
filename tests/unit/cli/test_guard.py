from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.conftest import Run
from vmon.cli.guard import decider
from vmon.core.errors import NotSupported, PolicyError, UsageError
from vmon.core.events import Event


def write(folder: Path, text: str) -> str:
    (folder / "p.yaml").write_text(text)
    return str(folder / "p.yaml")


def test_a_policy_that_makes_no_sense(run: Run, tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"p\.yaml:2: there is no event .file\.frob."):
        run("guard", "x", write(tmp_path, "rules:\n  - {event: file.frob, do: log}"))
    with pytest.raises(PolicyError, match="init too"):
        run("guard", "x", write(tmp_path, "rules: [{event: file.open, do: deny}]"))
    with pytest.raises(UsageError, match="No such file"):
        run("guard", "x", str(tmp_path / "none"))
    (tmp_path / "bytes").write_bytes(b"\xff")
    with pytest.raises(UsageError, match="byte 0 is not UTF-8"):
        run("guard", "x", str(tmp_path / "bytes"))
    with pytest.raises(UsageError, match="no rule in it is about x"):
        run("guard", "x", write(tmp_path, "scope: {vm: web*}\nrules: [{event: file.open, do: log}]"))


def test_a_policy_that_does(run: Run, tmp_path: Path) -> None:
    policy = write(tmp_path, "mode: enforce\nrules:\n  - {event: file.open, file.path: [/a, /b], do: deny}")
    with pytest.raises(NotSupported):
        run("guard", "x", policy)
    with pytest.raises(NotSupported):
        run("guard", "x", "linux-server")


def test_answers_without_a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", open("/dev/null"))  # noqa: PTH123, SIM115
    assert decider("prompt") is None
    who = {"time_ns": 1, "key": "1@1", "pid": 1, "tid": 1, "ppid": 0, "uid": 0, "euid": 0, "gid": 0}
    event = Event(event="file.open", sequence=0, name="x", cpu=0, cgroup_id=0, **who)  # type: ignore[arg-type]
    deny = decider("deny")
    assert deny is not None
    assert deny(event) == "deny"
