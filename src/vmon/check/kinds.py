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
    "code.detour": Kind(
        "critical",
        ("T1014",),
        "the code of {} leads out of the kernel's and its modules' code",
        "a kind of generated code that vmon does not know",
    ),
    "code.changed": Kind(
        "critical",
        ("T1014",),
        "the code of {} is not what it was when this boot was first looked at",
        "a live patch, or a kind of change to its own code that vmon does not know",
    ),
    "code.file": Kind(
        "critical",
        ("T1014",),
        "the code of {} is not what the kernel's own file has there",
        "a live patch, or a kind of change as the kernel starts that vmon does not know",
    ),
    "code.pointer": Kind(
        "critical",
        ("T1014",),
        "{} holds an address that is in no code of the kernel or of a module that is known",
        "a kind of generated code that vmon does not know",
    ),
    "code.unknown": Kind(
        "critical",
        ("T1014", "T1547.006"),
        "the kernel may execute memory at {} that belongs to nothing it knows",
        "a kernel that is loaded for kexec or kdump, or a kind of generated code that vmon does not know",
    ),
    "code.writable": Kind(
        "high",
        ("T1014",),
        "the kernel may execute and write the memory at {}",
        "an old module or a debugger: kernels keep the two apart",
    ),
    "socket.hidden": Kind(
        "critical",
        ("T1014", "T1564"),
        "{} is in none of the kernel's tables, so /proc/net and ss do not show it",
        "a connection that was being made or closed: look again",
    ),
    "socket.nobody": Kind(
        "medium",
        ("T1014",),
        "{} is held by no process and is not the kernel's own",
        "a descriptor on its way to another process, or held by a thread that has a table of its own",
    ),
    "process.memfd": Kind(
        "high",
        ("T1620",),
        "{} runs a program that is in memory alone",
        "a container runtime that starts itself anew from a sealed copy (runc, crun)",
    ),
    "process.deleted": Kind(
        "low",
        ("T1070.004",),
        "{} runs a program that was deleted",
        "a package that was upgraded since the program was started",
    ),
    "process.writable_code": Kind(
        "medium",
        ("T1055",),
        "{} has memory that it can both write and execute",
        "a just-in-time compiler, an emulator, or an old program with an executable stack",
    ),
    "process.traced": Kind(
        "medium",
        ("T1055.008",),
        "{} is traced by another process",
        "a debugger, strace, or a sandbox that works by ptrace",
    ),
    "defence.off": Kind(
        "high",
        ("T1562.001",),
        "{} was started by this kernel and is switched off",
        "nothing known: it is switched off before it is started, or not at all",
    ),
    "defence.helper": Kind(
        "high",
        ("T1068", "T1547"),
        "the program that the kernel runs as root for {} is an unusual one",
        "a crash reporter in a folder of its own, or a system with an unusual layout",
    ),
    "defence.missing": Kind(
        "high",
        ("T1562.001",),
        "{} is expected to run and does not",
        "a service that was stopped, or that has another name here",
    ),
    "defence.seccomp": Kind(
        "high",
        ("T1562.001",),
        "{} is expected to run under a seccomp filter and does not",
        "a service whose unit has no filter here",
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
