"""What commands share that show events as they happen: the probe around them, a line an event, what was lost."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from vmon.cli.output import cell
from vmon.cli.outputs import Outputs, opened, output_options, outputs_of
from vmon.core.detection import Detection
from vmon.core.errors import IdentifyError, NotSupported
from vmon.core.events import Event, EventCounts
from vmon.core.records.probe import NoticeRecord
from vmon.core.told import Told
from vmon.export.document import indented
from vmon.export.formats import FORMATS, encoder
from vmon.export.jsonl import document
from vmon.export.sentence import object_words
from vmon.monitor.acts import RING_BYTES
from vmon.monitor.machine import VirtualMachine
from vmon.monitor.stream import EventStream

if TYPE_CHECKING:
    from vmon.monitor.keeping import Keeper

F = TypeVar("F", bound=Callable[..., Any])


def live_options(function: F) -> F:
    """--seconds, -o and --to of a command that goes on until it is interrupted."""
    function = output_options(function)
    function = click.option(
        "-o",
        "--output",
        type=click.Choice(("table", "json", *FORMATS)),
        default="table",
        show_default=True,
        help="Form of what is shown; a line a record, but for json, which is one list.",
    )(function)
    return click.option(
        "--seconds", type=click.FloatRange(min=0), help="End after so long; else with Ctrl-C."
    )(function)


def keep_options(function: F) -> F:
    """--persist and --repair of a command that keeps an eye on the probe."""
    function = click.option("--repair", is_flag=True, help="When the guest changes the probe, put it right.")(
        function
    )
    return click.option(
        "--persist",
        is_flag=True,
        help="When the guest reboots, put the probe and its rules in again, and go on.",
    )(function)


@contextmanager
def probed(vm: VirtualMachine, *, ring_bytes: int = RING_BYTES, keep: bool = False) -> Iterator[None]:
    """A guest with the probe in it; taken out at the end, unless rules are in force or it was there before."""
    with outputs_of(vm):  # what can't be opened is said before the guest is changed
        put_in = vm.install_probe(ring_bytes)
        click.echo(
            f"probe: {put_in.sites} instructions changed in {put_in.paused_ms:.1f} ms"
            if put_in.installed
            else "probe: there already",
            err=True,
        )
        try:
            yield
        finally:
            if put_in.installed and not keep:
                take_out(vm)


def take_out(vm: VirtualMachine) -> None:
    """The probe, unless rules are in force; nothing where it is gone, with another kernel or by another vmon."""
    try:
        if vm.rules():
            return
    except (NotSupported, IdentifyError):
        return
    report = vm.remove_probe()
    click.echo(f"probe: taken out in {(report.paused_ns + report.held_ns) / 1e6:.1f} ms", err=True)


@contextmanager
def started(stream: EventStream) -> Iterator[EventStream]:
    """A stream that runs; what it lost and who got no answer is said at the end."""
    stream.start()
    try:
        yield stream
    finally:
        stream.stop()
        for count in stream.counts():
            tell_counts(count)


class Shown:
    """What is shown while it happens: lines for a person, for a program JSON lines or one JSON list."""

    def __init__(self, output: str, outputs: Outputs) -> None:
        """`outputs` get all of it too."""
        self._output = output
        self._outputs = outputs
        self._encode = None if output in ("table", "json") else encoder(output)
        self._count = 0

    def event(self, event: Event) -> None:
        """One event, at once."""
        if self._output == "table":
            click.echo(line(event))
            sys.stdout.flush()
        else:
            self._write(event)
        self._outputs.put(event)

    def detection(self, detection: Detection) -> None:
        """One detection, at once."""
        if self._output == "table":
            click.echo(detection_line(detection))
            sys.stdout.flush()
        else:
            self._write(detection)
        self._outputs.put(detection)

    def notice(self, notice: NoticeRecord) -> None:
        """What happens to the watching itself: to a person, and among the events to a program."""
        click.echo(f"{notice.event.removeprefix('vmon.')}: {cell(notice.said)}", err=True)
        self._outputs.put(notice)
        if self._output != "table":
            self._write(notice)

    def _write(self, record: Told) -> None:
        origin = self._outputs.origin
        if self._encode is not None:
            sys.stdout.buffer.write(self._encode(record, origin) + b"\n")
        else:
            sys.stdout.write(("," if self._count else "[") + "\n" + indented(document(record, origin)) + "\n")
        self._count += 1
        sys.stdout.flush()

    def end(self) -> None:
        """Close the list."""
        if self._output == "json":
            sys.stdout.write("]\n" if self._count else "[]\n")


@contextmanager
def shown(output: str, outputs: Outputs | None = None) -> Iterator[Shown]:
    """Shows events until the end, and sends them where they are to go: to `outputs`, or those that `probed` opened."""
    found = Shown(output, outputs or opened())
    # What is there now is left alone by the collector: walking through it takes longer than a full ring lasts.
    gc.collect()
    gc.freeze()
    try:
        yield found
    finally:
        gc.unfreeze()
        found.end()


def show_kept(
    vm: VirtualMachine,
    stream_of: Callable[[], EventStream],
    seconds: float | None,
    output: str,
    *,
    wanted: Callable[[Event], bool] = lambda _: True,
    show: Callable[[Shown, Event], None] = Shown.event,
    ring_bytes: int = RING_BYTES,
    persist: bool,
    repair: bool,
    put_in: Callable[[], None] | None = None,
) -> bool:
    """Show events with an eye on the probe, which is there already; whether it was tampered with.

    `put_in` puts rules in once somebody listens. What was lost is said at the end, however it comes.
    """
    from vmon.monitor.keeping import Keeper  # noqa: PLC0415 - help needs no probe

    with outputs_of(vm) as outputs, shown(output, outputs) as out:

        def keeper_of() -> Keeper:
            return Keeper(
                vm,
                stream_of,
                out.notice,
                ring_bytes=ring_bytes,
                persist=persist,
                repair=repair,
                put_in=put_in,
            )

        def see(batch: list[Event]) -> None:
            for event in batch:
                if wanted(event):
                    show(out, event)

        return watch(keeper_of, outputs, seconds, see)


def watch(
    keeper_of: Callable[[], Keeper],
    outputs: Outputs,
    seconds: float | None,
    see: Callable[[list[Event]], None],
    ending: Callable[[], None] = lambda: None,
) -> bool:
    """Hand over what happens until the end; whether the probe was tampered with. `ending` is called however it ends.

    What was lost is told, here and in the outputs.
    """
    keeper: Keeper | None = None
    before: list[EventCounts] = []
    try:
        keeper = keeper_of()
        before = keeper.counts()
        outputs.follow(keeper)
        for batch in keeper.batches(seconds):
            see(batch)
    except KeyboardInterrupt:
        click.echo(err=True)
    finally:
        ending()
        if keeper is not None:
            counts = since(before, keeper.stop())
            for count in counts:
                tell_counts(count)
            outputs.tell_lost(counts)
    return keeper is not None and keeper.tampered


def since(before: Sequence[EventCounts], now: Sequence[EventCounts]) -> list[EventCounts]:
    """What was counted meanwhile; where a probe was put in anew, all that it counted."""
    earlier = {count.event: count for count in before}
    found = []
    for count in now:
        old = earlier.get(count.event)
        if old is None or old.seen > count.seen:
            found.append(count)
            continue
        names = [name for name in count.__struct_fields__ if name != "event"]
        changes = {name: max(0, getattr(count, name) - getattr(old, name)) for name in names}
        found.append(msgspec.structs.replace(count, **changes))
    return found


def tell_counts(count: EventCounts) -> None:
    """Nothing is lost silently, and nobody goes unanswered silently."""
    if count.lost:
        click.echo(f"lost: {count.lost:,} of {count.seen:,} {count.event}: the ring was full", err=True)
    if count.unanswered:
        click.echo(
            f"unanswered: {count.unanswered:,} of {count.asked:,} {count.event}: decided by the rules' fallback",
            err=True,
        )


def line(event: Event) -> str:
    """One event for a person."""
    who = (
        f"{event.time_ns / 1e9:12.6f}  {event.event:<16} {event.pid:>6} {event.uid:>5} {cell(event.name):<15}"
    )
    verdict = "" if event.verdict == "allowed" else f"  {event.verdict.upper()} by rule {event.rule}"
    return f"{who} {detail(event)}{verdict}".rstrip()


DONE = {
    **{"log": "told", "deny": "DENIED", "kill": "KILLED", "suspend": "SUSPENDED"},
    **{"quarantine": "IN QUARANTINE", "ask": "asked"},
}


def detection_line(detection: Detection) -> str:
    """One detection for a person."""
    event, rule = detection.event, detection.rule
    what = DONE.get(detection.verb, detection.verb)
    if detection.verb == "ask":
        what = {"allowed": "allowed", "denied": "DENIED", "killed": "KILLED"}.get(event.verdict, "asked")
    if detection.done == "would":
        what = f"would {detection.verb}"
    elif detection.done == "failed":
        what = f"could not {detection.verb}: {detection.reason}"
    words = [f"{event.time_ns / 1e9:12.6f}  {rule.severity:<13} {what:<13} {rule.title}:"]
    words.append(f"{event.event} by {event.name} (pid {event.pid}, uid {event.uid}) {detail(event)}".rstrip())
    if rule.attack:
        words.append(f"[{' '.join(rule.attack)}]")
    if detection.suppressed:
        words.append(f"(and {detection.suppressed:,} before, not told)")
    return cell(" ".join(words))


def detail(event: Event) -> str:
    """The object of an event."""
    words = object_words(event)
    if event.new_uid is not None and event.event == "process.setuid":
        words.append(f"uid {event.new_uid} euid {event.new_euid}")
    if event.cut:
        words.append("(cut)")
    return cell(" ".join(words))
