from __future__ import annotations

import numpy as np

from tests.unit.linux.orcs import Orcs, Row
from vmon.linux.modsymbols import find_code
from vmon.linux.orc import image_table

START = 0xFFFF_FFFF_C010_0000
ROWS: list[Row] = [(0, "call", "sp", 8, "undefined", 0)]


def test_modules_and_their_functions() -> None:
    orcs = Orcs(ROWS)
    orcs.module(b"loop", START, ROWS, {0x80: b"second", 0x10: b"first", 0x5000: b"beyond its code"})
    kernel = orcs.kernel()
    code = find_code(kernel)
    assert code.at(START + 0x15) == ("loop", "first", 5)
    assert code.at(START + 0x80) == ("loop", "first", 0x70), "what a call at the end of first returns to"
    assert code.at(START + 0x90) == ("loop", "second", 0x10)
    assert code.at(START + 0x5) == ("loop", None, 0)
    assert code.at(START + 0x1000) == ("", None, 0)
    words = np.array([START - 1, START, START + 0xFFF, START + 0x1000, 0], dtype=np.uint64)
    assert code.holds(words).tolist() == [False, True, True, False, False]
    image = image_table(kernel)
    assert image is not None
    table = code.orc_table("loop", image.form)
    assert table is not None
    found = table.find(START + 5)
    assert found is not None
    assert found.sp_offset == 8
    assert code.orc_table("nobody", image.form) is None


def test_tables_that_are_not_there() -> None:
    orcs = Orcs(ROWS)
    module = orcs.module(b"loop", START, ROWS, {0x10: b"first"})
    wild = 0xFFFF_C900_0000_0000
    orcs.small.set(module, "module", kallsyms=wild, arch__orc_unwind_ip=wild)
    kernel = orcs.kernel()
    code = find_code(kernel)
    assert code.at(START + 0x15) == ("loop", None, 0)
    image = image_table(kernel)
    assert image is not None
    assert code.orc_table("loop", image.form) is None
    orcs.small.set(module, "module", arch__num_orcs=0)
    assert code.orc_table("loop", image.form) is None


def test_a_list_that_is_broken_leaves_no_modules() -> None:
    orcs = Orcs(ROWS)
    orcs.module(b"loop", START, ROWS, {})
    orcs.small.put(orcs.small.symbol("modules"), 0xFFFF_C900_0000_0000)
    assert find_code(orcs.kernel()).at(START + 1) == ("", None, 0)
