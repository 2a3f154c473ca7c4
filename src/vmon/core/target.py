"""What a user may call a guest: one word, four spellings.

Pure: parses, opens nothing. `NAME` or `lab:NAME`, `qmp:PATH`, `pid:N`, `dump:FILE`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from vmon.core.errors import UsageError

PID = re.compile(r"0{0,9}[1-9][0-9]{0,9}", re.ASCII)
LAB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


@dataclass(frozen=True, slots=True)
class Target:
    """A guest by the way it is reached."""

    kind: Literal["lab", "qmp", "pid", "dump"]
    value: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.value}"


def parse_target(text: str) -> Target:
    """Read a target; UsageError says which spellings there are."""
    kind, colon, value = text.partition(":")
    if not colon:
        kind, value = "lab", text
    match kind:
        case "lab" if LAB_NAME.fullmatch(value):
            return Target("lab", value)
        case "qmp" | "dump" if value:
            return Target("qmp" if kind == "qmp" else "dump", value)
        case "pid" if PID.fullmatch(value):
            return Target("pid", str(int(value)))
    raise UsageError(
        f"{text!r} is not a target",
        hint="write a lab guest's NAME, qmp:SOCKET-PATH, pid:QEMU-PID or dump:FILE; `vmon guests` lists what runs here",
    )
