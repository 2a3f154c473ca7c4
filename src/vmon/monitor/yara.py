"""YARA rules are compiled and run by yara-x, an optional extra: this is its only door.

Reads files of rules of the host. What rules are run on comes from the guest and goes into yara-x, which is written in
a memory-safe language, as bytes; a time limit bounds each scan.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vmon.core.errors import NotSupported, RulesError, UsageError

MAX_MATCHES = 1000
"""Of one pattern in one window."""
TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class Hit:
    """One rule that matched one window of memory."""

    rule: str
    namespace: str
    tags: list[str]
    meta: dict[str, str | int | float | bool]
    matches: list[tuple[str, int, int, int | None]]
    """Pattern, offset, length, xor key of each match; empty where the rule names no pattern."""
    cut: bool
    """Whether a pattern matched more than MAX_MATCHES times."""


class Rules:
    """Compiled rules, ready to run. Not for several threads."""

    def __init__(self, scanner: Any, timeout: type[Exception], failed: type[Exception]) -> None:
        self._scanner = scanner
        self._timeout = timeout
        self._failed = failed

    def scan(self, data: bytes) -> list[Hit] | None:
        """Rules that match; None where it took too long or yara-x gave up."""
        try:
            found = self._scanner.scan(data)
        except (self._timeout, self._failed):
            return None
        return [_hit(rule) for rule in found.matching_rules]


def _hit(rule: Any) -> Hit:
    matches: list[tuple[str, int, int, int | None]] = []
    cut = False
    for pattern in rule.patterns:
        own = [(pattern.identifier, match.offset, match.length, match.xor_key) for match in pattern.matches]
        cut = cut or len(own) >= MAX_MATCHES
        matches += own
    meta = {
        name: value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
        for name, value in rule.metadata
    }
    return Hit(rule.identifier, rule.namespace, list(rule.tags), meta, matches, cut)


def compile_rules(files: Sequence[str | Path], *, includes: bool = True) -> Rules:
    """Compile files of rules, each in a namespace of its own name.

    Without `includes` no rule brings in another file: for rules of somebody who may not read this host.
    NotSupported when yara-x is not installed, RulesError with file and line for a rule that makes no sense, UsageError
    for a file that can't be read. Some milliseconds for a few rules, a second for thousands.
    """
    try:
        yara = importlib.import_module("yara_x")
    except ImportError as error:
        raise NotSupported(
            "scanning by YARA rules needs yara-x, which is not installed", hint="pip install 'vmon[yara]'"
        ) from error
    compiler = yara.Compiler()
    compiler.enable_includes(includes)
    for file in files:
        path = Path(file)
        try:
            text = path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise UsageError(f"the rules {path} can't be read: {why}") from error
        compiler.new_namespace(path.stem)
        try:
            compiler.add_source(text, origin=str(path))
        except yara.CompileError as error:
            raise _refused(path, compiler.errors(), error) from error
    scanner = yara.Scanner(compiler.build())
    scanner.set_timeout(TIMEOUT_S)
    scanner.max_matches_per_pattern(MAX_MATCHES)
    return Rules(scanner, yara.TimeoutError, yara.ScanError)


def _refused(path: Path, errors: Sequence[dict[str, Any]], error: Exception) -> RulesError:
    if not errors:
        return RulesError(f"{path}: {error}")
    first = errors[0]
    title, line, column = first.get("title", str(error)), first.get("line"), first.get("column")
    labels = [label.get("text", "") for label in first.get("labels", ()) if label.get("text")]
    place = f"{path}:{line}:{column}" if line else str(path)
    more = f"; {len(errors) - 1} more errors" if len(errors) > 1 else ""
    return RulesError(f"{place}: {title}{more}", hint=labels[0] if labels else "")
