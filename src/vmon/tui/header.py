"""The lines above the process table: which guest, how busy its CPUs and memory, its tasks, and what could not be seen.

Pure.
"""

from __future__ import annotations

from collections import Counter

from vmon.tui.line import Line, Part, cut_line, length
from vmon.tui.rates import Rates
from vmon.tui.source import Frame
from vmon.tui.words import clean, cut, size, span

BARS_AT_MOST = 8
"""More CPUs than that are a block each."""
LEAST_BAR = 20
BLOCKS = " ▁▂▃▄▅▆▇█"
HOT, WARM = 0.85, 0.5
NOTHING_LACKS = "nothing is missing here; what hides from the task list: press c to look for it"


def header_lines(
    frame: Frame, rates: Rates, columns: int, problem: str = "", stale_s: float = 0.0
) -> list[Line]:
    """All of them; `problem` says why the guest can't be read now, `stale_s` how old the frame is."""
    lines = [_who(frame, rates)]
    lines += _cpus(frame, rates, columns)
    lines.append(_memory_and_tasks(frame, columns))
    if problem:
        lines.append([(f"not read for {span(stale_s)}: ", "bad"), (clean(problem), "bad")])
    elif frame.missing:
        lines.append([("not seen: ", "warn"), (clean("; ".join(frame.missing)), "warn")])
    else:
        lines.append([(NOTHING_LACKS, "dim")])
    return [cut_line(line, columns) for line in lines]


def _who(frame: Frame, rates: Rates) -> Line:
    load = frame.load
    line: Line = [
        (clean(frame.hostname) or "?", "bold"),
        (f"  {clean(frame.target)}  Linux {clean(frame.release)}", ""),
    ]
    if load.uptime_ns is not None:
        line.append((f"  up {span(load.uptime_ns / 1e9)}", ""))
    if rates.clock.stands_still:
        line.append(("  its clock stands still", "warn"))
    if load.load_1 is not None:
        line.append((f"  load {load.load_1:.2f} {load.load_5:.2f} {load.load_15:.2f}", ""))
    return line


def _cpus(frame: Frame, rates: Rates, columns: int) -> list[Line]:
    numbers = frame.load.cpus
    busy = rates.busy if len(rates.busy) == len(numbers) else [0.0] * len(numbers)
    if not numbers:
        return [[("CPU  not known", "dim")]]
    if len(numbers) > BARS_AT_MOST:
        mean = sum(busy) / len(busy)
        blocks = "".join(BLOCKS[round(value * (len(BLOCKS) - 1))] for value in busy)
        return [
            [
                ("CPU ", "key"),
                (f"{len(busy)}, {mean * 100:.0f}% of all  ", ""),
                (cut(blocks, columns - 24), _heat(mean)),
            ]
        ]
    a_row = max(1, min(len(numbers), columns // (LEAST_BAR + 2), 4))
    room = columns // a_row - 2
    lines: list[Line] = []
    for at in range(0, len(numbers), a_row):
        line: Line = []
        for number, value in list(zip(numbers, busy, strict=True))[at : at + a_row]:
            line += [*bar(f"CPU{number}", value, f"{value * 100:.0f}%", room), ("  ", "")]
        lines.append(line)
    return lines


def _heat(value: float) -> Part:
    return "bad" if value >= HOT else "warn" if value >= WARM else "good"


def bar(name: str, value: float, said: str, columns: int) -> Line:
    """`name[||||   said]` in so many columns."""
    room = max(columns - len(name) - 2 - len(said), 0)
    filled = round(room * min(max(value, 0.0), 1.0))
    return [
        (name, "key"),
        ("[", "bold"),
        ("|" * filled, _heat(value)),
        (" " * (room - filled) + said, ""),
        ("]", "bold"),
    ]


def _memory_and_tasks(frame: Frame, columns: int) -> Line:
    line: Line = []
    if frame.memory_total and frame.memory_used is not None:
        said = f"{size(frame.memory_used)}/{size(frame.memory_total)}"
        line += bar("Mem ", frame.memory_used / frame.memory_total, said, max(LEAST_BAR + 4, columns // 3))
    else:
        line.append(("Mem  not known", "dim"))
    kernel = sum(row.kernel_thread for row in frame.rows)
    threads = sum(row.threads for row in frame.rows if not row.kernel_thread)
    states = Counter(row.state for row in frame.rows)
    told = " ".join(
        f"{count}{clean(state)}" for state, count in sorted(states.items(), key=lambda item: -item[1])[:6]
    )
    line.append((f"  {len(frame.rows) - kernel} tasks, {threads} thr, {kernel} kthr: {told}", ""))
    assert length(line) > 0
    return line
