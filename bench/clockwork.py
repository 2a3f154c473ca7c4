"""Where the time goes: functions of vmon are wrapped with clocks for a few rounds, then put back.

Names are looked up as they are written; one that is gone is left out, so a changed inside does not break the
benchmark. Times are inclusive. The clocks cost 0.3 us a call: series of whole jobs are measured without them.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from bench.series import Results


@contextmanager
def clocks(names: Mapping[str, str]) -> Iterator[dict[str, int]]:
    """Nanoseconds spent in each function, by its label, while inside."""
    spent: dict[str, int] = defaultdict(int)
    undo: list[tuple[Any, str, Any]] = []
    try:
        for label, dotted in names.items():
            found = _find(dotted)
            if found is None:
                continue
            owner, attribute = found
            original = inspect.getattr_static(owner, attribute)
            undo.append((owner, attribute, original))
            setattr(owner, attribute, _clocked(original, label, spent))
        yield spent
    finally:
        for owner, attribute, original in reversed(undo):
            setattr(owner, attribute, original)


def stage_series(
    results: Results,
    job: str,
    kernel: str,
    names: Mapping[str, str],
    work: Callable[[], object],
    rounds: int,
    before: Callable[[], object] | None = None,
) -> None:
    """One series a stage: milliseconds of it in one round of the job. Nothing where stages are not asked for."""
    if not results.stages:
        return
    values: dict[str, list[float]] = {label: [] for label in names}
    for number in range(rounds + 1):
        if before is not None:
            before()
        with clocks(names) as spent:
            work()
        if number:
            for label, nanoseconds in spent.items():
                values[label].append(nanoseconds / 1e6)
    for label, numbers in values.items():
        if numbers and statistics.median(numbers) > 0:
            results.add(f"  {job}: {label}", "ms", kernel, numbers)


def _find(dotted: str) -> tuple[Any, str] | None:
    """The module or class that holds a name, and the name in it."""
    parts = dotted.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            owner: Any = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:-1]:
            owner = getattr(owner, part, None)
        return (owner, parts[-1]) if owner is not None and hasattr(owner, parts[-1]) else None
    return None


def _clocked(original: Any, label: str, spent: dict[str, int]) -> Any:
    clock = time.perf_counter_ns
    function = original
    if isinstance(original, staticmethod | classmethod):
        return type(original)(_clocked(original.__func__, label, spent))
    if isinstance(original, functools.cached_property):
        wrapped = functools.cached_property(_clocked(original.func, label, spent))
        wrapped.__set_name__(None, original.attrname)
        return wrapped
    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def generate(*args: Any, **words: Any) -> Iterator[Any]:
            steps = function(*args, **words)
            while True:
                start = clock()
                try:
                    item = next(steps)
                except StopIteration:
                    return
                finally:
                    spent[label] += clock() - start
                yield item

        return generate
    depth = 0

    @functools.wraps(function)
    def call(*args: Any, **words: Any) -> Any:
        nonlocal depth
        start = clock()
        depth += 1
        try:
            return function(*args, **words)
        finally:
            depth -= 1
            if not depth:
                spent[label] += clock() - start

    return call
