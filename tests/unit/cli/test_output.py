from __future__ import annotations

import csv
import io
import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.cli.conftest import Run
from tests.unit.kernel.fuzz import steady
from vmon.cli import output
from vmon.cli.output import cell, human_size, repeat, write_table
from vmon.core.records.process import ProcessRecord
from vmon.core.text import guest_text

LISTS = [("ps",), ("files", "42"), ("sockets",), ("sockets", "1"), ("maps", "42"), ("env", "1")]
FORMS = pytest.mark.parametrize("arguments", LISTS, ids=" ".join)


def controls(text: str) -> list[str]:
    return [char for char in text if unicodedata.category(char) in ("Cc", "Cs") and char != "\n"]


@FORMS
def test_a_table_has_a_line_a_record_and_no_control_characters(run: Run, arguments: tuple[str, ...]) -> None:
    command, *rest = arguments
    table = run(command, "x", *rest)
    records = json.loads(run(command, "x", *rest, "-o", "json").stdout)["records"]
    assert table.exit_code == 0
    assert not controls(table.stdout)
    assert table.stdout.count("\n") == len(records) + (command != "env")


@FORMS
def test_json_jsonl_and_csv_say_the_same(run: Run, arguments: tuple[str, ...]) -> None:
    command, *rest = arguments
    whole = json.loads(run(command, "x", *rest, "-o", "json").stdout)["records"]
    assert isinstance(whole, list) and whole
    lines = run(command, "x", *rest, "-o", "jsonl").stdout.splitlines()
    assert [json.loads(line) for line in lines] == whole
    rows = list(csv.DictReader(io.StringIO(run(command, "x", *rest, "-o", "csv").stdout, newline="")))
    assert [row.keys() for row in rows] == [record.keys() for record in whole]
    for row, record in zip(rows, whole, strict=True):
        for name, value in record.items():
            wanted = "" if value is None else json.dumps(value) if isinstance(value, list) else str(value)
            got = json.dumps(json.loads(row[name])) if isinstance(value, list) else row[name]
            assert got == wanted, name


def test_names_are_escaped_for_people_and_kept_for_programs(run: Run) -> None:
    assert "\\xff\\x1b[31m\\n" in run("ps", "x").stdout
    names = [record["name"] for record in json.loads(run("ps", "x", "-o", "json").stdout)["records"]]
    assert names == ["init", "kthreadd", "worker", "defunct", "\\xff\x1b[31m\n"]


def test_json_has_every_field_of_a_record(run: Run) -> None:
    record = json.loads(run("ps", "x", "--pid", "42", "-o", "json").stdout)["records"][0]
    assert tuple(record) == ProcessRecord.__struct_fields__
    assert record["groups"] == [10, 20, 4_000_000_000]
    assert record["ipc_namespace"] is None


def test_an_empty_list_is_said_and_valid_in_every_form(run: Run) -> None:
    empty = run("files", "x", "2")
    assert empty.stdout.count("\n") == 1
    assert empty.stderr
    assert json.loads(run("files", "x", "2", "-o", "json").stdout)["records"] == []
    assert run("files", "x", "2", "-o", "jsonl").stdout == ""
    assert run("files", "x", "2", "-o", "csv").stdout.startswith("pid,fd,path")


def test_a_form_that_does_not_exist_is_refused(run: Run) -> None:
    assert run("ps", "x", "-o", "xml").exit_code == 2
    assert run("ps", "x", "--watch", "0").exit_code == 2


def test_repeating(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[float] = []

    class Enough(Exception):
        pass

    def sleep(seconds: float) -> None:
        done.append(seconds)
        if len(done) == 3:
            raise Enough

    monkeypatch.setattr(output.time, "sleep", sleep)
    calls: list[int] = []
    repeat(None, lambda: calls.append(1))
    assert (len(calls), done) == (1, [])
    with pytest.raises(Enough):
        repeat(2.5, lambda: calls.append(1))
    assert (len(calls), done) == (4, [2.5] * 3)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        (True, "yes"),
        (False, "no"),
        (5, "5"),
        ("", ""),
        ("a\x1bb", "a\\x1bb"),
        ("\udcff", "\\xff"),
    ],
)
def test_cells(value: object, shown: str) -> None:
    assert cell(value) == shown


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (None, None),
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (3 << 19, "1.5 MiB"),
        (1 << 50, "1048576.0 GiB"),
    ],
)
def test_sizes_for_people(size: int | None, shown: str | None) -> None:
    assert human_size(size) == shown


def test_columns_are_as_wide_as_their_widest_and_numbers_stand_right(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_table(("N", "NAME", "X"), [(5, "日本", "a"), (1000, "ab", "b"), (None, None, None)])
    assert capsys.readouterr().out.splitlines() == [
        "   N  NAME  X",
        "   5  日本  a",
        "1000  ab    b",
        "   -  -     -",
    ]


def test_on_a_terminal_lines_end_at_its_edge(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(output.sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "20")
    write_table(("A", "B"), [("x", "y" * 100)])
    line = capsys.readouterr().out.splitlines()[1]
    assert line == "x  " + "y" * 16 + "…"


@steady(60)
@given(
    st.lists(
        st.lists(st.one_of(st.none(), st.integers(), st.binary(max_size=12)), min_size=2, max_size=2),
        max_size=5,
    )
)
def test_any_cells_make_a_table_without_control_characters(rows: list[list[object]]) -> None:
    shown = [[guest_text(value) if isinstance(value, bytes) else value for value in row] for row in rows]
    buffer = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(output.sys, "stdout", buffer)
        write_table(("A", "B"), shown)
    text = buffer.getvalue()
    assert text.count("\n") == len(rows) + 1
    assert not controls(text)


@pytest.mark.parametrize(
    ("name", "value", "bold"), [("NO_COLOR", "1", False), ("NO_COLOR", "", True), ("TERM", "dumb", False)]
)
def test_nothing_is_bold_where_that_is_not_wanted(
    name: str, value: str, bold: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv(name, value)
    monkeypatch.setattr(output.sys.stdout, "isatty", lambda: True)
    output.write_table(("PID",), [(1,)])
    assert ("\x1b[1m" in capsys.readouterr().out) is bold
