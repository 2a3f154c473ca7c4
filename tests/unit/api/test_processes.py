from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.unit.api.fakes import Client
from vmon.api.processes import ROWS
from vmon.core.coverage import Answer
from vmon.core.errors import RulesError

P = "/api/v1/vms/lab:web1/processes"


@pytest.mark.parametrize("row", [row for row in ROWS if row.method == "GET"], ids=lambda row: row.name)
def test_each_answers(client: Client, row: object) -> None:
    path = row.path.replace("{vm}", "lab:web1").replace("{pid}", "42")  # type: ignore[attr-defined]
    reply = client.get(path)
    assert reply.status == 200, reply.body
    if row.many:  # type: ignore[attr-defined]
        assert set(reply.json) == {"coverage", "records"}
    if row.name not in ("process_stack", "process_auxv", "process_hash", "process_hashed_maps"):  # type: ignore[attr-defined]
        assert client.get(path.replace("/42", "/4000")).json["title"] == "NoSuchProcess"


def test_an_environment_that_is_not_there_is_a_gap(client: Client) -> None:
    client.vm.process = lambda _: SimpleNamespace(environ=lambda: None)  # type: ignore[method-assign, assignment]
    found = client.get(f"{P}/42/environ").json
    assert found == {
        "coverage": [{"what": "environ", "reason": "not resident", "count": 1, "detail": ""}],
        "records": [],
    }


def test_texts_are_bounded_and_it_is_said(client: Client) -> None:
    client.vm.strings = lambda *_, **__: Answer(["a", "b", "c"])  # type: ignore[method-assign, assignment]
    found = client.get(f"{P}/42/strings?limit=2").json
    assert found["records"] == ["a", "b"]
    assert found["coverage"][0]["count"] == 1


def test_a_scan_has_rules_of_its_own(client: Client) -> None:
    seen: list[tuple[str, object]] = []

    def scan(files: list[object], **how: object) -> Answer[object]:
        seen.append((files[0].read_text(), how))  # type: ignore[attr-defined]
        if "bad" in seen[-1][0]:
            raise RulesError("rules.yar:1: bad")
        return Answer()

    client.vm.scan = scan  # type: ignore[method-assign, assignment]
    path = "/api/v1/vms/lab:web1/scan"
    assert client.ask("POST", path, {"rules": "rule a", "pids": [42]}).status == 200
    assert seen == [("rule a", {"pids": (42,), "parts": ("processes",), "includes": False})]
    assert client.ask("POST", path, {"rules": "bad"}).status == 422
    assert client.ask("POST", path, {"rules": "a", "parts": ["disk"]}).status == 400
