from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from click.testing import CliRunner

from tests.unit.export.told import NOTICES, ORIGIN, event
from vmon.cli.outputs import METRICS, PLACES, Outputs, output_options, said_of
from vmon.core.errors import UsageError
from vmon.core.events import EventCounts
from vmon.core.records.output import OutputRecord
from vmon.export.metrics import Metrics
from vmon.sinks.places import open_place, read_place


@click.command()
@output_options
@click.pass_context
def command(context: click.Context) -> None:
    for place in context.meta.get(PLACES, []):
        click.echo(f"{place.form} {place.name}")
    click.echo(context.meta.get(METRICS))


def run(*arguments: str) -> Any:
    return CliRunner().invoke(command, arguments, catch_exceptions=False)


def test_options() -> None:
    said = run("--to", "file:a", "--to", "ecs=https://h/in", "--metrics", "127.0.0.1:9464").output
    assert said == "jsonl file:a\necs https://h/in\n('127.0.0.1', 9464)\n"
    assert run("--metrics", "[::1]:0").output == "('::1', 0)\n"
    assert run().output == "\n"
    assert run("--journal", "a?b", "--to", "file:c").output in (
        "jsonl journal:a%3Fb\njsonl file:c\n\n",
        "jsonl file:c\njsonl journal:a%3Fb\n\n",
    )


@pytest.mark.parametrize("arguments", [("--to", "x"), ("--metrics", "9464"), ("--metrics", "h:99999")])
def test_options_that_make_no_sense(arguments: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        run(*arguments)


def test_all_of_it_goes_everywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    queues = [open_place(read_place(f"{form}=file:{tmp_path}/{form}")) for form in ("jsonl", "ecs")]
    metrics = Metrics()
    outputs = Outputs(lambda: ORIGIN, queues, metrics)
    outputs.put(event())
    outputs.put(NOTICES[0])
    assert [found.delivered for found in outputs.close()] == [2, 2]
    assert "to file:" in capsys.readouterr().err
    assert (tmp_path / "ecs").read_text().count("\n") == 2
    assert b'vmon_notices_total{notice="vmon.rebooted",vm="lab:web1"} 1.0' in metrics.exposition()[0]


def counts(lost: int) -> list[EventCounts]:
    return [EventCounts(event="file.open", seen=9, lost=lost, denied=0, asked=0, unanswered=0)]


def test_what_the_ring_lost_is_told_to_every_output(tmp_path: Path) -> None:
    queue = open_place(read_place(f"file:{tmp_path}/a"))
    metrics = Metrics()
    outputs = Outputs(lambda: ORIGIN, [queue], metrics)
    stream = SimpleNamespace(took=None)
    outputs.follow(SimpleNamespace(stream=stream, counts=lambda: counts(2)))  # type: ignore[arg-type]
    stream.took(0.001)
    assert b'vmon_read_seconds_count{vm="lab:web1"} 1.0' in metrics.exposition()[0]
    outputs.tell_lost([*counts(2), *counts(0)])
    outputs.close()
    found = [json.loads(line)["said"] for line in (tmp_path / "a").read_text().splitlines()]
    assert found == ["2 of 9 file.open are missing: the ring was full"]


def test_totals_for_a_person() -> None:
    record = OutputRecord(name="hook", format="ecs", taken=9, delivered=1234, retried=0, dropped=0, waiting=0)
    assert said_of(record) == "to hook: 1,234 delivered"
    record = OutputRecord(
        name="hook", format="ecs", taken=9, delivered=5, retried=2, dropped=3, waiting=0, last_error="500"
    )
    assert said_of(record) == "to hook: 5 delivered, 2 tries more, 3 DROPPED (500)"
