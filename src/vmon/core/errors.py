"""The one tree of errors, split by who can act on them.

Pure definitions. Each error carries values, a hint for a person, and the exit code of the command line.

    VmonError
    +- UsageError            2   what was asked makes no sense: the caller corrects it
    |  +- PolicyError        2   a policy that can't be put in force, with all that is wrong about it
    +- TargetError           3   the guest can't be reached: the operator of the host acts
    |  +- TargetNotFound     3
    |  +- TargetBusy         4   somebody else holds the only connection
    |  +- TargetDenied       5   permission
    |  +- TargetGone         6   it was there and went away
    |  +- PauseLost          3   the guest went on before its code was changed
    |  +- DumpFormatError    7   the file is not a memory dump that we know
    |  +- GuestRebooted      9   another kernel runs there now, and what was put into the old one is gone
    +- NotSupported          8   this target lacks the ability that the feature needs
    +- IdentifyError        10   RAM was read, the kernel in it is not known
    |  +- NoKernelYet       11   firmware, boot loader, kernel still booting
    |  +- NotLinux          12
    |  +- GuestEncrypted    13
    |  +- NoTypeInformation 14   Linux without BTF
    +- GuestDataError       20   the guest's memory contradicts itself: hostile, torn or unknown layout
    |  +- PhysReadError     20   not RAM
    |  +- NotMapped         20   no page behind a virtual address
    |  +- BadStructure      20   a field, its address, and the limit or rule it broke
    |  +- CodeDiffers       20   other bytes than those that were to be replaced
    +- NoSuchProcess        21
    +- ProbeTampered        22   the probe in the guest is not, or was not, as vmon wrote it
    +- NoSuchFile           23   no such file in the guest, or the guest has not its name in memory
    +- NotResident          24   a part of what was asked for is not in the guest's memory
    +- RulesError           25   a file of YARA or Sigma rules that makes no sense
    +- OutputError          26   an output of events can't be opened, or is somebody else's
    +- JournalBroken        27   a journal is not as vmon wrote it: changed, cut, or in another order
    +- LabError             30   a lab guest: boot, fetch, run
    +- FindingsReported     40   a check found something; the findings are the answer
"""

from __future__ import annotations

from collections.abc import Sequence


class VmonError(Exception):
    """Base of everything that vmon raises on purpose."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(VmonError):
    """The request itself is wrong."""

    exit_code = 2


class PolicyError(UsageError):
    """A policy that can't be put in force; `problems` is all that is wrong about it, FILE:LINE first."""

    def __init__(self, problems: Sequence[str]) -> None:
        more = f"; and {len(problems) - 1} more" if len(problems) > 1 else ""
        super().__init__(problems[0] + more)
        self.problems = tuple(problems)


class TargetError(VmonError):
    """The guest can't be reached."""

    exit_code = 3


class TargetNotFound(TargetError):
    """No such guest, socket, process or file."""


class TargetBusy(TargetError):
    """Somebody else has it: the monitor socket (QEMU serves one client a socket), or the events of the guest."""

    exit_code = 4


class TargetDenied(TargetError):
    """The host does not let this user look."""

    exit_code = 5


class TargetGone(TargetError):
    """The guest or its hypervisor ended while we looked."""

    exit_code = 6


class PauseLost(TargetError):
    """The guest's pause ended before its code was changed, or all of it: the caller looks again at each place."""


class DumpFormatError(TargetError):
    """The file is not a dump that we know, or is cut short."""

    exit_code = 7


class GuestRebooted(TargetError):
    """Another kernel runs there now, and what was put into the old one is gone."""

    exit_code = 9


class NotSupported(VmonError):
    """The target lacks an ability (a port) that the feature needs."""

    exit_code = 8


class IdentifyError(VmonError):
    """RAM was read, but which kernel runs there is not known."""

    exit_code = 10


class NoKernelYet(IdentifyError):
    """Firmware, boot loader or a kernel that has not settled."""

    exit_code = 11


class NotLinux(IdentifyError):
    """Something runs, and it is not a Linux that vmon can see."""

    exit_code = 12


class GuestEncrypted(IdentifyError):
    """RAM reads as noise: SEV, TDX or the like."""

    exit_code = 13


class NoTypeInformation(IdentifyError):
    """A Linux kernel without BTF or without kallsyms."""

    exit_code = 14


class GuestDataError(VmonError):
    """The guest's memory does not make sense where we read it."""

    exit_code = 20

    def __init__(self, message: str, *, field: str = "", address: int = 0, hint: str = "") -> None:
        where = f" ({field} at {address:#x})" if field else (f" (at {address:#x})" if address else "")
        super().__init__(message + where, hint=hint)
        self.field = field
        self.address = address


class PhysReadError(GuestDataError):
    """A guest-physical address that is not RAM."""

    def __init__(self, gpa: int, size_bytes: int) -> None:
        super().__init__(f"{size_bytes} bytes at guest-physical {gpa:#x} are not all RAM")
        self.address = gpa
        self.size_bytes = size_bytes


class NotMapped(GuestDataError):
    """A guest-virtual address with no page behind it."""


class BadStructure(GuestDataError):
    """A structure that breaks a limit or a rule that every sane kernel keeps."""


class CodeDiffers(GuestDataError):
    """Code is not what it was when the change was planned: somebody else changes it too."""

    def __init__(self, gpa: int, expected: bytes, found: bytes) -> None:
        super().__init__(
            f"code at guest-physical {gpa:#x} is {found[:16].hex(' ')}, not {expected[:16].hex(' ')}",
            hint="the guest's own tracer or a live patch may be there; nothing was changed",
        )
        self.address = gpa
        self.expected = expected
        self.found = found


class NoSuchProcess(VmonError):
    """No process of that pid, or it ended while we looked."""

    exit_code = 21


class ProbeTampered(VmonError):
    """The probe in the guest is not, or for a time was not, as vmon wrote it."""

    exit_code = 22


class FindingsReported(VmonError):
    """A check of a guest found something; the findings are the answer."""

    exit_code = 40


class NoSuchFile(VmonError):
    """No file of that name in the guest, or none that it has looked up lately."""

    exit_code = 23


class NotResident(VmonError):
    """A part of what was asked for is not in the guest's memory: on its disk, or swapped out."""

    exit_code = 24


class RulesError(VmonError):
    """A file of YARA rules that can't be compiled, the message names the line; or files that are no Sigma rules."""

    exit_code = 25


class OutputError(VmonError):
    """An output of events can't be opened: a file, a socket, a server."""

    exit_code = 26


class JournalBroken(VmonError):
    """A journal is not as vmon wrote it; the message names the line."""

    exit_code = 27


class LabError(VmonError):
    """A lab guest could not be fetched, booted or commanded."""

    exit_code = 30

    def __init__(self, message: str, *, hint: str = "", log: Sequence[str] = ()) -> None:
        super().__init__(message, hint=hint)
        self.log = tuple(log)
        """The end of what the hypervisor and the guest's console said: text of a stranger."""

    def __str__(self) -> str:
        return "\n  | ".join([self.message, *self.log])
