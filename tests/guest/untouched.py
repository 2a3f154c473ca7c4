"""The kernel's text is as it was, but for what the kernel itself changes as it runs: its static keys.

A static key is a nop or a jump within the text (include/linux/jump_label.h); some are switched when something is used
for the first time, a socket for example. Nothing of the probe looks so: what leads to it leaves the text.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vmon.probe.sites import Text

NOPS = {5: bytes.fromhex("0f1f440000"), 2: bytes.fromhex("6690")}
JUMPS = {5: 0xE9, 2: 0xEB}


def assert_untouched(now: Text, before: Text) -> None:
    """Every byte is the same, static keys aside."""
    assert (now.gva, len(now.data)) == (before.gva, len(before.data))
    for at in _places(now.data, before.data):
        sizes = [
            size for size in NOPS if _switched(now, before, at, size) or _switched(before, now, at, size)
        ]
        assert sizes, (
            f"at {now.gva + at:#x}: {now.data[at : at + 8].hex(' ')}, was {before.data[at : at + 8].hex(' ')}"
        )


def _places(one: bytes, other: bytes) -> Iterator[int]:
    """Where something begins that differs; bytes of the same instruction are left out."""
    end = 0
    for at in np.flatnonzero(np.frombuffer(one, np.uint8) != np.frombuffer(other, np.uint8)).tolist():
        if at >= end:
            yield at
            end = at + 5 if one[at] in (0x0F, 0xE9) else at + 2


def _switched(nop: Text, jump: Text, at: int, size: int) -> bool:
    if nop.data[at : at + size] != NOPS[size] or jump.data[at] != JUMPS[size]:
        return False
    target = at + size + int.from_bytes(jump.data[at + 1 : at + size], "little", signed=True)
    return 0 <= target < len(jump.data)
