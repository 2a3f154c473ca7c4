"""One alternative of a condition as a rule of the probe: what the probe can judge of it, and what is left to the host.

Pure. What comes out fits whatever the alternative fits, of one kind of event; `exact` says that it fits nothing else.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Any

import msgspec

from vmon.core.rules import WRITING, Rule
from vmon.policy.condition import Test, expression
from vmon.policy.fields import FIELDS
from vmon.policy.normal import Alternative, Literal

PATHS = ("path", "path_glob", "path_prefix", "path_suffix")
"""A rule has one of them; the first says most."""
TWO_PATHS = ("file.rename", "file.link")
OPPOSITES = ("exe", "name", "uid", "tree")
SAME = ("exe", "name", "uid", "port", "key")
Parts = dict[str, Any]


class Narrowed(msgspec.Struct):
    """What the probe is asked for one alternative."""

    parts: Parts
    """Fields of a Rule."""
    container: str = ""
    left: list[str] = msgspec.field(default_factory=list)
    """Conditions that the host judges; none: it is exact."""
    exceptions: list[Literal] = msgspec.field(default_factory=list)
    """What the probe can judge, and a rule of it can't say that it must not fit."""


def narrowed(event: str, alternative: Alternative) -> Narrowed | None:
    """None where the alternative can't hold for an event of this kind."""
    found = Narrowed({})
    for literal in sorted(alternative, key=lambda literal: not literal.holds):
        if event not in FIELDS[literal.test.field].events:
            # A field that is not there fits nothing but that it is not there.
            test = literal.test
            if literal.holds != (test.modifier == "exists" and not test.values[0]):
                return None
            continue
        possible = _must(found, event, literal.test) if literal.holds else _must_not(found, event, literal)
        if not possible:
            return None
    return found


def _must(found: Narrowed, event: str, test: Test) -> bool:
    """Add a test that holds; False where that can't be."""
    if test.field == "container.id" and test.modifier in ("equals", "startswith") and not found.container:
        found.container = str(test.values[0])
        return True
    parts, exact = fragment(event, test)
    for name, value in parts.items():
        known = found.parts.get(name)
        if known is not None and known != value and name in SAME:
            return False
        group = [own for own in PATHS if own in found.parts] if name in PATHS else []
        if (group and (name, value) not in found.parts.items()) or (known is not None and known != value):
            exact = False
            if not group or PATHS.index(name) >= PATHS.index(group[0]):
                continue
            del found.parts[group[0]]
        if name in ("tree", "key") and {"tree", "key"} & found.parts.keys() - {name}:
            exact = False
            continue
        found.parts[name] = value
    if not exact:
        found.left.append(said(test))
    return True


def _must_not(found: Narrowed, event: str, literal: Literal) -> bool:
    parts, exact = fragment(event, literal.test)
    if not exact or len(parts) != 1:
        found.left.append(f"not {said(literal.test)}")
        return True
    ((name, value),) = parts.items()
    if name in SAME and name in found.parts:
        return bool(found.parts[name] != value)
    taken = {name, f"unless_{name}"} | ({"key"} if name == "tree" else set())
    if name in OPPOSITES and not taken & found.parts.keys():
        found.parts[f"unless_{name}"] = value
        return True
    found.exceptions.append(literal)
    return True


def said(test: Test) -> str:
    """A test as the file has it."""
    word = "" if test.modifier == "equals" else f"|{test.modifier}"
    return f"{test.field}{word}"


def fragment(event: str, test: Test) -> tuple[Parts, bool]:
    """Fields of a rule for one test, and whether they say all of it."""
    make = FRAGMENTS.get(test.field)
    if make is None or not test.cased or len(test.values) != 1:
        return {}, False
    return make(event, test)


def _path(event: str, test: Test) -> tuple[Parts, bool]:
    value = str(test.values[0])
    if event.startswith("net.") and (test.modifier == "endswith" or not value.startswith("/")):
        return {}, False  # abstract names of sockets are no paths to the probe
    if test.modifier == "glob":
        return _glob(value)
    name = {"equals": "path", "startswith": "path_prefix", "endswith": "path_suffix"}.get(test.modifier)
    return ({name: value}, True) if name else ({}, False)


def _glob(pattern: str) -> tuple[Parts, bool]:
    stars = re.findall(r"\*+", pattern)
    if not stars:
        return {"path": pattern}, True
    first = pattern.partition("*")[0]
    simple = (
        len(stars) == 1 and not set("?[") & set(pattern) and (stars[0] == "**" or (stars[0] == "*" and first))
    )
    if simple:
        return {"path_glob": pattern}, True
    return ({"path_prefix": first} if first else {}), False


def _name(event: str, test: Test) -> tuple[Parts, bool]:
    value = str(test.values[0])
    if test.modifier == "equals" and not event.startswith("net.") and "/" not in value:
        return {"path_suffix": f"/{value}"}, True
    return {}, False


def _directory(event: str, test: Test) -> tuple[Parts, bool]:
    value = str(test.values[0])
    if test.modifier == "equals" and value.startswith("/") and not set("*?[") & set(value):
        return {"path_glob": f"{value.rstrip('/')}/*"}, True
    return {}, False


def _program(event: str, test: Test) -> tuple[Parts, bool]:
    if event == "process.exec":
        return _path(event, test)
    return _plain("exe")(event, test)


def _previous(event: str, test: Test) -> tuple[Parts, bool]:
    # Once it has started, the probe sees the new program where it saw the old one.
    parts, _ = _plain("exe")(event, test)
    return parts, bool(parts)


def _plain(name: str) -> Callable[[str, Test], tuple[Parts, bool]]:
    def make(event: str, test: Test) -> tuple[Parts, bool]:
        return ({name: str(test.values[0])}, True) if test.modifier == "equals" else ({}, False)

    return make


def _number(name: str, most: int, *, exact: bool = True) -> Callable[[str, Test], tuple[Parts, bool]]:
    def make(event: str, test: Test) -> tuple[Parts, bool]:
        text = str(test.values[0])
        fits = test.modifier == "equals" and text.isdecimal() and int(text) <= most
        return ({name: int(text)}, exact) if fits else ({}, False)

    return make


def _address(event: str, test: Test) -> tuple[Parts, bool]:
    return ({"address": str(test.values[0])}, True) if test.modifier == "cidr" else ({}, False)


def _write(event: str, test: Test) -> tuple[Parts, bool]:
    return {"flags": WRITING}, True


FRAGMENTS: dict[str, Callable[[str, Test], tuple[Parts, bool]]] = {
    "file.path": _path,
    "file.name": _name,
    "file.directory": _directory,
    "process.executable": _program,
    "process.previous.executable": _previous,
    "process.name": _plain("name"),
    "process.entity_id": _plain("key"),
    "vmon.tree.entity_id": _plain("tree"),
    "user.id": _number("uid", 0xFFFF_FFFF),
    "destination.port": _number("port", 0xFFFF),
    "source.port": _number("port", 0xFFFF),
    "destination.ip": _address,
    "source.ip": _address,
    "vmon.write": _write,
    # The probe takes those below it too.
    "vmon.cgroup_id": _number("cgroup_id", 0xFFFF_FFFF_FFFF_FFFF, exact=False),
}


def may_meet(event: str, one: Parts, other: Parts) -> bool:
    """Whether an event of this kind can fit both, as far as can be told."""
    for name in SAME:
        if name in one and name in other and one[name] != other[name]:
            return False
    for name in OPPOSITES:
        for a, b in ((one, other), (other, one)):
            if name in a and a[name] == b.get(f"unless_{name}"):
                return False
    if "address" in one and "address" in other and not _networks_meet(one["address"], other["address"]):
        return False
    return event in TWO_PATHS or _paths_meet(one, other)


def _networks_meet(one: str, other: str) -> bool:
    a, b = ipaddress.ip_network(one, strict=False), ipaddress.ip_network(other, strict=False)
    return a.version == b.version and a.overlaps(b)


def _paths_meet(one: Parts, other: Parts) -> bool:
    for a, b in ((one, other), (other, one)):
        if "path" in a:
            return path_fits(b, a["path"])
    (first, last), (other_first, other_last) = _ends(one), _ends(other)
    begins = first.startswith(other_first) or other_first.startswith(first)
    return begins and (last.endswith(other_last) or other_last.endswith(last))


def path_fits(parts: Parts, path: str) -> bool:
    """Whether a path is one that these conditions take."""
    first, last = _ends(parts)
    if parts.get("path", path) != path or not (path.startswith(first) and path.endswith(last)):
        return False
    return "path_glob" not in parts or re.search(expression("glob", parts["path_glob"]), path) is not None


def _ends(parts: Parts) -> tuple[str, str]:
    """How paths that fit begin and end."""
    if "path_glob" in parts:
        pattern = parts["path_glob"]
        return pattern.partition("*")[0], pattern.rpartition("*")[2]
    return parts.get("path_prefix", ""), parts.get("path_suffix", "")


def rule_of(event: str, parts: Parts, **more: Any) -> Rule:
    """A rule of the probe."""
    return Rule(events=(event,), **parts, **more)
