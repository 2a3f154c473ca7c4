from __future__ import annotations

from tests.unit.api.fakes import Client

PATH = "/api/v1/vms/lab:web1/policy"
FIRST = "mode: enforce\nrules:\n  - event: file.open\n    file.path: /etc/shadow\n    do: deny\n"
SECOND = "rules:\n  - event: file.open\n    file.path: [/a, /b]\n    do: deny\n"


def test_a_policy_replaces_the_one_before(client: Client) -> None:
    assert client.get(PATH).json == {"text": "", "rules": []}
    first = client.ask("PUT", PATH, {"text": FIRST}).json["records"]
    assert "observe" not in first[0]["rule"]
    second = client.ask("PUT", PATH, {"text": SECOND}).json["records"]
    assert all(record["rule"]["observe"] for record in second)
    assert [record.number for record in client.vm.in_force] == [record["number"] for record in second]
    assert client.get(PATH).json["text"] == SECOND


def test_a_broken_one_changes_nothing_and_says_where(client: Client) -> None:
    client.ask("PUT", PATH, {"text": FIRST})
    before = list(client.vm.in_force)
    reply = client.ask("PUT", PATH, {"text": "rules:\n  - event: file.open\n    pth: /a\n"})
    assert reply.status == 400
    assert [problem.split(": ")[0] for problem in reply.json["problems"]] == ["policy:2", "policy:3"]
    assert client.vm.in_force == before
    assert client.get(PATH).json["text"] == FIRST


def test_the_same_again_is_there_once(client: Client) -> None:
    client.ask("PUT", PATH, {"text": FIRST})
    client.ask("PUT", PATH, {"text": FIRST, "observe": True})
    client.ask("PUT", PATH, {"text": FIRST})
    assert len(client.vm.in_force) == 1


def test_what_the_host_would_have_to_judge_is_refused(client: Client) -> None:
    text = "mode: enforce\nrules:\n  - event: process.exec\n    process.command_line|contains: evil\n    do: log\n"
    reply = client.ask("PUT", PATH, {"text": text})
    assert reply.status == 400
    assert "policy:3" in reply.json["detail"] and "vmon guard" in reply.json["detail"]
    assert client.vm.in_force == []
