"""A process in quarantine may go on computing, and nothing else: rules see to it, before all others.

Pure: a process in, rules out. What it has open stays open, and what it reads it may go on reading.
"""

from __future__ import annotations

import msgspec

from vmon.core.rules import WRITING, Rule

FORBIDDEN = (
    *("process.exec", "process.ptrace", "process.setuid"),
    *("file.create", "file.symlink", "file.unlink", "file.rename", "file.link", "file.mkdir", "file.rmdir"),
    *("file.chmod", "file.chown", "file.truncate", "file.mount"),
    *("net.connect", "net.bind", "net.listen", "net.accept"),
    *("module.load", "bpf.load"),
)


def rules_for(key: str) -> list[Rule]:
    """Rules for a process and for all that it starts from now on. `key` is pid@start."""
    return [
        Rule(events=FORBIDDEN, tree=key),
        Rule(events=("file.open",), flags=WRITING, tree=key),
    ]


def holds(rule: Rule, key: str) -> bool:
    """Whether a rule in force is one of those; the order of its events is nobody's."""
    return any(
        set(rule.events) == set(own.events) and msgspec.structs.replace(rule, events=own.events) == own
        for own in rules_for(key)
    )
