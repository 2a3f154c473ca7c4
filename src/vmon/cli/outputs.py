"""Where events go beside the terminal: --to, --journal and --metrics of commands that watch.

Opens what the options name, tells when an output fails, and at the end what became of everything.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import click

from vmon.core.ecs import Origin
from vmon.core.errors import UsageError, VmonError
from vmon.core.events import EventCounts
from vmon.core.records.output import OutputRecord
from vmon.core.records.probe import NoticeRecord
from vmon.core.text import printable
from vmon.sinks.outlet import Outlet

if TYPE_CHECKING:
    from vmon.export.metrics import Metrics
    from vmon.monitor.keeping import Keeper
    from vmon.monitor.machine import VirtualMachine
    from vmon.sinks.places import Place
    from vmon.sinks.queue import Queue

F = TypeVar("F", bound=Callable[..., Any])
PLACES = "vmon.places"
METRICS = "vmon.metrics"
OPEN = "vmon.outputs"
SWITCH_S = 0.0005
TO_HELP = (
    "Send all of it there too; may be repeated. file:PATH, journal:PATH, syslog+unix:///dev/log, "
    "syslog+udp://HOST, syslog+tcp://HOST, syslog+tls://HOST, https://HOST/PATH; a format before it: "
    "ecs=https://siem.example/in, cef=syslog+tcp://collector."
)


def output_options(function: F) -> F:
    """--to, --journal and --metrics; kept with the command until `outputs_of` reads them."""
    function = click.option(
        "--metrics",
        metavar="HOST:PORT",
        expose_value=False,
        callback=_keep_metrics,
        help="Serve counters for Prometheus at http://HOST:PORT/metrics.",
    )(function)
    function = click.option(
        "--journal",
        metavar="FILE",
        type=click.Path(),
        expose_value=False,
        callback=_keep_journal,
        help="Add all of it to a hash-chained journal: --to journal:FILE.",
    )(function)
    return click.option(
        "--to",
        metavar="[FORMAT=]URL",
        multiple=True,
        expose_value=False,
        callback=_keep_places,
        help=TO_HELP,
    )(function)


def _keep_places(context: click.Context, _: click.Parameter, value: tuple[str, ...]) -> None:
    if value:
        from vmon.sinks.places import read_place  # noqa: PLC0415 - most commands need none

        _add_places(context, [read_place(text) for text in value])


def _keep_journal(context: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        from vmon.sinks.places import Place  # noqa: PLC0415 - most commands need none

        _add_places(context, [Place(f"journal:{quote(value)}", "journal", "jsonl")])


def _add_places(context: click.Context, places: list[Place]) -> None:
    context.meta.setdefault(PLACES, []).extend(places)


def _keep_metrics(context: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is None:
        return
    host, colon, port = value.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"--metrics {value}: this is no HOST:PORT", hint="--metrics 127.0.0.1:9464")
    context.meta[METRICS] = host.strip("[]") or "127.0.0.1", int(port)


class Outputs(Outlet):
    """Every output of one command, and what they say of the machine."""

    def follow(self, keeper: Keeper) -> None:
        """Count what the probe counts, and how long reading takes, of the stream that runs."""
        metrics, target = self.metrics, self.origin.target
        if metrics is None:
            return

        def ask() -> None:
            if keeper.stream is not None:
                keeper.stream.took = lambda seconds: metrics.read(target, seconds)
                with contextlib.suppress(
                    VmonError, OSError
                ):  # a guest that ends meanwhile: the last totals stay
                    metrics.totals(target, keeper.counts())
            metrics.outputs([queue.counts() for queue in self.queues])

        ask()
        metrics.ask_first.append(ask)

    def tell_lost(self, counts: Sequence[EventCounts]) -> None:
        """A notice in every output of events that the probe saw and could not record."""
        for count in counts:
            if count.lost:
                said = f"{count.lost} of {count.seen} {count.event} are missing: the ring was full"
                self.put(NoticeRecord(event="vmon.lost", said=said))

    def close(self) -> list[OutputRecord]:
        """Deliver what waits, and say what became of it all."""
        found = super().close()
        for queue, record in zip(self.queues, found, strict=True):
            click.echo(said_of(record) + (f"; {queue.note}" if queue.note else ""), err=True)
        return found


def said_of(record: OutputRecord) -> str:
    """One output's totals for a person."""
    said = f"to {record.name}: {record.delivered:,} delivered"
    if record.retried:
        said += f", {record.retried:,} tries more"
    if record.dropped:
        said += f", {record.dropped:,} DROPPED"
    if record.last_error and (record.dropped or record.retried):
        said += f" ({record.last_error})"
    return said


NOWHERE = Origin(target="", hostname="", release="", boot_time_ns=0)


def opened() -> Outputs:
    """Those of this command that `outputs_of` opened; ones that lead nowhere outside of it."""
    context = click.get_current_context(silent=True)
    found: Outputs | None = None if context is None else context.meta.get(OPEN)
    return found or Outputs(lambda: NOWHERE)


@contextmanager
def outputs_of(vm: VirtualMachine) -> Iterator[Outputs]:
    """What the options of this command ask for, until the end. OutputError where a place can't be opened.

    Within another one it is the same: `probed` opens them before it changes anything.
    """
    meta = click.get_current_context().meta
    if OPEN in meta:
        yield meta[OPEN]
        return
    from vmon.monitor.origin import origin_of  # noqa: PLC0415 - help needs no guest

    places: list[Place] = meta.get(PLACES, [])
    at: tuple[str, int] | None = meta.get(METRICS)
    with contextlib.ExitStack() as stack:
        metrics = _serve(at, stack) if at is not None else None
        outputs = Outputs(lambda: origin_of(vm), _opened(places), metrics)
        meta[OPEN] = outputs
        # Who reads events, and answers asks, waits for an output's thread no longer than this.
        interval = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_S)
        try:
            yield outputs
        finally:
            sys.setswitchinterval(interval)
            del meta[OPEN]
            outputs.close()


def _opened(places: Sequence[Place]) -> list[Queue]:
    queues: list[Queue] = []
    if places:
        from vmon.sinks.places import open_place  # noqa: PLC0415 - most commands need none

        try:
            queues += [open_place(place, _say) for place in places]
        except VmonError:
            for queue in queues:
                queue.close(0)
            raise
    return queues


def _serve(at: tuple[str, int], stack: contextlib.ExitStack) -> Metrics:
    from vmon.export.metrics import Metrics  # noqa: PLC0415 - most commands need none
    from vmon.sinks.scrape import ScrapeServer  # noqa: PLC0415

    metrics = Metrics()
    metrics.exposition()  # a missing package is said at once
    server = ScrapeServer(*at, metrics.exposition)
    stack.callback(server.close)
    click.echo(f"metrics: http://{server.host}:{server.port}/metrics", err=True)
    return metrics


def _say(said: str) -> None:
    click.echo(f"output: {printable(said)}", err=True)
