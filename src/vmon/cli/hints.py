"""What to do about an error that brings no hint of its own, by its kind: no error leaves its reader alone.

Pure.
"""

from __future__ import annotations

from vmon.core import errors

HINTS: dict[type[errors.VmonError], str] = {
    errors.VmonError: "this should not happen: please report it with the command that was run",
    errors.UsageError: "`vmon COMMAND --help` has examples",
    errors.TargetError: "`vmon guests` lists the guests of this host and what can be done to each",
    errors.TargetDenied: "run vmon as root, or as the user that QEMU runs as",
    errors.TargetGone: "`vmon guests` lists the guests that are there",
    errors.PauseLost: "somebody else continued the guest; try again",
    errors.DumpFormatError: "raw, ELF core and LiME files are read; `vmon dump` writes one",
    errors.GuestRebooted: "run the command again: it finds the new kernel",
    errors.NotSupported: "`vmon doctor TARGET` tells what can be done here, and why not",
    errors.IdentifyError: "try again when the guest has booted; `vmon help exit-codes` tells these errors apart",
    errors.NotLinux: "vmon sees Linux guests on x86-64",
    errors.GuestEncrypted: "the host can't see this guest's memory, and no tool can",
    errors.NoTypeInformation: "--symbols FILE gives the types: a Volatility symbol file or a vmlinux",
    errors.GuestDataError: "the guest may have moved: look again; `vmon check` looks for what lies",
    errors.NoSuchProcess: "`vmon ps TARGET` lists the processes",
    errors.ProbeTampered: "`vmon check TARGET` looks for who does such things; --repair puts the probe right",
    errors.NoSuchFile: "only names that the guest has in memory are found; `vmon files TARGET PID` lists open ones",
    errors.NotResident: "it is on the guest's disk, or swapped out: nothing of it is in memory",
    errors.RulesError: "the line that is named can't be compiled",
    errors.LabError: "`vmon lab list` shows what runs; the lines above are the guest's last words",
    errors.FindingsReported: "docs/checks.md tells what each finding could also be",
}


def hint_of(error: errors.VmonError) -> str:
    """Its own hint, or that of its kind."""
    return error.hint or next(HINTS[kind] for kind in type(error).__mro__ if kind in HINTS)
