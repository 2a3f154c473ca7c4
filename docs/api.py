"""Writes docs/api.md, the reference of the Python interface, from docstrings; a house test checks that it is fresh.

Run it with `./dev docs`. Reads nothing but vmon's own modules.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

import vmon
from vmon.core import errors
from vmon.core.events import Event
from vmon.core.rules import Rule
from vmon.monitor.hub import Hub
from vmon.monitor.machine import VirtualMachine
from vmon.monitor.narrowing import Narrow, RulesInForce
from vmon.monitor.process import Process
from vmon.monitor.stream import EventStream
from vmon.monitor.subscription import Subscription

PAGE = Path(__file__).with_name("api.md")
HEAD = """# Python reference

Written by `./dev docs` from the program itself; do not edit. Records are in [reference.md](reference.md).

    import vmon

    with vmon.attach("web1") as vm:
        vm.guest.release, vm.processes(), vm.process(1234).files()
        vm.process(1234).kill()
        vm.deny("file.open", path="/etc/shadow", unless_exe="/usr/bin/passwd")

        @vm.on("net.connect")               # asked before it happens
        def ask(event):
            return vmon.ALLOW if event.port == 443 else vmon.DENY

        for event in vm.events("process.exec", "file.open"):
            print(event.pid, event.exe, event.path)

- Whoever reads alone changes nothing in the guest. The first rule, event or signal puts the probe in; it stays, idle,
  until `vm.remove_probe()`. Rules stay in force when the program ends; those of `@vm.on` only when it is killed.
- What a target can't do is a `NotSupported` that names what is missing: at the call, at `vm.require(...)`, or at
  `attach(..., needs=("probe", "net.connect"))`.
- Lists read from a guest are an `Answer`: a list with `.coverage`, what could not be seen. A notebook shows a table.
- Threads may share a machine, its processes and its subscriptions: who changes the guest takes turns, reads go on.
  `vm.snapshot()` is the exception, for one thread. Calls made inside an event loop (a notebook's) work, and hold it up
  for their milliseconds; `aevents` and `async def` handlers do not.
- Functions that are asked report their failures to the log `vmon`, and the rule's fallback decides.
- Text of the guest is hostile: `vmon.printable(text)` before a terminal sees it.

## psutil's names

Attributes are properties, of the moment at which the process was read; calls read or act now.

| psutil | vmon |
|---|---|
| `process_iter()`, `Process(pid)`, `pid_exists()` | `vm.processes()`, `vm.process(pid)` |
| `pid`, `name()`, `exe()`, `cmdline()`, `cwd()`, `ppid()` | the same, as properties; None where it is not in memory |
| `status()`, `num_threads()`, `num_fds()`, `memory_info()`, `cpu_times()` | the same calls |
| `create_time()`, `uids()`, `gids()`, `terminal()`, `nice()` | the same calls; real ids alone: `uid` |
| `parent()`, `parents()`, `children(recursive=)`, `is_running()`, `wait()`, `as_dict()` | the same calls |
| `open_files()`, `net_connections()`, `memory_maps()`, `threads()` | the same calls, in vmon's records |
| `environ()` | the same call, as records: a name may come twice |
| `suspend()`, `resume()`, `terminate()`, `kill()`, `send_signal()` | the same calls; they give an `ActRecord` |
| `username()`, `cpu_percent()`, `memory_percent()`, `io_counters()` | not here; examples/top.py has percent |
"""
FUNCTIONS = ("attach", "dump", "find_guests", "sweep", "printable")
CLASSES: tuple[tuple[type, str], ...] = (
    (VirtualMachine, "What `attach` gives."),
    (Process, "What `vm.processes()` and `vm.process(pid)` give."),
    (RulesInForce, "What `deny`, `allow`, `log` and `ask` give."),
    (Subscription, "What `events` and `vm.hub.subscribe` give."),
    (Hub, "`vm.hub`, for who serves many readers."),
    (
        EventStream,
        "`vm.event_stream(...)`: the ring alone, for who wants the shortest way from an event to an answer.",
    ),
    (vmon.Answer, "Lists read from a guest."),
)


def api() -> str:
    """The whole page."""
    parts = [HEAD, "## Functions\n"]
    for name in FUNCTIONS:
        parts += _entry(f"vmon.{name}", getattr(vmon, name))
    parts.append(
        "`vmon.ALLOW`, `vmon.DENY`, `vmon.KILL` are what a function that is asked returns (`vmon.Decision`).\n"
    )
    for kind, where in CLASSES:
        parts.append(f"## {kind.__name__}\n\n{where} {_doc(kind)}\n")
        if issubclass(kind, msgspec.Struct):
            parts += _table(kind)
        for name, member in _members(kind):
            parts += _entry(name, member)
    parts.append("## What narrows a rule\n\nKeywords of `deny`, `allow`, `log`, `ask` and `on`.\n")
    parts += _table(Narrow)
    parts.append(f"## Event\n\n{_doc(Event)}\n")
    parts += _table(Event)
    parts.append(f"## Rule\n\n{_doc(Rule)}\n")
    parts += _table(Rule)
    parts.append("## Errors\n\nAll are `vmon.VmonError`, with `.message` and `.hint`.\n")
    tree = (errors.__doc__ or "").partition("\n    VmonError\n")[2]
    parts.append("    VmonError\n" + tree.rstrip() + "\n")
    return "\n".join(parts).rstrip() + "\n"


def _members(kind: type) -> Iterator[tuple[str, Any]]:
    """What is public of a class, in the order in which it is written, its own first."""
    seen: set[str] = set()
    for base in kind.__mro__:
        if not base.__module__.startswith("vmon."):
            continue
        for name in vars(base):
            if name.startswith("_") or name in seen:
                continue
            seen.add(name)
            found = inspect.getattr_static(kind, name)
            if isinstance(found, property | classmethod | staticmethod) or inspect.isfunction(found):
                yield name, found


def _entry(name: str, member: Any) -> list[str]:
    if isinstance(member, property):
        kind = inspect.signature(member.fget).return_annotation if member.fget else ""  # type: ignore[arg-type]
        title = f"{name}: {_annotation(kind)}"
        text = inspect.getdoc(member) or ""
    else:
        function = member.__func__ if isinstance(member, classmethod | staticmethod) else member
        title = _signature(name, function)
        text = inspect.getdoc(function) or ""
    return [f"### `{name}`\n\n    {title}\n", text + "\n"]


def _signature(name: str, function: Any) -> str:
    found = inspect.signature(function)
    own = [part for part in found.parameters.values() if part.name not in ("self", "cls")]
    words: list[str] = []
    for part in own:
        if part.kind is part.KEYWORD_ONLY and not any(word.startswith("*") for word in words):
            words.append("*")
        star = {part.VAR_POSITIONAL: "*", part.VAR_KEYWORD: "**"}.get(part.kind, "")
        word = f"{star}{part.name}"
        if part.annotation is not part.empty:
            word += f": {_annotation(part.annotation)}"
        if part.default is not part.empty:
            plain = isinstance(part.default, str | int | float | tuple | None.__class__)
            word += f" = {part.default!r}" if plain else " = ..."
        words.append(word)
    given = "" if found.return_annotation is found.empty else f" -> {_annotation(found.return_annotation)}"
    prefix = "async " if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function) else ""
    return f"{prefix}{name}({', '.join(words)}){given}"


def _annotation(kind: Any) -> str:
    text = kind if isinstance(kind, str) else getattr(kind, "__name__", str(kind))
    return re.sub(r"\bUnpack\[Narrow\]", "Narrow", text)


def _doc(kind: type) -> str:
    return " ".join((inspect.getdoc(kind) or "").split())


def _table(kind: type) -> list[str]:
    """The fields of a record, or the keys of a dictionary, with the string that follows each in the source."""
    source = inspect.getsource(kind)
    notes = re.findall(r'^    (\w+): ([^\n]+)\n(?:    """(.+?)""")?', source, re.M | re.S)
    rows = [
        f"| `{name}` | {type_.partition(' = ')[0].replace('|', 'or')} | {' '.join(text.split())} |"
        for name, type_, text in notes
        if not name.startswith("_")
    ]
    return ["| field | type | meaning |\n|---|---|---|\n" + "\n".join(rows) + "\n"]
