"""Counters of each machine, as Prometheus reads them. The one door of prometheus-client, an optional extra.

Pure. Kinds of events, verdicts and rule severities are fixed sets, so a guest can't make labels up; titles of rules are
no labels. Each machine is counted by one thread and has labels of its own, so nothing needs a lock.

    vmon_events_total{vm,event,verdict}      records that were shown or sent
    vmon_seen_total, vmon_lost_total, vmon_denied_total{vm,event}    as the probe counts, since the guest booted
    vmon_asks_total{vm,event,outcome}        answered, unanswered
    vmon_detections_total{vm,severity,verb,done}
    vmon_notices_total{vm,notice}            vmon.rebooted, vmon.tampered...
    vmon_read_seconds{vm}                    how long taking what waits in the ring takes
    vmon_output_{taken,delivered,retried,dropped}_total, vmon_output_waiting{output,format}
"""

from __future__ import annotations

import bisect
import importlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from vmon.core.detection import Detection
from vmon.core.errors import NotSupported
from vmon.core.events import Event, EventCounts
from vmon.core.records.output import OutputRecord
from vmon.core.told import Told

BUCKETS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Labels = tuple[str, ...]


class Metrics:
    """Counters of any number of machines; one thread counts one machine, any may ask."""

    def __init__(self) -> None:
        """Nothing is imported before something is asked for."""
        self._events: Counter[Labels] = Counter()
        self._detections: Counter[Labels] = Counter()
        self._notices: Counter[Labels] = Counter()
        self._counts: dict[str, Sequence[EventCounts]] = {}
        self._outputs: Sequence[OutputRecord] = ()
        self._reads: dict[str, list[int]] = defaultdict(lambda: [0] * (len(BUCKETS_S) + 1))
        self._read_s: Counter[str] = Counter()
        self.ask_first: list[Callable[[], None]] = []
        """Called before each page is made: who brings totals and outputs up to date."""

    def count(self, vm: str, record: Told) -> None:
        """One more record. Less than a microsecond."""
        if isinstance(record, Event):
            self._events[vm, record.event, record.verdict] += 1
        elif isinstance(record, Detection):
            self._detections[vm, record.rule.severity, record.verb, record.done] += 1
        else:
            self._notices[vm, record.event] += 1

    def read(self, vm: str, seconds: float) -> None:
        """How long one look into the ring took that found something."""
        self._reads[vm][bisect.bisect_left(BUCKETS_S, seconds)] += 1
        self._read_s[vm] += seconds  # type: ignore[assignment]

    def totals(self, vm: str, counts: Sequence[EventCounts]) -> None:
        """What the probe has counted since the guest booted; each call replaces the one before."""
        self._counts[vm] = counts

    def outputs(self, found: Sequence[OutputRecord]) -> None:
        """How the outputs fare; each call replaces the one before."""
        self._outputs = found

    def collect(self) -> Iterator[Any]:
        """Every family, for prometheus-client's registry."""
        core = _core()
        for ask in list(self.ask_first):
            ask()
        yield from self._of_records(core)
        yield from self._of_probe(core)
        yield from self._of_outputs(core)

    def _of_records(self, core: Any) -> Iterator[Any]:
        yield _counter(core, "vmon_events", "Events shown or sent.", ("vm", "event", "verdict"), self._events)
        labels = ("vm", "severity", "verb", "done")
        yield _counter(core, "vmon_detections", "Events that a rule fitted.", labels, self._detections)
        yield _counter(
            core, "vmon_notices", "What happened to the watching itself.", ("vm", "notice"), self._notices
        )
        family = core.HistogramMetricFamily(
            "vmon_read_seconds", "Taking what waits in the ring.", labels=["vm"]
        )
        for vm, found in dict(self._reads).items():
            total, buckets = 0, []
            for edge, number in zip((*map(str, BUCKETS_S), "+Inf"), found, strict=True):
                total += number
                buckets.append((edge, total))
            family.add_metric([vm], buckets, self._read_s[vm])
        yield family

    def _of_probe(self, core: Any) -> Iterator[Any]:
        found = [(vm, count) for vm, counts in dict(self._counts).items() for count in counts]
        texts = {
            "seen": "Events that the probe saw.",
            "lost": "Events that were judged and not recorded: the ring was full.",
            "denied": "Events that were refused.",
        }
        for name, text in texts.items():
            values = {(vm, count.event): getattr(count, name) for vm, count in found}
            yield _counter(core, f"vmon_{name}", text, ("vm", "event"), values)
        asks = {
            (vm, count.event, outcome): value
            for vm, count in found
            for outcome, value in (
                ("answered", count.asked - count.unanswered),
                ("unanswered", count.unanswered),
            )
        }
        text = "Questions of rules that ask; unanswered ones were decided by the fallback."
        yield _counter(core, "vmon_asks", text, ("vm", "event", "outcome"), asks)

    def _of_outputs(self, core: Any) -> Iterator[Any]:
        labels = ("output", "format")
        texts = {
            "taken": "Records given to an output.",
            "delivered": "Records handed over.",
            "retried": "Tries after the first.",
            "dropped": "Records lost.",
        }
        for name, text in texts.items():
            values = {(found.name, found.format): getattr(found, name) for found in self._outputs}
            yield _counter(core, f"vmon_output_{name}", text, labels, values)
        family = core.GaugeMetricFamily("vmon_output_waiting", "Records that wait.", labels=list(labels))
        for found in self._outputs:
            family.add_metric([found.name, found.format], found.waiting)
        yield family

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """The page and its content type; OpenMetrics where `accept`, a header of the request, asks for it.

        NotSupported where prometheus-client is not installed. About a millisecond.
        """
        client = _client()
        registry = client.CollectorRegistry()
        registry.register(_Collector(self))
        if "application/openmetrics-text" in accept:
            text = importlib.import_module("prometheus_client.openmetrics.exposition")
            return text.generate_latest(registry), text.CONTENT_TYPE_LATEST
        return client.generate_latest(registry), CONTENT_TYPE


class _Collector:
    """What the registry asks; it describes nothing, so that nothing is collected when it is made known."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def describe(self) -> Iterable[Any]:
        return ()

    def collect(self) -> Iterator[Any]:
        return self._metrics.collect()


def _counter(core: Any, name: str, text: str, labels: Labels, values: Mapping[Any, int]) -> Any:
    family = core.CounterMetricFamily(name, text, labels=list(labels))
    for given, value in sorted(dict(values).items()):
        family.add_metric(list(given), value)
    return family


def _core() -> Any:
    _client()
    return importlib.import_module("prometheus_client.core")


def _client() -> Any:
    try:
        return importlib.import_module("prometheus_client")
    except ImportError as error:
        raise NotSupported(
            "metrics need prometheus-client, which is not installed", hint="pip install 'vmon[outputs]'"
        ) from error
