"""A policy is one YAML file: a mode and rules, the first that fits decides. All that is wrong is said, with its lines.

    mode: enforce                     # or observe, the default: tell what would be refused
    scope: {vm: lab:web*}             # every rule of the file is about these alone
    rules:
      - title: nobody but passwd touches the shadow file
        event: file.open              # or a list of events
        file.path: /etc/shadow        # a field, and a value or a list of them: any of them fits
        unless: {process.executable: /usr/bin/passwd}
        do: deny                      # allow, log, deny, kill, suspend, quarantine, ask
        errno: EACCES

Pure: text in, rules out. Fields are those of vmon.policy.fields, modifiers Sigma's (`file.path|startswith`) and glob. A
rule fits where all of its fields do, one mapping of `any` does, and none of `unless`.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

import msgspec
import yaml

from vmon.core.detection import RuleInfo, Verb
from vmon.core.rules import Fallback, errno_of
from vmon.policy.condition import Condition
from vmon.policy.fields import EVERY
from vmon.policy.lines import Mapping, Problems, items, mapping, nearest, parse, scalar
from vmon.policy.matches import Matches
from vmon.policy.rule import HostRule, Rate
from vmon.policy.words import LISTS, FileWords, Mode, RuleWords, seconds

MAX_TIMEOUT_S = 60.0
RULE_KEYS = tuple(RuleWords.__struct_fields__)
FILE_KEYS = (*FileWords.__struct_fields__, "scope", "rules")
TYPES: dict[type[msgspec.Struct], dict[str, Any]] = {
    of: {field.name: field.type for field in msgspec.structs.fields(of)} for of in (FileWords, RuleWords)
}
REFUSING = ("deny", "kill", "ask")


class PolicyRule(msgspec.Struct, frozen=True, kw_only=True):
    """One rule of a file."""

    info: RuleInfo
    """Its source is FILE:LINE."""
    events: tuple[str, ...]
    condition: Condition
    """That of the file's scope is part of it."""
    verb: Verb
    mode: Mode | None
    """None: that of the file."""
    vm: tuple[str, ...]
    """Patterns of targets, any of which it is for; all where there is none."""
    errno: int
    timeout_ms: int
    fallback: Fallback | None
    """None: it does not say."""
    rate: Rate | None

    def observed(self, mode: Mode) -> bool:
        """Whether it only tells, in a file of this mode."""
        return (self.mode or mode) == "observe"

    def on_host(self, mode: Mode) -> HostRule:
        """The rule as the host judges it."""
        return HostRule(
            self.info, frozenset(self.events), self.condition, self.verb, self.observed(mode), self.rate
        )


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """A policy that was read."""

    file: str
    title: str
    description: str
    mode: Mode
    vm: tuple[str, ...]
    """Patterns of targets that all of it is for."""
    rules: tuple[PolicyRule, ...]


def read_policy(text: str, file: str) -> Policy:
    """The policy that a file holds. PolicyError with each line of it that makes no sense."""
    problems = Problems(file)
    top = parse(text, problems)
    policy = _Reader(problems).policy(top) if top is not None else None
    problems.raise_any()
    assert policy is not None
    return policy


class _Reader:
    """Reads on where something is wrong, so that all of it is told at once."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._ids: dict[str, int] = {}
        self._matches = Matches(problems)

    def policy(self, top: Mapping) -> Policy | None:
        """The whole file; None where its problems were told."""
        for name in top.entries:
            if name not in FILE_KEYS:
                hint = nearest(name, FILE_KEYS) or f"there are {', '.join(FILE_KEYS)}"
                self._problems.add(top.line_of(name), f"unknown field {name!r}", hint)
        head = {name: self._word(top, name, FileWords) for name in FileWords.__struct_fields__}
        vm, scope = self._scope(top)
        listed = top.entries.get("rules")
        if not isinstance(listed, yaml.SequenceNode) or not listed.value:
            self._problems.add(
                top.lines.get("rules", 0), "no rules in it", "rules: is a list, an item a rule"
            )
            return None
        rules = [self._rule(node, scope) for node in listed.value]
        if self._problems.told:
            return None
        return Policy(
            file=self._problems.file,
            title=head["title"] or "",
            description=head["description"] or "",
            mode=head["mode"] or "observe",
            vm=vm,
            rules=tuple(rule for rule in rules if rule is not None),
        )

    def _scope(self, top: Mapping) -> tuple[tuple[str, ...], tuple[Condition, ...]]:
        if "scope" not in top.entries:
            return (), ()
        found = mapping(top.entries["scope"], self._problems, "scope:")
        if found is None:
            return (), ()
        vm = self._word(found, "vm", RuleWords) or ()
        return tuple(vm), self._matches.scope(found)

    def _rule(self, node: yaml.Node, scope: tuple[Condition, ...]) -> PolicyRule | None:
        found = mapping(node, self._problems, "a rule")
        if found is None:
            return None
        for name in found.entries:
            if name not in RULE_KEYS and name not in ("any", "unless") and "." not in name:
                hint = nearest(name, (*RULE_KEYS, "any", "unless", *self._matches.names))
                self._problems.add(found.line_of(name), f"unknown field {name!r}", hint)
        words = {name: self._word(found, name, RuleWords) for name in RULE_KEYS}
        events = self._events(found, words["event"] or ())
        if "do" not in found.entries:
            self._problems.add(found.line, "a rule says what is done", "do: log, deny, kill, ask...")
        condition = self._matches.of_rule(found, events, scope)
        self._once(found, words["id"])
        self._about_asking(found, words["do"])
        error = self._errno(found, words["errno"])
        timeout_s = seconds(words["timeout"]) if words["timeout"] else 1.0
        if not 0.001 <= timeout_s <= MAX_TIMEOUT_S:
            self._problems.add(found.line_of("timeout"), "a call can wait 1ms to 1m for its answer")
        if not events or not words["do"] or condition is None:
            return None
        return PolicyRule(
            info=RuleInfo(
                title=words["title"] or f"{words['do']} {', '.join(events)}",
                id=words["id"] or "",
                description=(words["description"] or "").strip(),
                severity=words["severity"] or "medium",
                attack=tuple(words["attack"] or ()),
                references=tuple(words["references"] or ()),
                tags=tuple(words["tags"] or ()),
                source=f"{self._problems.file}:{found.line}",
            ),
            events=events,
            condition=condition,
            verb=words["do"],
            mode=words["mode"],
            vm=tuple(words["vm"] or ()),
            errno=error,
            timeout_ms=max(1, round(timeout_s * 1000)),
            fallback=words["fallback"],
            rate=_rate(words["rate"]),
        )

    def _word(self, found: Mapping, name: str, of: type[RuleWords] | type[FileWords]) -> Any:
        """The value of a key by its type; None where it is not there, or its problem was told."""
        node = found.entries.get(name)
        if node is None:
            return None
        line = found.line_of(name)
        value: Any = [scalar(item) for item in items(node)] if name in LISTS else scalar(node)
        if value is None:
            self._problems.add(line, f"{name}: one value, not a list or fields or nothing")
            return None
        try:
            return msgspec.convert(value, TYPES[of][name])
        except msgspec.ValidationError as error:
            self._problems.add(line, f"{name}: {_said(error, value)}", _hint(name, value))
            return None

    def _events(self, found: Mapping, names: Any) -> tuple[str, ...]:
        if "event" not in found.entries:
            self._problems.add(found.line, "a rule names its event", "event: file.open, process.exec...")
        good = []
        for name in names:
            if name in EVERY:
                good.append(name)
            else:
                hint = nearest(name, EVERY) or f"there are {', '.join(EVERY)}"
                self._problems.add(found.line_of("event"), f"there is no event {name!r}", hint)
        return tuple(dict.fromkeys(good))

    def _once(self, found: Mapping, name: str | None) -> None:
        if name and name in self._ids:
            said = f"a second rule {name!r}"
            self._problems.add(found.line_of("id"), said, f"the first is in line {self._ids[name]}")
        elif name:
            self._ids[name] = found.line

    def _about_asking(self, found: Mapping, verb: Verb | None) -> None:
        if verb == "ask" and "fallback" not in found.entries:
            self._problems.add(
                found.line_of("do"),
                "ask: and what becomes of the call when no answer comes?",
                "fallback: deny, or allow",
            )
        if verb is not None and verb not in REFUSING and "errno" in found.entries:
            self._problems.add(found.line_of("errno"), f"{verb} refuses nothing, so there is no errno")

    def _errno(self, found: Mapping, value: str | int | None) -> int:
        number = value if isinstance(value, int) else errno_of(value or "EPERM")
        if number is None or not 0 < number < 4096:
            said = f"{value!r} is no errno"
            self._problems.add(found.line_of("errno"), said, "EPERM, EACCES, ENOENT, ECONNREFUSED...")
            return 1
        return number


def _said(error: msgspec.ValidationError, value: Any) -> str:
    what = str(error).partition(" - at `$")[0]
    shown = value[0] if isinstance(value, list) and len(value) == 1 else value
    return f"{shown!r}: {what[:1].lower()}{what[1:]}"


def _hint(name: str, value: Any) -> str:
    word = str(value[0] if isinstance(value, list) and value else value)
    choices = msgspec.json.schema(TYPES[RuleWords][name]).get("enum", ())
    if choices:
        return nearest(word, choices) or f"there are {', '.join(choices)}"
    return {
        "attack": "an id of MITRE ATT&CK: T1003.008, TA0006",
        "timeout": "500ms, 5s, 1m",
        "rate": "5/1m: five a minute",
        "id": "letters, digits, dots and dashes",
    }.get(name, "")


def _rate(word: str | None) -> Rate | None:
    if not word:
        return None
    count, _, period = word.partition("/")
    return Rate(int(count), seconds(period))


def observing(policy: Policy) -> Policy:
    """The policy with none of its rules carried out."""
    rules = tuple(msgspec.structs.replace(rule, mode=None) for rule in policy.rules)
    return msgspec.structs.replace(policy, mode="observe", rules=rules)


def path_fields(path: str | None) -> dict[str, str]:
    """A path of the command line, as fields of the probe's rules: a whole one, or a pattern."""
    if path is None:
        return {}
    return {"path_glob" if "*" in path else "path": path}


def for_target(policy: Policy, target: str) -> Policy:
    """What a policy says of one target: rules for others are left out."""
    names = {target, target.removeprefix("lab:")}

    def meant(patterns: tuple[str, ...]) -> bool:
        return not patterns or any(fnmatchcase(name, pattern) for name in names for pattern in patterns)

    rules = tuple(rule for rule in policy.rules if meant(rule.vm)) if meant(policy.vm) else ()
    return msgspec.structs.replace(policy, rules=rules)
