from __future__ import annotations

import sys
import threading

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

from tests.unit.export.told import DETECTIONS, EVENTS, NOTICES, event
from vmon.core.errors import NotSupported
from vmon.core.events import EventCounts
from vmon.core.records.output import OutputRecord
from vmon.export.metrics import Metrics


def filled() -> Metrics:
    metrics = Metrics()
    for record in (*EVENTS, *DETECTIONS, *NOTICES):
        metrics.count("lab:web1", record)
    metrics.count("lab:db1", event())
    metrics.read("lab:web1", 0.0002)
    metrics.read("lab:web1", 7.0)
    metrics.totals(
        "lab:web1", [EventCounts(event="file.open", seen=9, lost=2, denied=1, asked=5, unanswered=3)]
    )
    metrics.outputs(
        [OutputRecord(name="file:a", format="ecs", taken=9, delivered=4, retried=1, dropped=2, waiting=3)]
    )
    return metrics


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0"])
def test_prometheus_own_parsers_read_it(accept: str) -> None:
    data, content_type = filled().exposition(accept)
    families = list((openmetrics if accept else prometheus)(data.decode()))
    assert content_type.startswith("application/openmetrics-text" if accept else "text/plain; version=0.0.4")
    samples = {(s.name, *sorted(s.labels.items())): s.value for family in families for s in family.samples}

    def value(name: str, **labels: str) -> float:
        return samples[name, *sorted(labels.items())]

    web = {"vm": "lab:web1", "event": "file.open"}
    opens = sum(found.event == "file.open" and found.verdict == "denied" for found in EVENTS)
    assert value("vmon_events_total", **web, verdict="denied") == opens
    assert value("vmon_events_total", vm="lab:db1", event="file.open", verdict="allowed") == 1
    assert (value("vmon_seen_total", **web), value("vmon_lost_total", **web)) == (9, 2)
    assert value("vmon_asks_total", **web, outcome="answered") == 2
    assert value("vmon_asks_total", **web, outcome="unanswered") == 3
    assert value("vmon_detections_total", vm="lab:web1", severity="high", verb="kill", done="done") == 1
    assert value("vmon_notices_total", vm="lab:web1", notice="vmon.rebooted") == 1
    assert value("vmon_read_seconds_count", vm="lab:web1") == 2
    assert value("vmon_read_seconds_bucket", vm="lab:web1", le="0.00025") == 1
    assert value("vmon_read_seconds_sum", vm="lab:web1") == pytest.approx(7.0002)
    output = {"output": "file:a", "format": "ecs"}
    assert value("vmon_output_dropped_total", **output) == 2
    assert value("vmon_output_waiting", **output) == 3


def test_nothing_counted_is_a_page_all_the_same() -> None:
    assert list(prometheus(Metrics().exposition()[0].decode()))


def test_who_is_asked_first() -> None:
    metrics = Metrics()
    metrics.ask_first.append(lambda: metrics.count("a", event()))
    assert b'vmon_events_total{event="file.open",verdict="allowed",vm="a"} 1.0' in metrics.exposition()[0]


def test_pages_while_others_count() -> None:
    metrics, done = Metrics(), threading.Event()

    def work(vm: str) -> None:
        for found in EVENTS * 300:
            metrics.count(vm, found)
        done.set()

    threads = [threading.Thread(target=work, args=(f"vm{number}",)) for number in range(3)]
    for thread in threads:
        thread.start()
    while not done.is_set():
        metrics.exposition()
    for thread in threads:
        thread.join()
    text = metrics.exposition()[0].decode()
    assert sum(
        float(line.split()[-1]) for line in text.splitlines() if line.startswith("vmon_events_total")
    ) == 3 * 300 * len(EVENTS)


def test_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(NotSupported) as caught:
        Metrics().exposition()
    assert caught.value.hint == "pip install 'vmon[outputs]'"
