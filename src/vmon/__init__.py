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
    from vmon.core.errors import NotSupported, VmonError
    from vmon.core.events import ALLOW, DENY, KILL, Event
    from vmon.core.rules import Rule
    from vmon.monitor.attach import attach, dump
    from vmon.monitor.guests import find_guests
    from vmon.monitor.machine import VirtualMachine
    from vmon.monitor.process import Process
    from vmon.monitor.sweep import Change, sweep

__all__ = [
    "ALLOW",
    "DENY",
    "KILL",
    "Answer",
    "Change",
    "Event",
    "NotSupported",
    "Process",
    "Rule",
    "VirtualMachine",
    "VmonError",
    "attach",
    "dump",
    "find_guests",
    "sweep",
]

_HOMES = {
    "ALLOW": "vmon.core.events",
    "DENY": "vmon.core.events",
    "KILL": "vmon.core.events",
    "Answer": "vmon.core.coverage",
    "Event": "vmon.core.events",
    "NotSupported": "vmon.core.errors",
    "Rule": "vmon.core.rules",
    "Change": "vmon.monitor.sweep",
    "Process": "vmon.monitor.process",
    "VirtualMachine": "vmon.monitor.machine",
    "VmonError": "vmon.core.errors",
    "attach": "vmon.monitor.attach",
    "dump": "vmon.monitor.attach",
    "find_guests": "vmon.monitor.guests",
    "sweep": "vmon.monitor.sweep",
}


def __dir__() -> list[str]:
    return sorted(__all__)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'vmon' has no attribute {name!r}")
