"""All places of a change or none."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmon.core.address import Gpa
from vmon.core.errors import CodeDiffers, PauseLost, PhysReadError, TargetError, TargetGone, UsageError
from vmon.core.ports import Patch
from vmon.transport.fake import FakeRam
from vmon.transport.patches import apply_patches, check_patches, verify_patches

BEFORE = bytes(range(64))


def patch(gpa: int, new: bytes, old: bytes | None = None) -> Patch:
    return Patch(Gpa(gpa), BEFORE[gpa : gpa + len(new)] if old is None else old, new)


@pytest.mark.parametrize(
    "patches",
    [
        [Patch(Gpa(0), b"", b"")],
        [Patch(Gpa(0), b"ab", b"a")],
        [patch(0, b"abc"), patch(2, b"d")],
        [patch(8, b"abc"), patch(0, b"abc"), patch(8, b"x")],
    ],
)
def test_what_makes_no_sense(patches: Sequence[Patch]) -> None:
    with pytest.raises(UsageError):
        check_patches(patches)


def test_neighbours_do_not_overlap() -> None:
    check_patches([patch(3, b"def"), patch(0, b"abc"), patch(6, b"g")])


def test_all_is_written() -> None:
    ram = FakeRam({0: BEFORE})
    apply_patches([patch(1, b"aa"), patch(60, b"bbbb")], ram.read, ram.write)
    assert ram.memory[0] == BEFORE[:1] + b"aa" + BEFORE[3:60] + b"bbbb"


def test_a_place_that_differs_is_named_and_nothing_is_written() -> None:
    ram = FakeRam({0: BEFORE})
    wrong = [patch(1, b"aa"), patch(9, b"bb", old=b"\x09\xff")]
    for verify in (
        lambda: verify_patches(wrong, ram.read),
        lambda: apply_patches(wrong, ram.read, ram.write),
    ):
        with pytest.raises(CodeDiffers, match=r"0x9 is 09 0a, not 09 ff") as caught:
            verify()
        assert (caught.value.address, caught.value.expected, caught.value.found) == (
            9,
            b"\x09\xff",
            b"\x09\x0a",
        )
    assert not [operation for operation in ram.log if operation.kind == "write"]


@given(st.integers(0, 2))
def test_a_write_that_fails_is_undone(nth: int) -> None:
    ram = FakeRam({0: BEFORE})
    done = 0

    def write(gpa: Gpa, data: bytes) -> None:
        nonlocal done
        done += 1
        if done - 1 == nth:
            ram.write(gpa, data[:1])  # half of it arrives
            raise TargetGone("gone for a moment")
        ram.write(gpa, data)

    with pytest.raises(TargetGone):
        apply_patches([patch(1, b"aa"), patch(9, b"bb"), patch(20, b"cc")], ram.read, write)
    assert ram.memory[0] == BEFORE


def test_a_write_that_does_not_arrive_is_noticed() -> None:
    ram = FakeRam({0: BEFORE})

    def write(gpa: Gpa, data: bytes) -> None:
        if gpa != 9:
            ram.write(gpa, data)

    with pytest.raises(TargetError, match="0x9 did not arrive"):
        apply_patches([patch(1, b"aa"), patch(9, b"bb")], ram.read, write)
    assert ram.memory[0] == BEFORE


def test_nothing_is_undone_in_a_guest_that_runs_again() -> None:
    ram = FakeRam({0: BEFORE})

    def write(gpa: Gpa, data: bytes) -> None:
        if gpa == 9:
            raise PauseLost("too late")
        ram.write(gpa, data)

    with pytest.raises(PauseLost):
        apply_patches([patch(1, b"aa"), patch(9, b"bb")], ram.read, write)
    assert [operation.gpas for operation in ram.log if operation.kind == "write"] == [(1,)]


def test_outside_of_ram() -> None:
    ram = FakeRam({0: BEFORE})
    with pytest.raises(PhysReadError):
        apply_patches([patch(1, b"aa"), Patch(Gpa(62), b"abcd", b"efgh")], ram.read, ram.write)
    assert ram.memory[0] == BEFORE
