"""What should protect a guest and does not: a security module switched off, a helper replaced, an agent that is gone.

Reads the switches of the security modules, the paths of the kernel's helpers, and what the caller expects to be there.
Sources: security/apparmor/lsm.c, kernel/module/kmod.c, fs/coredump.c, kernel/reboot.c.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from vmon.check.kinds import finding
from vmon.core.coverage import Gaps
from vmon.core.errors import GuestDataError, UsageError
from vmon.core.records.finding import FindingRecord
from vmon.core.text import guest_text
from vmon.kernel.profile import Wants
from vmon.linux import lsm, snapshot
from vmon.linux.kernel import Kernel
from vmon.linux.snapshot import Snapshot

HELPERS = {
    "modprobe_path": re.compile(r"(|(/usr)?/s?bin/modprobe|/bin/true)"),
    "poweroff_cmd": re.compile(r"(|(/usr)?/s?bin/poweroff)"),
    "core_pattern": re.compile(r"[^|].*||\|/(usr|lib|opt|s?bin)/.*", re.S),
}
"""What each is where nobody replaced it: programs that the kernel runs as root."""
WANTS = snapshot.WANTS | lsm.WANTS | Wants(symbols=("apparmor_enabled", "apparmor_initialized", *HELPERS))
MAX_PATH_BYTES = 256
SECCOMP_FILTER = 2


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the operator of a guest says should be so."""

    kind: str
    """process: one of that name or program runs. seccomp: all such have a filter. lsm: a security module is active."""
    value: str
    """A name, a path, or a pattern of one."""


KINDS = ("process", "seccomp", "lsm")


def parse_expectation(text: str) -> Expectation:
    """`process=NAME`, `seccomp=NAME` or `lsm=NAME`. UsageError with what can be written."""
    kind, equals, value = text.partition("=")
    if kind not in KINDS or not equals or not value:
        raise UsageError(
            f"{text!r} is no expectation", hint=f"write one of {', '.join(f'{kind}=NAME' for kind in KINDS)}"
        )
    return Expectation(kind, value)


def check_defences(
    kernel: Kernel, gaps: Gaps, expectations: Sequence[Expectation] = ()
) -> list[FindingRecord]:
    """Switches, helpers, expectations. A millisecond."""
    return [*_switches(kernel, gaps), *_helpers(kernel, gaps), *_expected(kernel, gaps, expectations)]


def _switches(kernel: Kernel, gaps: Gaps) -> Iterator[FindingRecord]:
    names = ("apparmor_initialized", "apparmor_enabled")
    if not all(kernel.has_symbol(name) for name in names):
        gaps.add("AppArmor", "not on this kernel")
        return
    initialized, enabled = (kernel.memory.u32(kernel.symbol(name)) for name in names)
    if initialized and not enabled:
        evidence = [f"apparmor_initialized is {initialized}, apparmor_enabled is {enabled}"]
        yield finding("defence.off", "AppArmor", evidence, address=kernel.symbol("apparmor_enabled"))


def _helpers(kernel: Kernel, gaps: Gaps) -> Iterator[FindingRecord]:
    for name, usual in HELPERS.items():
        if not kernel.has_symbol(name):
            gaps.add(name, "not on this kernel")
            continue
        place = kernel.symbol(name)
        try:
            text = guest_text(kernel.memory.string(place, MAX_PATH_BYTES))
        except GuestDataError as error:
            gaps.add(name, "unreadable", error.message)
            continue
        if not usual.fullmatch(text):
            yield finding("defence.helper", name, [f"{name} at {place:#x} is {text!r}"], address=place)


def _expected(kernel: Kernel, gaps: Gaps, expectations: Sequence[Expectation]) -> Iterator[FindingRecord]:
    if not expectations:
        return
    processes = Snapshot.of_all(kernel)
    names = [guest_text(name) for name in processes.name]
    programs = [guest_text(path.text) if path else "" for path in processes.exe]
    for expected in expectations:
        if expected.kind == "lsm":
            active = [record.name for record in lsm.find_security_modules(kernel, gaps) if record.listed]
            if expected.value not in active:
                evidence = [f"the security modules are {', '.join(active) or 'none'}"]
                yield finding("defence.missing", f"security module {expected.value}", evidence)
            continue
        rows = [
            row
            for row in range(len(processes))
            if fnmatchcase(programs[row], expected.value) or fnmatchcase(names[row], expected.value)
        ]
        if not rows:
            yield finding("defence.missing", expected.value, ["no process has that name or program"])
        elif expected.kind == "seccomp":
            for record in map(processes.record, rows):
                if record.seccomp != SECCOMP_FILTER:
                    subject = f"process {record.pid} ({record.name})"
                    evidence = [f"task_struct.seccomp.mode is {record.seccomp}"]
                    yield finding("defence.seccomp", subject, evidence, pid=record.pid)
