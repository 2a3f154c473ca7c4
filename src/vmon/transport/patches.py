"""A change of code is all of its places or none: compared before, read back after, undone when it fails half-way.

Pure: reads and writes by the functions that it is given, which know the transport; the caller has paused the guest. A
guest that was changed since the change was planned (its own tracer, an attacker) is refused at the first place that
differs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from itertools import pairwise

from vmon.core.address import Gpa
from vmon.core.errors import CodeDiffers, PauseLost, TargetError, UsageError, VmonError
from vmon.core.ports import Patch

Read = Callable[[Gpa, int], bytes]
Write = Callable[[Gpa, bytes], None]


def check_patches(patches: Sequence[Patch]) -> None:
    """Refuse what makes no sense whatever the guest holds."""
    for patch in patches:
        if not patch.old or len(patch.old) != len(patch.new):
            raise UsageError(
                f"the patch at {patch.gpa:#x} replaces {len(patch.old)} bytes by {len(patch.new)}",
                hint="a patch replaces some bytes by as many",
            )
    ordered = sorted(patches, key=lambda patch: patch.gpa)
    for before, after in pairwise(ordered):
        if before.gpa + len(before.old) > after.gpa:
            raise UsageError(f"the patches at {before.gpa:#x} and {after.gpa:#x} overlap")


def verify_patches(patches: Sequence[Patch], read: Read) -> None:
    """Whether every place holds its old bytes; CodeDiffers names the first that does not."""
    for patch in patches:
        found = read(patch.gpa, len(patch.old))
        if found != patch.old:
            raise CodeDiffers(patch.gpa, patch.old, found)


def apply_patches(patches: Sequence[Patch], read: Read, write: Write) -> None:
    """Compare all, write all, read all back; on an error the old bytes are put back before it is raised."""
    verify_patches(patches, read)
    tried: list[Patch] = []
    try:
        for patch in patches:
            tried.append(patch)
            write(patch.gpa, patch.new)
        for patch in patches:
            if read(patch.gpa, len(patch.new)) != patch.new:
                raise TargetError(f"what was written at guest-physical {patch.gpa:#x} did not arrive")
    except PauseLost:
        raise  # the guest runs: a second change of the same code would only make it worse
    except BaseException:
        for patch in reversed(tried):
            with contextlib.suppress(VmonError):
                write(patch.gpa, patch.old)
        raise
