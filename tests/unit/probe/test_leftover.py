from __future__ import annotations

import pytest

from tests.unit.linux.build import Guest
from vmon.core.address import PAGE_SIZE_BYTES, Gpa
from vmon.core.ports import Patch, PauseReport
from vmon.probe.abi import load_abi
from vmon.probe.leftover import clear_leftovers, pages_of
from vmon.probe.window import Window
from vmon.transport.fake import FakeRam

ABI = load_abi()
TABLE, CODE, CONFIG, STATE = (Gpa(number << 12) for number in (1, 2, 4, 5))


class Low:
    """The low memory of a guest in which a probe once was."""

    def __init__(self, *, globally: bool = True) -> None:
        self.guest = Guest("new", code=True)
        self.patched: list[int] = []
        ram = FakeRam({0x1000: bytes(PAGE_SIZE_BYTES)})
        self.window = Window(ram, ram, TABLE, globally=globally)
        self.window.map(0, [CODE], executable=True)
        self.window.map(ABI.sizes["CONFIG_AT"], [CONFIG])
        self.window.map(ABI.sizes["STATE_AT"], [STATE], writable=True)
        self.window.map(ABI.sizes["RING_AT"], [Gpa(0x4000_0000)], writable=True)
        self.table = ram.read(TABLE, PAGE_SIZE_BYTES)
        self.write(TABLE, self.table)
        for page in (CODE, CONFIG, STATE):
            self.write(page, b"\1" * 8)

    def write(self, gpa: Gpa, data: bytes) -> None:
        self.guest.low[gpa : gpa + len(data)] = data

    def patch(self, patches: list[Patch]) -> PauseReport:
        for patch in patches:
            assert self.guest.low[patch.gpa : patch.gpa + len(patch.old)] == patch.old
            self.patched.append(patch.gpa)
            self.write(patch.gpa, patch.new)
        return PauseReport(1, len(patches))

    def clear(self) -> int:
        return clear_leftovers(self.guest.kernel(), self, self, ABI)  # type: ignore[arg-type]


@pytest.mark.parametrize("globally", [True, False])
def test_a_dead_probe_is_cleared_and_its_code_in_a_pause(globally: bool) -> None:
    low = Low(globally=globally)
    assert low.clear() == 4
    assert not any(low.guest.low[0x1000:0x98000])
    assert low.patched == [CODE]
    assert low.clear() == 0


def test_one_that_was_half_made_or_half_cleared_too() -> None:
    low = Low()
    low.write(STATE, bytes(8))
    low.write(TABLE, low.table[:8].ljust(PAGE_SIZE_BYTES, b"\0"))
    assert low.clear() == 2
    assert any(low.guest.low[CONFIG : CONFIG + 8]), "nothing says whose it is"


@pytest.mark.parametrize(
    ("at", "entry"),
    [
        (0, 0),  # no code
        (8, 0x3000 | 0x63),  # code that can be written
        (0x80, 0x4000 | 0x121),  # configuration that can be executed
        (0x18, 0x123),  # the page at 0
        (0, 0x9_F000 | 0x121),  # what firmware keeps
        (0, 0x1000 | 0x121),  # itself
        (0, 0x10_0000 | 0x121),
    ],
)
def test_what_only_looks_like_one_is_left_alone(at: int, entry: int) -> None:
    low = Low()
    low.write(Gpa(TABLE + at), entry.to_bytes(8, "little"))
    before = bytes(low.guest.low)
    assert low.clear() == 0
    assert bytes(low.guest.low) == before


def test_pages_by_their_table() -> None:
    assert pages_of(Low().table, ABI) == {CODE: True, CONFIG: False, STATE: False}
    assert pages_of(bytes(PAGE_SIZE_BYTES), ABI) == {}
    assert pages_of(b"\xff" * PAGE_SIZE_BYTES, ABI) == {}
