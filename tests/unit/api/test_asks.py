from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.unit.api.fakes import Client, Stream, event
from vmon.core.rules import Rule

PATH = "/api/v1/vms/lab:web1/asks"


@pytest.fixture
def asked(client: Client) -> Client:
    client.vm.add_rules(
        [
            Rule(events=("process.exec",), action="ask", timeout_ms=60_000, fallback="deny"),
            Rule(events=("file.open",), action="ask", timeout_ms=1, fallback="allow"),
        ]
    )
    return client


def listen(client: Client) -> Stream:
    stream = client.stream(PATH)
    assert stream.next()[0] == "begin"
    return stream


def ask(client: Client, rule: int = 1) -> asyncio.Task[str]:
    """The hub asks, as it would from its thread."""

    async def begin() -> asyncio.Task[Any]:
        assert client.vm.fake_hub.handler is not None
        return asyncio.create_task(client.vm.fake_hub.handler(event(rule=rule, ask=1, verdict="asked")))

    return client.run(begin())


def outcome(client: Client, task: asyncio.Task[str]) -> str:
    async def wait() -> str:
        return await asyncio.wait_for(task, 20)

    return client.run(wait())


def test_an_ask_is_told_and_the_first_answer_counts(asked: Client) -> None:
    first, second = listen(asked), listen(asked)
    task = ask(asked)
    name, data, _ = first.next()
    assert (name, data["fallback"], data["timeout_ms"]) == ("ask", "deny", 60_000)
    assert 0 < data["waits_ms"] <= 60_000
    assert data["event"]["path"] == "/bin/nc"
    assert second.next()[1]["id"] == data["id"]
    late_comer = listen(asked)
    assert late_comer.next()[1]["id"] == data["id"]
    answer = f"{PATH}/{data['id']}"
    assert asked.ask("POST", answer, {"answer": "maybe"}).status == 400
    assert asked.ask("POST", answer, {"answer": "kill"}).json == {"id": data["id"], "answer": "kill"}
    assert asked.ask("POST", answer, {"answer": "allow"}).status == 410
    assert outcome(asked, task) == "kill"
    assert first.next()[:2] == ("done", {"id": data["id"], "answer": "kill"})
    assert asked.ask("POST", answer, {"answer": "allow"}).json["title"] == "TooLate"
    assert asked.get(f"{PATH}/counts").json == {
        "answered": 1,
        "late": 2,
        "unanswered": 0,
        "waiting": 0,
        "listeners": 3,
    }
    for stream in (first, second, late_comer):
        stream.close()


def test_without_an_answer_in_time_the_fallback_decides(asked: Client) -> None:
    stream = listen(asked)
    assert outcome(asked, ask(asked, rule=2)) == "allow"
    number = stream.next()[1]["id"]
    assert stream.next()[:2] == ("done", {"id": number, "answer": "late"})
    assert asked.ask("POST", f"{PATH}/{number}", {"answer": "deny"}).status == 410
    assert asked.get(f"{PATH}/counts").json["unanswered"] == 1
    stream.close()


def test_when_the_last_listener_goes_nobody_answers_and_what_waits_is_decided(asked: Client) -> None:
    first, second = listen(asked), listen(asked)
    task = ask(asked)
    first.close()
    assert asked.vm.fake_hub.handler is not None
    second.close()
    assert asked.vm.fake_hub.handler is None
    assert outcome(asked, task) == "deny"
    listen(asked).close()


def test_an_ask_that_never_was(asked: Client) -> None:
    assert asked.ask("POST", f"{PATH}/none-1", {"answer": "allow"}).json["title"] == "NoSuchAsk"


def test_without_a_probe_nothing_is_asked(client: Client) -> None:
    assert client.get(PATH).json["title"] == "NotSupported"
