from __future__ import annotations

import pytest

from tests.unit.tui.fake import frame
from vmon.core.records.machine import LoadRecord
from vmon.tui.header import NOTHING_LACKS, bar, header_lines
from vmon.tui.line import Line, length
from vmon.tui.rates import Rates


def said(lines: list[Line]) -> list[str]:
    return ["".join(text for text, _ in line) for line in lines]


def test_what_is_known() -> None:
    rates = Rates()
    rates.look(frame(at_s=100.0))
    rates.look(frame(at_s=101.0))
    who, cpus, memory, lacks = said(header_lines(frame(at_s=101.0), rates, 80))
    assert who == "web1  lab:web1  Linux 6.1.0-test  up 1:41  load 0.50 0.25 0.00"
    assert "50%]" in cpus
    assert "10%]" in cpus
    assert "128M/512M" in memory
    assert "5 tasks, 8 thr, 1 kthr: 4S" in memory
    assert lacks == NOTHING_LACKS


def test_what_is_not_known_is_said() -> None:
    load = LoadRecord(uptime_ns=None, load_1=None, load_5=None, load_15=None, cpus=[], busy=[])
    nothing = frame(
        hostname="\x1b[2J",
        load=load,
        memory_total=None,
        memory_used=None,
        missing=["cmdline: torn in 3", "a\nb"],
    )
    who, cpus, memory, lacks = said(header_lines(nothing, Rates(), 200))
    assert who == "\\x1b[2J  lab:web1  Linux 6.1.0-test"
    assert cpus == "CPU  not known"
    assert memory.startswith("Mem  not known")
    assert lacks == "not seen: cmdline: torn in 3; a\\nb"


def test_a_problem_stands_in_place_of_that() -> None:
    lines = said(header_lines(frame(missing=["x"]), Rates(), 80, "it \x1breboots", 65.0))
    assert lines[-1] == "not read for 1:05: it \\x1breboots"


@pytest.mark.parametrize("cpus", [1, 2, 4, 8, 9, 64, 4096])
@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_any_number_of_cpus_fits_any_screen(cpus: int, columns: int) -> None:
    load = LoadRecord(
        uptime_ns=1, load_1=0.0, load_5=0.0, load_15=0.0, cpus=list(range(cpus)), busy=[0.0] * cpus
    )
    lines = header_lines(frame(load=load), Rates(), columns)
    assert all(length(line) <= columns for line in lines)
    assert len(lines) <= 3 + 8


def test_a_bar_has_its_length_whatever_the_value() -> None:
    for value in (-1.0, 0.0, 0.33, 1.0, 7.0):
        assert length(bar("CPU0", value, "99%", 30)) == 30
