"""A series is one number of vmon on one kernel, measured often: median, spread, and the target where there is one.

Measures with the clock that only goes forward, after a round that does not count; the host's load is kept beside
the numbers, for on a shared machine a median without it says little.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field

UNIT_DIGITS = {"ms": 3, "s": 2, "MB": 1, "x": 2, "MB/s": 0, "instr": 0}


@dataclass(slots=True)
class Series:
    """One measured quantity. `target` is an upper bound in the same unit."""

    name: str
    unit: str
    kernel: str
    values: list[float] = field(default_factory=list)
    target: float | None = None
    note: str = ""
    cpu: float | None = None
    """Median of the CPU time, of this process and of those that it waited for; in `unit`."""

    def share(self, part: float) -> float:
        """The value below which `part` of the values lie."""
        ordered = sorted(self.values)
        return ordered[min(len(ordered) - 1, round(part * (len(ordered) - 1)))]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def verdict(self) -> str:
        """Whether the median keeps the target."""
        if self.target is None or not self.values:
            return ""
        return "ok" if self.median <= self.target else "OVER"

    def summary(self) -> dict[str, object]:
        """What is written as JSON."""
        numbers: dict[str, object] = {"median": None, "p10": None, "p90": None, "best": None}
        if self.values:
            numbers = {
                "median": self.median,
                "p10": self.share(0.1),
                "p90": self.share(0.9),
                "best": min(self.values),
            }
        return {
            **{name: value for name, value in asdict(self).items() if name != "values"},
            **numbers,
            "n": len(self.values),
            "verdict": self.verdict,
        }


class Spans(list[float]):
    """Wall-clock times, and the CPU times that went into them: what a busy host stretches, and what it does not."""

    def __init__(self, values: Iterable[float] = (), cpu: Iterable[float] = ()) -> None:
        super().__init__(values)
        self.cpu = list(cpu)

    def scaled(self, factor: float) -> Spans:
        """The same in another unit."""
        return Spans([value * factor for value in self], [value * factor for value in self.cpu])


class Results:
    """All series of a run; each is said as soon as it is there."""

    def __init__(self, say: Callable[[str], None], *, stages: bool = False) -> None:
        self.stages = stages
        """Whether to measure where the time goes, too."""
        self.series: list[Series] = []
        self.load_start = os.getloadavg()[0]
        self.say = say

    def add(
        self,
        name: str,
        unit: str,
        kernel: str,
        values: Iterable[float],
        target: float | None = None,
        note: str = "",
    ) -> Series:
        """Keep a series. One without values says in its note why."""
        cpu = statistics.median(values.cpu) if isinstance(values, Spans) and values.cpu else None
        series = Series(name, unit, kernel, list(values), target, note, cpu)
        self.series.append(series)
        self.say(_line(series))
        return series

    def host(self) -> dict[str, object]:
        """What the numbers were measured on."""
        return {
            "cpus": os.cpu_count(),
            "cpu": _cpu_model(),
            "python": platform.python_version(),
            "load_at_start": round(self.load_start, 2),
            "load_at_end": round(os.getloadavg()[0], 2),
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        }

    def as_json(self) -> str:
        """Everything, one object."""
        return json.dumps({"host": self.host(), "series": [s.summary() for s in self.series]}, indent=1)

    def as_table(self) -> str:
        """One line a series, kernels beside each other in the order they were measured."""
        names = list(dict.fromkeys(series.name for series in self.series))
        ordered = sorted(self.series, key=lambda series: names.index(series.name))
        head = (
            "series",
            "kernel",
            "median",
            "unit",
            "p10..p90",
            "best",
            "cpu",
            "n",
            "target",
            "",
            "",
        )
        rows = [head, *(_cells(series) for series in ordered)]
        widths = [max(len(row[at]) for row in rows) for at in range(len(head))]
        lines = []
        for row in rows:
            cells = [
                cell.rjust(width) if at in (2, 5, 6, 7, 8) else cell.ljust(width)
                for at, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            lines.append("  ".join(cells).rstrip())
        told = ", ".join(f"{name} {value}" for name, value in self.host().items())
        return "\n".join([*lines, "", told])


def cpu_ns() -> int:
    """CPU time of this process and of its ended children; those count in steps of the host's clock."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time_ns() + int((children.ru_utime + children.ru_stime) * 1e9)


ENOUGH_S = 15.0
FEWEST = 5


def measure_ms(work: Callable[[], object], count: int, before: Callable[[], object] | None = None) -> Spans:
    """Milliseconds of each of `count` calls; `before` runs before each, off the clock. The first call is left out.

    What is slow is measured fewer times: no more than 15 seconds, but five times at least.
    """
    gc.collect()
    deadline = time.monotonic() + ENOUGH_S
    spans = Spans()
    for number in range(count + 1):
        if before is not None:
            before()
        cpu_start, start = cpu_ns(), time.perf_counter_ns()
        kept = work()
        took, cpu_took = time.perf_counter_ns() - start, cpu_ns() - cpu_start
        del kept
        if number:
            spans.append(took / 1e6)
            spans.cpu.append(cpu_took / 1e6)
        if number >= FEWEST and time.monotonic() > deadline:
            break
    return spans


def _number(value: float, unit: str) -> str:
    return f"{value:,.{UNIT_DIGITS.get(unit, 2)}f}"


def _cells(series: Series) -> tuple[str, ...]:
    if not series.values:
        return (series.name, series.kernel, "-", series.unit, "", "", "", "0", "", "", series.note)
    unit = series.unit
    return (
        series.name,
        series.kernel,
        _number(series.median, unit),
        unit,
        f"{_number(series.share(0.1), unit)}..{_number(series.share(0.9), unit)}",
        _number(min(series.values), unit),
        "" if series.cpu is None else _number(series.cpu, unit),
        str(len(series.values)),
        "" if series.target is None else f"< {series.target:g}",
        series.verdict,
        series.note,
    )


def _line(series: Series) -> str:
    cells = _cells(series)
    target = f" (target {cells[8]}: {cells[9]})" if cells[8] else ""
    note = f"  {series.note}" if series.note else ""
    return f"{series.kernel:>6}  {series.name:<34} {cells[2]} {series.unit}{target}{note}"


def _cpu_model() -> str:
    with open("/proc/cpuinfo") as file:  # noqa: PTH123
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()
