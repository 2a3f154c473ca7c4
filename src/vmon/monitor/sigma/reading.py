"""A folder of Sigma rules is read file by file; what can't be judged here is kept with its place and its reason.

Reads files of the host. A file that is no YAML is told and the others are read; a rule that is not understood whole is
not put in force. Rules come from their authors and files may be anybody's, so sizes and numbers are bounded.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from vmon.core.detection import RuleInfo, Severity
from vmon.core.errors import UsageError
from vmon.core.records.sigma import SigmaRuleRecord, SigmaState
from vmon.monitor.sigma.door import Pysigma, pysigma
from vmon.monitor.sigma.info import SEVERITIES, UNSAID, info_of
from vmon.monitor.sigma.taxonomy import Unsupported, sources_of
from vmon.monitor.sigma.translate import condition_of, joined
from vmon.policy.condition import ALWAYS, AllOf, compiled
from vmon.policy.rule import HostRule

ENDINGS = (".yml", ".yaml")
MAX_FILES = 50_000
MAX_FILE_BYTES = 1 << 20
GIVEN_UP = ("deprecated", "unsupported")
"""Statuses by which an author says that a rule is not to be used."""
TAXONOMIES = ("sigma", "ecs")


@dataclass(frozen=True, slots=True)
class SigmaRules:
    """What a folder holds."""

    rules: tuple[HostRule, ...]
    """Those in force; a Sigma rule may be several, one for each kind of event it is about."""
    records: tuple[SigmaRuleRecord, ...]
    """Every rule, and every file that is none."""

    def count(self, *states: SigmaState) -> int:
        """How many are in one of these states."""
        return sum(record.state in states for record in self.records)


@dataclass(frozen=True, slots=True)
class _Read:
    """A rule as it was read: pySigma's object, or why there is none."""

    place: str
    rule: Any = None
    problem: str = ""


def read_sigma(path: Path, level: Severity | None = None) -> SigmaRules:
    """The rules of a file, or of a folder and those below it (.yml, .yaml); with `level` those that are as severe, or
    more. About a millisecond a rule.

    UsageError for what can't be opened or holds no file of rules, NotSupported where pySigma is not installed.
    """
    sigma = pysigma()
    read = [found for file in _files(path) for found in _read_file(file, sigma)]
    rules: list[HostRule] = []
    records = []
    for found in _filtered(read, sigma):
        own, record = _judge(found, level, sigma)
        rules += own
        records.append(record)
    return SigmaRules(tuple(rules), tuple(records))


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UsageError(
            f"{path}: no such file or folder", hint="--sigma takes a file or a folder of Sigma rules"
        )
    found = []
    for folder, folders, names in os.walk(path):
        folders.sort()
        found += [Path(folder) / name for name in sorted(names) if name.endswith(ENDINGS)]
        if len(found) > MAX_FILES:
            raise UsageError(f"{path}: more than {MAX_FILES:,} files of rules")
    if not found:
        raise UsageError(f"{path}: no file of rules in it", hint="Sigma rules are in files named *.yml")
    return found


def _read_file(path: Path, sigma: Pysigma) -> Iterator[_Read]:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            yield _Read(f"{path}:1", problem=f"it is larger than {MAX_FILE_BYTES >> 20} MiB")
            return
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        yield _Read(f"{path}:1", problem=f"it can't be read: {error.strerror}")
        return
    except UnicodeDecodeError as error:
        yield _Read(f"{path}:1", problem=f"it is no text: byte {error.start} is not UTF-8")
        return
    yield from read_text(text, str(path), sigma)


def read_text(text: str, file: str, sigma: Pysigma) -> list[_Read]:
    """The rules of one file. What is wrong with its YAML ends it, and is told with its line."""
    documents: list[tuple[int, Any]] = []
    broken: list[_Read] = []
    line = 1
    try:
        loader = sigma.base.SigmaYAMLLoader(text)
        while loader.check_node():
            node = loader.get_node()
            line = node.start_mark.line + 1
            documents.append((line, loader.construct_document(node)))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else line
        broken.append(_Read(f"{file}:{line}", problem=f"it is no YAML: {error.problem}"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        broken.append(_Read(f"{file}:{line}", problem=f"it is no YAML: {error}"))
    if any(isinstance(document, dict) and "action" in document for _, document in documents):
        return [*_together(documents, file, sigma), *broken]
    each = [
        _parsed([document], f"{file}:{line}", sigma) for line, document in documents if document is not None
    ]
    return [*(found for some in each for found in some), *broken]


def _together(documents: list[tuple[int, Any]], file: str, sigma: Pysigma) -> list[_Read]:
    """Documents of the old form that share parts: `action: global`."""
    lines = [
        line
        for line, document in documents
        if isinstance(document, dict) and document.get("action") in (None, "repeat")
    ]
    found = _parsed([document for _, document in documents], f"{file}:1", sigma)
    if len(found) != len(lines):
        return found
    return [replace(one, place=f"{file}:{line}") for one, line in zip(found, lines, strict=True)]


def _parsed(documents: list[Any], place: str, sigma: Pysigma) -> list[_Read]:
    if not all(isinstance(document, dict) or document is None for document in documents):
        return [_Read(place, problem="it is no Sigma rule: it has no fields")]
    if not any(
        word in document
        for document in documents
        if document
        for word in ("detection", "correlation", "filter")
    ):
        return [_Read(place, problem="it is no Sigma rule: it has no detection")]
    for document in documents:
        if document and "id" in document:
            document["id"] = str(document["id"])  # a number would not be complained of, but broken by
    try:
        collection = sigma.collection.SigmaCollection.from_dicts(
            documents, collect_errors=True, collect_filters=True, resolve_references=False
        )
    except (
        sigma.exceptions.SigmaError,
        ValueError,
        TypeError,
        AttributeError,
        KeyError,
        RecursionError,
    ) as error:
        return [_Read(place, problem=f"it is no Sigma rule: {said(error)}")]
    rules = [*collection.rules, *collection.filters]
    if not rules:
        return [
            _Read(place, problem=f"it is no Sigma rule: {', '.join(map(said, collection.errors)) or 'empty'}")
        ]
    return [_Read(place, rule) for rule in rules]


def _filtered(read: list[_Read], sigma: Pysigma) -> Iterator[_Read]:
    """Rules with the filters of all files upon them; of filters those that are broken."""
    filters = [
        one.rule for one in read if isinstance(one.rule, sigma.filters.SigmaFilter) and not one.rule.errors
    ]
    for one in read:
        if isinstance(one.rule, sigma.filters.SigmaFilter):
            if one.rule.errors:
                yield _Read(one.place, problem=f"a filter that is none: {_errors(one.rule)}")
            continue
        narrowed = (
            filters
            and one.rule is not None
            and not isinstance(one.rule, sigma.correlations.SigmaCorrelationRule)
        )
        if narrowed and not _senseless(one.rule, sigma):
            try:
                whole = sigma.collection.SigmaCollection([one.rule, *filters], resolve_references=False)
            except (sigma.exceptions.SigmaError, TypeError, ValueError) as error:
                yield _Read(one.place, problem=f"no filter can be put upon it: {said(error)}")
                continue
            one = replace(one, rule=whole.rules[0])
        yield one


def _judge(read: _Read, level: Severity | None, sigma: Pysigma) -> tuple[list[HostRule], SigmaRuleRecord]:
    if read.rule is None:
        return [], _record(RuleInfo(title="", source=read.place, severity=UNSAID), "unreadable", read.problem)
    info = info_of(read.rule, read.place)
    try:
        rules = _host_rules(read.rule, info, sigma)
    except Unsupported as error:
        return [], _record(info, "unsupported", str(error))
    if level is not None and SEVERITIES.index(info.severity) < SEVERITIES.index(level):
        return [], _record(info, "below level", f"its level is {info.severity}")
    return rules, _record(info, "in force", "", sorted({event for rule in rules for event in rule.events}))


def _host_rules(rule: Any, info: RuleInfo, sigma: Pysigma) -> list[HostRule]:
    """A rule for each kind of event that its log source is. Unsupported says why there is none."""
    if isinstance(rule, sigma.correlations.SigmaCorrelationRule):
        raise Unsupported(
            "a correlation counts what other rules found, and here each event is judged by itself"
        )
    if _senseless(rule, sigma):
        raise Unsupported(_errors(rule))
    if "timeframe" in rule.detection.detections:
        raise Unsupported("a timeframe joins several events, and here each is judged by itself")
    status = str(rule.status or "").lower()
    if status in GIVEN_UP:
        raise Unsupported(f"its author says that it is {status}")
    if rule.taxonomy not in TAXONOMIES:
        raise Unsupported(f"its fields are those of the taxonomy {rule.taxonomy}")
    sources = sources_of(rule.logsource.category, rule.logsource.product, rule.logsource.service)
    found = []
    try:
        trees = [condition.parsed for condition in rule.detection.parsed_condition]
        for source in sources:
            whole = joined([condition_of(tree, source) for tree in trees])
            condition = whole if source.condition is ALWAYS else AllOf((source.condition, whole))
            compiled(condition)
            found.append(HostRule(info=info, events=source.events, condition=condition))
    except UsageError as error:
        raise Unsupported(error.message) from error
    except (sigma.exceptions.SigmaError, RecursionError, TypeError, ValueError) as error:
        raise Unsupported(said(error)) from error
    return found


def _senseless(rule: Any, sigma: Pysigma) -> bool:
    """Whether what pySigma complains of touches what the rule finds, or how severe that is: a bad date does not."""
    if not rule.errors:
        return False
    detection, source = rule.detection, rule.logsource
    empty = isinstance(detection, sigma.detection.EmptySigmaDetections) or isinstance(
        source, sigma.logsource.EmptyLogSource
    )
    return empty or any(isinstance(error, sigma.exceptions.SigmaLevelError) for error in rule.errors)


def said(error: Exception) -> str:
    """An error of pySigma in one line, without the place, which is known."""
    text = str(error.args[0]) if error.args else type(error).__name__
    return " ".join(text.split())


def _errors(rule: Any) -> str:
    return "; ".join(dict.fromkeys(map(said, rule.errors)))


def _record(info: RuleInfo, state: SigmaState, reason: str, events: Iterable[str] = ()) -> SigmaRuleRecord:
    return SigmaRuleRecord(
        source=info.source,
        state=state,
        reason=reason,
        title=info.title,
        id=info.id,
        severity=info.severity,
        attack=list(info.attack),
        events=list(events),
    )
