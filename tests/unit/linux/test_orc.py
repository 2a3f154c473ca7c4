from __future__ import annotations

import pytest

from tests.unit.linux.orcs import Orcs, Row
from vmon.core.errors import BadStructure
from vmon.linux.orc import OrcEntry, OrcFormat, image_table

ROWS: list[Row] = [
    (0, "call", "sp", 8, "undefined", 0),
    (0x10, "call", "sp", 16, "prev sp", -16),
    (0x20, "call", "bp", 16, "prev sp", -16),
    (0x30, "regs", "sp", 0, "undefined", 0),
    (0x40, "regs partial", "sp", 0, "undefined", 0),
    (0x50, "call", "bp indirect", -40, "bp", 0),
    (0x60, "call", "r10", 0, "undefined", 0),
    (0x70, "end", "undefined", 0, "undefined", 0),
]


@pytest.mark.parametrize(
    ("old", "with_end"), [(True, True), (True, False), (False, False)], ids=["6.1", "6.12", "7.2"]
)
def test_every_kind_of_entry_in_every_spelling(old: bool, with_end: bool) -> None:
    orcs = Orcs(ROWS, old=old, with_end=with_end)
    table = image_table(orcs.kernel())
    assert table is not None
    for offset, kind, sp, sp_offset, bp, bp_offset in ROWS:
        expected = OrcEntry(kind, "other" if sp == "r10" else sp, sp_offset, bp, bp_offset)
        assert table.find(orcs.text + offset) == expected
        assert table.find(orcs.text + offset + 0xF) == expected
    assert table.find(orcs.text - 1) is None
    assert table.find(orcs.text + 0x5000) == table.find(orcs.text + 0x70)


def test_a_kernel_without_tables() -> None:
    orcs = Orcs(ROWS)
    kernel = orcs.kernel()
    del orcs.small.profile.symbols["__start_orc_unwind"]
    assert image_table(kernel) is None


def test_tables_that_can_not_be() -> None:
    orcs = Orcs(ROWS)
    places = orcs.small.profile.symbols
    places["__stop_orc_unwind_ip"] = places["__start_orc_unwind_ip"] - 4
    with pytest.raises(BadStructure, match="an ORC table of"):
        image_table(orcs.kernel())
    places["__stop_orc_unwind_ip"] = places["__start_orc_unwind_ip"] + (1 << 40)
    with pytest.raises(BadStructure, match="an ORC table of"):
        image_table(orcs.kernel())
    # Registers that nobody knows are not guessed.
    unknown = Orcs([(0, "call", "bp indirect", 8, "undefined", 0)])
    with pytest.raises(BadStructure, match="10 is the register of most entries"):
        image_table(unknown.kernel())


def test_bits_that_this_kernel_does_not_name() -> None:
    orcs = Orcs(ROWS)
    kernel = orcs.kernel()
    kernel.__dict__["types"] = type("None", (), {"find": lambda self, name: None})()
    with pytest.raises(BadStructure, match="no such field"):
        OrcFormat(kernel)
