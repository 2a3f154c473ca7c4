"""How the tests of decoders play the hostile guest: the same examples at every run, and RAM that counts.

VMON_FUZZ_EXAMPLES=5000 looks longer and elsewhere; the suite itself stays short and stable.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from vmon.transport.fake import FakeRam

EXAMPLES = int(os.environ.get("VMON_FUZZ_EXAMPLES", "0"))


def steady(examples: int = 100) -> settings:
    """Settings of a hypothesis test that is stable: fixed examples, no clock."""
    return settings(
        max_examples=EXAMPLES or examples,
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


class OutOfBounds(AssertionError):
    """A decoder asked for more than any honest structure needs. Not a VmonError: it must fail the test."""


class BoundedRam(FakeRam):
    """A fake guest that ends an endless walk: it counts calls and bytes instead of logging them."""

    def __init__(
        self,
        memory: Mapping[int, bytes | bytearray],
        *,
        calls_limit: int = 30_000,
        bytes_limit: int = 256 << 20,
    ) -> None:
        super().__init__(memory)
        self.calls = 0
        self.bytes_read = 0
        self.calls_limit = calls_limit
        self.bytes_limit = bytes_limit

    def _operate(self, kind: str, gpas: tuple[int, ...] = (), size_bytes: int = 0) -> None:
        self.calls += 1
        self.bytes_read += size_bytes * max(len(gpas), 1) if kind in ("read", "gather") else 0
        if self.calls > self.calls_limit:
            raise OutOfBounds(f"more than {self.calls_limit} operations")
        if self.bytes_read > self.bytes_limit:
            raise OutOfBounds(f"{self.bytes_read:,} bytes asked for")


WORD_VALUES = st.one_of(
    st.sampled_from([0, 1, 2, 3, 0xFF, 0x1000, 0xFFFF, 1 << 31, (1 << 32) - 1, 1 << 63, (1 << 64) - 1]),
    st.integers(0, (1 << 64) - 1),
    st.integers(0, 300),
)


@st.composite
def damaged(draw: st.DrawFn, valid: bytes) -> bytes:
    """A valid input, cut short, or with some bytes or aligned words replaced."""
    data = bytearray(valid)
    for _ in range(draw(st.integers(0, 6))):
        size = draw(st.sampled_from([1, 2, 4, 8]))
        at = draw(st.integers(0, max(0, len(data) - size))) // size * size
        data[at : at + size] = (draw(WORD_VALUES) & ((1 << 8 * size) - 1)).to_bytes(size, "little")
    if draw(st.integers(0, 3)) == 0:
        del data[draw(st.integers(0, len(data))) :]
    return bytes(data)
