"""vmon: see the processes of a virtual machine from outside it.

    import vmon

    with vmon.attach("web1") as vm:
        print(vm.guest.release)
        for process in vm.processes():
            print(process.pid, process.name, process.exe)

Names are imported when they are first used, so that `import vmon` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vmon.core.coverage import Answer
    from vmon.core.errors import NoSuchProcess, NotSupported, VmonError
    from vmon.core.events import ALLOW, DENY, KILL, Event
    from vmon.core.events import Answer as Decision
    from vmon.core.rules import WRITING, Rule
    from vmon.core.text import printable
    from vmon.monitor.attach import attach, dump
    from vmon.monitor.guests import find_guests
    from vmon.monitor.machine import VirtualMachine
    from vmon.monitor.process import Process
    from vmon.monitor.sweep import Change, sweep

__all__ = [
    "ALLOW",
    "DENY",
    "KILL",
    "WRITING",
    "Answer",
    "Change",
    "Decision",
    "Event",
    "NoSuchProcess",
    "NotSupported",
    "Process",
    "Rule",
    "VirtualMachine",
    "VmonError",
    "attach",
    "dump",
    "find_guests",
    "printable",
    "sweep",
]

_HOMES = {
    "ALLOW": "vmon.core.events",
    "DENY": "vmon.core.events",
    "KILL": "vmon.core.events",
    "WRITING": "vmon.core.rules",
    "Answer": "vmon.core.coverage",
    "Change": "vmon.monitor.sweep",
    "Decision": "vmon.core.events",
    "Event": "vmon.core.events",
    "NoSuchProcess": "vmon.core.errors",
    "NotSupported": "vmon.core.errors",
    "Process": "vmon.monitor.process",
    "Rule": "vmon.core.rules",
    "VirtualMachine": "vmon.monitor.machine",
    "VmonError": "vmon.core.errors",
    "attach": "vmon.monitor.attach",
    "dump": "vmon.monitor.attach",
    "find_guests": "vmon.monitor.guests",
    "printable": "vmon.core.text",
    "sweep": "vmon.monitor.sweep",
}
_THERE = {"Decision": "Answer"}
"""Names that have another one where they are at home: an Answer is a list here, and a word there."""


def __dir__() -> list[str]:
    return sorted(__all__)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), _THERE.get(name, name))
    raise AttributeError(f"module 'vmon' has no attribute {name!r}")
