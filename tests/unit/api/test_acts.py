from __future__ import annotations

import logging

import pytest

from tests.unit.api.fakes import Client

VM = "/api/v1/vms/lab:web1"
P = f"{VM}/processes/42"
KEY = {"key": "42@42000000"}


@pytest.mark.parametrize(
    ("act", "number", "force"), [("kill", 9, False), ("suspend", 19, False), ("resume", 18, True)]
)
def test_an_act_is_a_signal_to_this_very_process(client: Client, act: str, number: int, force: bool) -> None:
    reply = client.ask("POST", f"{P}/{act}", KEY)
    assert (reply.status, reply.json["done"], reply.json["signal"]) == (200, True, number)
    assert client.vm.done == ["install", ("signal", 42, number, KEY["key"], force)]


def test_any_signal(client: Client) -> None:
    assert client.ask("POST", f"{P}/signal", KEY | {"signal": 15, "force": True}).json["signal"] == 15
    assert client.vm.done[-1] == ("signal", 42, 15, KEY["key"], True)
    for wrong in (0, 65, "TERM", None):
        assert client.ask("POST", f"{P}/signal", KEY | {"signal": wrong}).status == 400


def test_init_is_protected(client: Client) -> None:
    path, body = f"{VM}/processes/1/kill", {"key": "1@1000000"}
    assert client.ask("POST", path, body).json["title"] == "UsageError"
    assert client.ask("POST", path, body | {"force": True}).status == 200


def test_quarantine_and_release(client: Client) -> None:
    found = client.ask("POST", f"{P}/quarantine", KEY).json["records"]
    assert found[0]["rule"]["tree"] == KEY["key"]
    assert client.ask("POST", f"{P}/release", KEY).status == 404


def test_rules_come_and_go(client: Client) -> None:
    assert client.get(f"{VM}/rules").json["title"] == "NotSupported"
    rule = {"events": ["file.open"], "path": "/etc/shadow"}
    number = client.ask("POST", f"{VM}/rules", {"rules": [rule]}).json["records"][0]["number"]
    assert client.get(f"{VM}/rules").json["records"] == [{"number": number, "hits": 0, "rule": rule}]
    assert client.ask("DELETE", f"{VM}/rules/{number}").json == {"dropped": 1}
    assert client.ask("DELETE", f"{VM}/rules/{number}").status == 400
    assert client.ask("DELETE", f"{VM}/rules/x").status == 404


def test_what_a_guest_would_not_survive_is_forced_or_refused(client: Client) -> None:
    rules = {"rules": [{"events": ["process.exec"]}]}
    assert "init too" in client.ask("POST", f"{VM}/rules", rules).json["detail"]
    assert client.vm.done == []
    assert client.ask("POST", f"{VM}/rules", rules | {"force": True}).status == 200


def test_totals(client: Client) -> None:
    assert client.get(f"{VM}/counts").json["records"][0]["lost"] == 1


def test_who_changed_what_is_written_down(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "vmon.api"):
        client.get(f"{VM}/processes")
        client.ask("POST", f"{P}/kill", KEY)
    assert [record.getMessage() for record in caplog.records] == [
        f"POST {P}/kill by operator, token from 127.0.0.1"
    ]
