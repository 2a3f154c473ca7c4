from __future__ import annotations

import time
from typing import Any

from tests.unit.api.fakes import Client, event
from vmon.api.feed import EventFeed
from vmon.core.errors import GuestRebooted
from vmon.core.records.probe import NoticeRecord

PATH = "/api/v1/vms/lab:web1/events"


def feed_of(client: Client) -> EventFeed:
    return client.hosted.feeds(client.run(client.hosted.pool.get("lab:web1"))).events


def subscriptions(client: Client) -> list[Any]:
    return client.vm.fake_hub.subscriptions


def test_without_a_probe_there_are_no_events_and_none_is_put_in(client: Client) -> None:
    assert client.get(PATH).json["title"] == "NotSupported"
    assert client.vm.done == []


def test_one_subscription_serves_all_and_each_gets_what_it_wants(client: Client) -> None:
    client.vm.probe_in = True
    all_of_it, of_42, refused = (
        client.stream(f"{PATH}?on=process.exec"),
        client.stream(f"{PATH}?on=process.exec&pid=42,43"),
        client.stream(f"{PATH}?on=process.exec&denied=true"),
    )
    assert [each.kinds for each in subscriptions(client)] == [("process.exec",)]
    subscriptions(client)[0].put(event(pid=7, sequence=1))
    subscriptions(client)[0].put(event(pid=43, sequence=2, verdict="would deny"))
    assert [all_of_it.next()[1]["sequence"] for _ in range(2)] == [1, 2]
    assert of_42.next()[1]["sequence"] == 2
    assert refused.next()[1]["verdict"] == "would deny"
    more = client.stream(f"{PATH}?on=file.open,process.exec")
    assert [each.kinds for each in subscriptions(client)] == [("process.exec",), ("file.open",)]
    assert client.get("/api/v1/vms/lab:web1/probe").json["watched"] is True
    for stream in (all_of_it, of_42, refused, more):
        stream.close()


def test_all_kinds_are_those_that_can_be_seen(client: Client) -> None:
    client.vm.probe_in = True
    stream = client.stream(PATH)
    assert subscriptions(client)[0].kinds == ()
    stream.close()


def test_who_comes_back_goes_on_where_he_was(client: Client) -> None:
    client.vm.probe_in = True
    stream = client.stream(f"{PATH}?on=process.exec")
    for number in range(3):
        subscriptions(client)[0].put(event(sequence=number))
    ids = [stream.next()[2] for _ in range(3)]
    stream.close()
    again = client.stream(f"{PATH}?on=process.exec", {"last-event-id": ids[0]})
    assert [again.next()[1]["sequence"] for _ in range(2)] == [1, 2]
    again.close()
    stranger = client.stream(f"{PATH}?on=process.exec&since=feedbeef-7")
    assert stranger.next()[:2] == ("lost", {"count": None})
    stranger.close()
    whole = client.stream(f"{PATH}?on=process.exec&since=first")
    assert whole.next()[1]["sequence"] == 0
    whole.close()
    assert len(subscriptions(client)) == 1


def test_events_are_taken_no_more_some_time_after_the_last_follower_went(client: Client) -> None:
    client.vm.probe_in = True
    feed = feed_of(client)
    feed._linger_s = 0.0
    client.stream(f"{PATH}?on=process.exec").close()
    deadline = time.monotonic() + 20
    while feed.running or not subscriptions(client)[0].closed:
        # Each turn of the loop lets the threads behind it come to an end.
        assert time.monotonic() < deadline
        client.get("/healthz")
    feed._linger_s = 30.0
    stream = client.stream(f"{PATH}?on=process.exec")
    subscriptions(client)[1].put(event())
    assert stream.next()[0] == "event"
    stream.close()


def test_what_the_hub_could_not_keep_and_notices_and_the_end_are_told(client: Client) -> None:
    client.vm.probe_in = True
    stream = client.stream(f"{PATH}?on=process.exec")
    subscriptions(client)[0].lost = 4
    subscriptions(client)[0].put(event())
    assert stream.next()[0] == "event"
    assert stream.next()[:2] == ("lost", {"count": 4})
    for listener in client.vm.fake_hub.listeners:
        listener(NoticeRecord(event="vmon.tampered", said="a byte"))
    name, notice, _ = stream.next()
    assert (name, notice["event"], notice["said"]) == ("notice", "vmon.tampered", "a byte")
    subscriptions(client)[0].put(GuestRebooted("the guest rebooted"))
    assert stream.next()[:2] == ("end", {"why": "the guest rebooted"})
    stream.close()


def test_a_kind_that_is_none(client: Client) -> None:
    client.vm.probe_in = True
    assert client.get(f"{PATH}?on=process.dance").json["title"] == "UsageError"
    assert client.get(f"{PATH}?pid=x").json["title"] == "UsageError"
