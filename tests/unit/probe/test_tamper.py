from __future__ import annotations

from collections.abc import Iterator

import pytest

from vmon.arch.x86_64.code import CALL, Call, encode_branch
from vmon.arch.x86_64.paging import NO_EXECUTE, PRESENT, USER
from vmon.core.address import Gpa, Gva
from vmon.core.errors import BadStructure
from vmon.probe import tamper
from vmon.probe.abi import load_abi
from vmon.probe.place import SLOT_GVA, Slot, encode_table_entry
from vmon.probe.tamper import LIVE, Place, Seal, fixed_runs
from vmon.probe.window import Window
from vmon.transport.fake import FakeRam

TABLE, CODE, TEXT, SLOT = Gpa(0x1000), Gpa(0x2000), Gpa(0x4000), Gpa(0x5000)
TEXT_GVA = Gva(0xFFFF_FFFF_8100_0000)
BEFORE = encode_branch(Call(TEXT_GVA, CALL, Gva(TEXT_GVA + 0x900)))
AFTER = encode_branch(Call(TEXT_GVA, CALL, SLOT_GVA))


class Guest:
    """One instruction, one page of code, one piece of configuration."""

    def __init__(self) -> None:
        self.ram = FakeRam({0x1000: bytes(0x5000)})
        self.ram.guest_writes(CODE, bytes(range(256)) * 16)
        self.ram.guest_writes(TEXT, AFTER)
        self.ram.guest_writes(SLOT, encode_table_entry(TABLE).to_bytes(8, "little"))
        self.window = Window(self.ram, self.ram, TABLE)
        self.window.map(0, [CODE], executable=True)
        self.seal = Seal(
            self.ram,
            TABLE,
            [
                Place("instruction", TEXT_GVA, TEXT, AFTER, BEFORE),
                Place("code", SLOT_GVA, CODE, bytes(range(256)) * 16),
                Place("configuration", Gva(SLOT_GVA + 0x1_0000), Gpa(0x3000), bytes(16)),
            ],
            self.slot,
            {0: self.window.entry(0)},
        )

    def slot(self) -> Slot:
        return Slot(SLOT_GVA, SLOT, int.from_bytes(self.ram.read(SLOT, 8), "little"))

    def said(self) -> list[str]:
        return [found.record().said for found in self.seal.check()]


@pytest.fixture
def guest(monkeypatch: pytest.MonkeyPatch) -> Iterator[Guest]:
    monkeypatch.setattr(tamper, "AGAIN_S", 0)
    yield Guest()


def test_what_is_as_it_was_written_differs_in_nothing(guest: Guest) -> None:
    assert guest.seal.check() == []
    assert not guest.seal.undone([])


@pytest.mark.parametrize(
    ("gpa", "data", "said"),
    [
        (TEXT, BEFORE, "instruction at 0xffffffff81000000 leads past the probe again"),
        (TEXT, b"\xcc", "instruction at 0xffffffff81000000 is a breakpoint"),
        (TEXT, b"\x90\x90", "instruction at 0xffffffff81000000 is 90 90"),
        (Gpa(CODE + 0x123), b"\0", "code at 0xffffffff80000123 is 00, not 23"),
        (Gpa(0x3004), b"\1", "configuration at 0xffffffff80010004 is 01, not 00"),
        (SLOT, bytes(8), "slot at 0xffffffff80000000 is empty"),
        (SLOT, b"\x63\x90", "slot at 0xffffffff80000000 is 63 90 00 00 00 00 00 00, not 63 10"),
        (TABLE, b"\x63", "page-table entry at 0xffffffff80000000 is 63 "),
        (
            Gpa(TABLE + 0x80),
            (0x6000 | PRESENT).to_bytes(8, "little"),
            "page-table entry at 0xffffffff80010000",
        ),
    ],
)
def test_each_byte_counts_and_is_put_right(guest: Guest, gpa: Gpa, data: bytes, said: str) -> None:
    whole = {at: bytes(part) for at, part in guest.ram.memory.items()}
    guest.ram.guest_writes(gpa, data)
    (found,) = guest.said()
    assert found.startswith(said)
    guest.seal.repair(guest.seal.check(), guest.ram, guest.ram)
    if data == b"\xcc":
        assert guest.said(), "the guest's own breakpoint is left to it"
        return
    assert guest.said() == []
    assert {at: bytes(part) for at, part in guest.ram.memory.items()} == whole


def test_more_pages_for_rules_and_records_are_no_difference(guest: Guest) -> None:
    guest.window.map(0x2_0000, [Gpa(0x3000)], writable=True)
    assert guest.seal.check() == []
    guest.window.map(0x2_0000, [Gpa(0x4000)], writable=True)
    assert len(guest.said()) == 1, "but they stay where they are"
    entry = 0x4000 | PRESENT | NO_EXECUTE | USER
    guest.ram.guest_writes(Gpa(TABLE + 0x200), entry.to_bytes(8, "little"))
    assert len(guest.said()) == 2


def test_what_is_changed_back_at_once_was_another_vmon(guest: Guest) -> None:
    def moving(ram: FakeRam, row: int) -> None:
        # Once all of it has been looked at.
        if row == 5:
            ram.moving = None
            ram.guest_writes(TEXT, AFTER)

    guest.ram.guest_writes(TEXT, BEFORE)
    guest.ram._rows = 0
    guest.ram.moving = moving
    assert guest.seal.check() == []


def test_a_probe_that_was_taken_out(guest: Guest) -> None:
    guest.ram.guest_writes(TEXT, BEFORE)
    assert guest.seal.undone(guest.seal.check())


def test_tables_that_make_no_sense_are_a_difference(guest: Guest) -> None:
    def broken() -> Slot:
        raise BadStructure("no", field="init_top_pgt")

    guest.seal._find = broken
    (found,) = guest.seal.check()
    assert "page tables do not lead to the probe" in found.record().said


def test_the_words_that_live_are_not_compared() -> None:
    abi = load_abi()
    covered = {at for start, end in fixed_runs(abi) for at in range(start, end)}
    live = {
        at
        for offset, size in (abi.member("config", name) for name in LIVE)
        for at in range(offset, offset + size)
    }
    assert covered | live == set(range(abi.size("config")))
    assert not covered & live
