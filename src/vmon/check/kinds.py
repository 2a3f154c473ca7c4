"""Every kind of finding: how bad it is, what it would be evidence of, what else it could be. Pure data.

A finding is a difference between two things that were read, never a signature: what intruders are called does not
matter. ATT&CK ids are those of the enterprise matrix.
"""

from __future__ import annotations

from dataclasses import dataclass

from vmon.core.records.finding import FindingRecord, Severity


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of finding."""

    severity: Severity
    attack: tuple[str, ...]
    said: str
    """A sentence; {} is the subject."""
    could_be: str


HIDDEN = ("T1014", "T1564")
KINDS: dict[str, Kind] = {
    "process.hidden": Kind(
        "critical",
        HIDDEN,
        "{} runs but is not on the kernel's list of processes",
        "a fork or exit that takes long on a stalled machine: look again",
    ),
    "process.unlisted": Kind(
        "critical",
        HIDDEN,
        "{} is on the kernel's list of processes but not in the pid table, so /proc and kill do not know it",
        "a fork or exit that takes long on a stalled machine: look again",
    ),
    "process.pid": Kind(
        "high",
        HIDDEN,
        "{} is in the pid table under another number than it has itself",
        "memory that changed while it was read: look again",
    ),
    "credential.raised": Kind(
        "critical",
        ("T1068", "T1548"),
        "{} has the ids of a user that the kernel did not account it to: they were written over in place",
        "nothing known: the kernel changes ids and the account together",
    ),
    "credential.shared": Kind(
        "critical",
        ("T1068", "T1134.001"),
        "{} shares its credentials with another process, which a fork never leaves so",
        "a kernel thread that works for a process (io_uring, vhost) for as long as that lasts",
    ),
    "credential.setuid": Kind(
        "high",
        ("T1548.001",),
        "{} acts as a user that neither its real ids nor its program's set-user-id bit gives it",
        "a server that changes its effective ids back and forth, or a program file that was replaced since",
    ),
    "module.hidden": Kind(
        "critical",
        ("T1014", "T1547.006"),
        "module {} is loaded but not on the kernel's list of modules",
        "a module that was being loaded or unloaded: look again",
    ),
    "module.unlisted": Kind(
        "high",
        ("T1014", "T1547.006"),
        "module {} is on the list but has no entry in sysfs or in the table of module addresses",
        "a module that was being loaded or unloaded: look again",
    ),
    "code.syscall": Kind(
        "critical",
        ("T1014",),
        "system call {} leads to something else than its own function",
        "a kernel with live patches, or a tracer that replaces entries of the table",
    ),
    "code.interrupt": Kind(
        "critical",
        ("T1014",),
        "interrupt gate {} leads out of the kernel's text",
        "another hypervisor or debugger that took the gate",
    ),
    "code.pointer": Kind(
        "critical",
        ("T1014",),
        "{} holds an address that is in no code of the kernel or of a module that is known",
        "a kind of generated code that vmon does not know",
    ),
}


def finding(
    kind: str,
    subject: str,
    evidence: list[str],
    *,
    pid: int | None = None,
    address: int | None = None,
    could_be: str = "",
) -> FindingRecord:
    """A finding of a kind; `could_be` where this very one could be something else than its kind."""
    known = KINDS[kind]
    return FindingRecord(
        check=kind,
        severity=known.severity,
        attack=list(known.attack),
        subject=subject,
        said=known.said.format(subject),
        evidence=evidence,
        could_be=could_be or known.could_be,
        pid=pid,
        address=address,
    )
