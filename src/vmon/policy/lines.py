"""A YAML file as mappings and lists that know their lines, and a list of all that is wrong with it.

Pure: text in, nodes out. The file is an operator's, not a guest's; what it can't be is told by its line.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import yaml

from vmon.core.errors import PolicyError

MAX_BYTES = 1 << 20
MAX_TOLD = 50


@dataclass(slots=True)
class Problems:
    """What is wrong with a file, in the order in which it was found."""

    file: str
    told: list[tuple[int, str]] = field(default_factory=list)

    def add(self, line: int, said: str, hint: str = "") -> None:
        """One of them, of a line; 0 for the file as a whole."""
        place = f"{self.file}:{line}" if line else self.file
        self.told.append((line, f"{place}: {said}" + (f" ({hint})" if hint else "")))

    def raise_any(self) -> None:
        """PolicyError where there are any, those of a file by their lines."""
        if self.told:
            raise PolicyError([said for _, said in sorted(self.told, key=lambda told: told[0])[:MAX_TOLD]])


def nearest(word: str, words: Iterable[str]) -> str:
    """A hint at what may have been meant; empty where nothing is near."""
    choices = list(words)
    found = difflib.get_close_matches(word, choices, 1, 0.6)
    found = found or [choice for choice in choices if choice.rpartition(".")[2] == word][:1]
    return f"did you mean {found[0]}?" if found else ""


@dataclass(frozen=True, slots=True)
class Mapping:
    """Keys with values, each with its line."""

    line: int
    entries: dict[str, yaml.Node]
    lines: dict[str, int]

    def line_of(self, name: str) -> int:
        """Where a key stands; where the mapping begins if it is not there."""
        return self.lines.get(name, self.line)


def parse(text: str, problems: Problems) -> Mapping | None:
    """The mapping that a file is."""
    if len(text) > MAX_BYTES:
        problems.add(0, f"{len(text):,} characters, and a policy has {MAX_BYTES:,} at most")
        return None
    try:
        node = yaml.SafeLoader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        problems.add(error.problem_mark.line + 1 if error.problem_mark else 1, str(error.problem))
        return None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        problems.add(0, f"this is no YAML: {type(error).__name__}")
        return None
    if not isinstance(node, yaml.MappingNode):
        problems.add(0, "a policy is rules:, and mode: enforce if they are to be carried out")
        return None
    return mapping(node, problems)


def mapping(node: yaml.Node, problems: Problems, what: str = "this") -> Mapping | None:
    """A node that is to be a mapping."""
    line = node.start_mark.line + 1
    if not isinstance(node, yaml.MappingNode):
        problems.add(line, f"{what} is fields with values, a line each")
        return None
    found = Mapping(line, {}, {})
    for key, value in node.value:
        name = str(key.value) if isinstance(key, yaml.ScalarNode) else "?"
        at = key.start_mark.line + 1
        if name in found.entries:
            problems.add(at, f"a second {name!r}", f"the first is in line {found.lines[name]}")
            continue
        found.entries[name] = value
        found.lines[name] = at
    return found


def items(node: yaml.Node | None) -> list[yaml.Node]:
    """The nodes of a list; the node itself where it is none."""
    if node is None:
        return []
    return list(node.value) if isinstance(node, yaml.SequenceNode) else [node]


def scalar(node: yaml.Node) -> Any:
    """The value of a node: a text, a number, true, a date...; None for a list, a mapping and null."""
    if not isinstance(node, yaml.ScalarNode):
        return None
    try:
        return yaml.constructor.SafeConstructor().construct_object(node)
    except (yaml.YAMLError, ValueError, OverflowError):
        return None
