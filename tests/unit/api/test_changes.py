from __future__ import annotations

import asyncio

import msgspec
import pytest

from tests.unit.api.fakes import Client
from tests.unit.monitor.test_machine import second_guest
from vmon.api import changes
from vmon.api.changes import compare, look
from vmon.core.errors import NoKernelYet, TargetGone

PATH = "/api/v1/vms/lab:web1/processes/stream"


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch, client: Client) -> None:
    feed = client.hosted.feeds(client.run(client.hosted.pool.get("lab:web1"))).processes
    monkeypatch.setattr(feed, "_look_s", 0.01)


def test_two_looks_are_compared(client: Client) -> None:
    before, _ = look(client.vm)
    after = dict(before)
    gone = after.pop("42@42000000")
    new = msgspec.structs.replace(gone, key="43@1", pid=43)
    renamed = msgspec.structs.replace(after["99@99000000"], name="other")
    after |= {"43@1": new, "99@99000000": renamed}
    found = compare(before, after)
    assert (found.started, found.changed, found.ended) == ([new], [renamed], ["42@42000000"])


def test_a_snapshot_then_what_changes_and_nobody_looks_when_nobody_follows(client: Client) -> None:
    first, second = client.stream(PATH), client.stream(PATH)
    name, data, _ = first.next()
    assert name == "snapshot"
    assert {record["pid"] for record in data["records"]} == {1, 2, 42, 77, 99}
    assert second.next()[0] == "snapshot"
    client.vm.connection.boot(second_guest())
    for stream in (first, second):
        # A look may fall into the middle of the boot, and tell of that first.
        while "500" not in [str(record["pid"]) for record in data.get("started", ())]:
            _, data, _ = stream.next()
        stream.close()
    feed = client.hosted.feeds(client.run(client.hosted.pool.get("lab:web1"))).processes

    async def looked() -> None:
        assert feed._looking is not None
        await asyncio.wait_for(feed._looking, 20)

    client.run(looked())


def test_a_guest_that_boots_is_told_once_and_one_that_is_gone_ends_it(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    trouble = [NoKernelYet("it boots"), NoKernelYet("it boots"), None, TargetGone("it is gone")]
    stream = client.stream(PATH)
    assert stream.next()[0] == "snapshot"

    def looks(vm: object) -> object:
        error = trouble.pop(0)
        if error is not None:
            raise error
        return look(client.vm)

    monkeypatch.setattr(changes, "look", looks)
    name, data, _ = stream.next()
    assert (name, data["title"], data["detail"]) == ("problem", "NoKernelYet", "it boots")
    assert stream.next()[:2] == ("end", {"why": "it is gone"})
    stream.close()


def test_a_slow_follower_gets_the_whole_anew(client: Client) -> None:
    stream = client.stream(PATH)
    assert stream.next()[0] == "snapshot"
    feed = client.hosted.feeds(client.run(client.hosted.pool.get("lab:web1"))).processes
    for _ in range(changes.KEPT + 1):
        feed._told.put("changes", b"{}")
    assert stream.next()[0] == "snapshot"
    stream.close()
