"""All checks of a guest, or some of them, in one answer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from vmon.check import credentials, defences, executable, habits, modules, pointers, processes, sockets, text
from vmon.check.defences import Expectation
from vmon.check.text import Fingerprint
from vmon.core.coverage import Answer, Gaps
from vmon.core.errors import GuestDataError, UsageError
from vmon.core.ports import Registers
from vmon.core.records.finding import FindingRecord, Severity
from vmon.kernel.vmlinux import Vmlinux
from vmon.linux import code
from vmon.linux.code import CodeArea, CodeMap
from vmon.linux.kernel import Kernel
from vmon.probe.abi import Abi
from vmon.probe.place import SLOT_BYTES, SLOT_GVA
from vmon.probe.tenant import find_tenant

WANTS = (
    processes.WANTS
    | credentials.WANTS
    | modules.WANTS
    | pointers.WANTS
    | executable.WANTS
    | text.WANTS
    | sockets.WANTS
    | habits.WANTS
    | defences.WANTS
)
SUBJECTS = (
    "processes",
    "credentials",
    "modules",
    "sockets",
    "pointers",
    "executable",
    "text",
    "habits",
    "defences",
)
SEVERITIES: tuple[Severity, ...] = ("info", "low", "medium", "high", "critical")


@dataclass(frozen=True, slots=True)
class Basis:
    """What a check is made against."""

    abi: Abi
    """Of vmon's own probe: what it changed is no finding."""
    before: Fingerprint | None
    """The text at an earlier look at this boot."""
    expectations: Sequence[Expectation]
    registers: Sequence[Registers] = ()
    """Of every vCPU, where they can be read."""
    image: Vmlinux | None = None
    """The file of the guest's kernel, where it was given."""


def check(kernel: Kernel, basis: Basis, subjects: Collection[str] = SUBJECTS) -> Answer[FindingRecord]:
    """Findings, the worst first. A subject that can't be read is told in the coverage, and the others go on."""
    for subject in subjects:
        if subject not in SUBJECTS:
            raise UsageError(f"{subject!r} is nothing to check", hint=f"choose from {', '.join(SUBJECTS)}")
    gaps = Gaps()
    found: list[FindingRecord] = []
    checks = _checks(kernel, basis, gaps)
    for subject in SUBJECTS:
        if subject in subjects:
            try:
                found += checks[subject]()
            except GuestDataError as error:
                gaps.add(subject, "unreadable", error.message)
    found.sort(key=lambda record: (-SEVERITIES.index(record.severity), record.check, record.subject))
    return Answer(found, gaps)


def _checks(kernel: Kernel, basis: Basis, gaps: Gaps) -> dict[str, Callable[[], list[FindingRecord]]]:
    return {
        "processes": lambda: processes.check_processes(kernel, gaps),
        "credentials": lambda: credentials.check_credentials(kernel, gaps),
        "modules": lambda: modules.check_modules(kernel, gaps),
        "pointers": lambda: pointers.check_pointers(
            kernel, gaps, lambda seen: known_code(kernel, basis, seen), basis.registers
        ),
        "sockets": lambda: sockets.check_sockets(kernel, gaps),
        "executable": lambda: executable.check_executable(
            kernel, gaps, lambda seen: known_code(kernel, basis, seen)
        ),
        "text": lambda: text.check_text(
            kernel, gaps, lambda seen: known_code(kernel, basis, seen), basis.abi, basis.before, basis.image
        ),
        "habits": lambda: habits.check_habits(kernel, gaps),
        "defences": lambda: defences.check_defences(kernel, gaps, basis.expectations),
    }


def known_code(kernel: Kernel, basis: Basis, gaps: Gaps) -> CodeMap:
    """Whose code is where, our own probe's too."""
    ours = find_tenant(kernel, basis.abi).state in ("mapped", "other vmon")
    own = [CodeArea(SLOT_GVA, SLOT_GVA + SLOT_BYTES, "vmon", "probe")] if ours else []
    return code.find_code(kernel, gaps, own)
