"""Sigma rules are read by pySigma, an optional extra: this is its only door, and that of its expressions, RE2.

Imported when it is asked for, which takes some 100 ms. pySigma bounds what aliases in a file expand to. What
expressions are run on comes from the guest: RE2 takes time in proportion to the text, whatever the expression, which
Python's own does not.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

from vmon.core.errors import NotSupported

MAX_SEARCHED = 8192
"""Of a text an expression sees no more than so many characters; the probe records half of that."""


MODULES = (
    "rule.base",
    "rule.detection",
    "rule.logsource",
    "collection",
    "conditions",
    "correlations",
    "exceptions",
    "filters",
    "types",
)


class Pysigma(NamedTuple):
    """MODULES, in their order."""

    base: ModuleType
    detection: ModuleType
    logsource: ModuleType
    collection: ModuleType
    conditions: ModuleType
    correlations: ModuleType
    exceptions: ModuleType
    filters: ModuleType
    types: ModuleType


@cache
def pysigma() -> Pysigma:
    """pySigma. NotSupported where it is not installed."""
    try:
        found = [importlib.import_module(f"sigma.{name}") for name in MODULES]
    except ImportError as error:
        raise NotSupported(
            f"Sigma rules are read by pySigma, which can't be loaded: {error}",
            hint="pip install 'vmon[sigma]'",
        ) from error
    return Pysigma(*found)


def search_of(expression: str, flags: str) -> Callable[[object], bool]:
    """Whether an expression is found in a value; `flags` are some of i, m and s. ValueError for one that is none."""
    re2: Any = importlib.import_module("re2")  # comes with pySigma
    try:
        search = re2.compile((f"(?{flags})" if flags else "").encode() + expression.encode()).search
    except (re2.error, UnicodeEncodeError) as error:
        raise ValueError(str(error)) from error
    # Bytes of the guest that are no UTF-8 would end what a dot fits; as question marks they don't.
    return lambda value: search(str(value)[:MAX_SEARCHED].encode("utf-8", "replace")) is not None


def words_of(words: Sequence[str]) -> Callable[[str], Sequence[int]]:
    """Which of these words stand in a text, by their numbers and in no order: at once, in a microsecond for 1,000."""
    re2: Any = importlib.import_module("re2")
    options = re2.Options()
    options.literal = True
    options.log_errors = False
    found = re2.Set.SearchSet(options)
    for word in words:
        found.Add(word.encode("utf-8", "replace"))
    found.Compile()
    return lambda text: found.Match(text.encode("utf-8", "replace"))
