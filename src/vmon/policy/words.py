"""The keys of a policy file and what each can be: the parser reads by these types, the JSON schema is made of them.

Pure data. Conditions are not among them: they are the fields of vmon.policy.fields, with modifiers.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from vmon.core.detection import Severity, Verb
from vmon.core.rules import Fallback

Mode = Literal["observe", "enforce"]
DURATION = r"^[1-9][0-9]{0,6}(ms|s|m|h)$"
RATE = r"^[1-9][0-9]{0,6}/[1-9][0-9]{0,6}(ms|s|m|h)$"
ATTACK = r"^(TA[0-9]{4}|T[0-9]{4}(\.[0-9]{3})?)$"
ID = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}

Duration = Annotated[str, Meta(pattern=DURATION, description="how long: 500ms, 5s, 1m, 2h")]
Technique = Annotated[str, Meta(pattern=ATTACK, description="an id of MITRE ATT&CK: T1003.008, TA0006")]
Texts = list[str]
"""In a file one text stands for a list of it, here and for `attack`."""
LISTS = ("event", "attack", "references", "tags", "vm")


class RuleWords(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One rule: what it is about, beside the fields that it compares, and what is done."""

    event: Annotated[Texts, Meta(description="file.open, process.exec...; or a list of them")]
    do: Annotated[
        Verb, Meta(description="what becomes of an event that fits; suspend and quarantine after it")
    ]
    title: Annotated[str, Meta(min_length=1, description="a line for people")] = ""
    id: Annotated[str, Meta(pattern=ID, description="a name for programs, once in a file")] = ""
    description: Annotated[str, Meta(description="why it is there, what to do when it fits")] = ""
    severity: Severity = "medium"
    attack: list[Technique] = []
    references: Annotated[Texts, Meta(description="pages to read")] = []
    tags: Annotated[Texts, Meta(description="anything to find it by")] = []
    mode: Annotated[Mode, Meta(description="of this rule; else that of the file")] = "observe"
    vm: Annotated[Texts, Meta(description="targets that it is for, * and ? in them: lab:web*")] = []
    errno: Annotated[str | int, Meta(description="what a refused call gets: EPERM, EACCES...")] = "EPERM"
    timeout: Annotated[Duration, Meta(description="how long a call waits for an answer, 1m at most")] = "1s"
    fallback: Annotated[Fallback, Meta(description="what becomes of a call that gets no answer")] = "deny"
    rate: Annotated[
        str, Meta(pattern=RATE, description="told at most so often: 5/1m; what is done is done each time")
    ] = ""


class FileWords(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A policy."""

    title: Annotated[str, Meta(description="a line for people")] = ""
    description: Annotated[str, Meta(description="what it is for")] = ""
    mode: Annotated[Mode, Meta(description="observe, the default: refuse nothing, tell what would be")] = (
        "observe"
    )


def seconds(duration: str) -> float:
    """Of a text that DURATION describes."""
    number = duration.rstrip("mshx")
    return int(number) * UNITS_S[duration[len(number) :]]
