from __future__ import annotations

import pytest

from tests.unit.kernel.build import LAYOUTS, filler_symbols, kallsyms
from vmon.kernel.kallsyms import locate_kallsyms
from vmon.kernel.symbols import SymbolTable

TEXT = 0xFFFF_FFFF_9F00_0000
RODATA = TEXT + (2 << 20)


def table(layout: int, named: list[tuple[str, int]]) -> SymbolTable:
    symbols = filler_symbols(4400, TEXT)
    symbols[100:100] = named
    data, _ = kallsyms(symbols, LAYOUTS[layout], 4096, RODATA)
    return SymbolTable(locate_kallsyms(bytes(4096) + data + bytes(4096)), RODATA)


@pytest.mark.parametrize("layout", range(len(LAYOUTS)))
def test_names_and_addresses_both_ways(layout: int) -> None:
    symbols = table(
        layout, [("Tdo_exit", TEXT + 0x100010), ("talias", TEXT + 0x100010), ("Ddo_exit", TEXT + 0x180000)]
    )
    assert len(symbols) == len(symbols.names) == len(symbols.addresses) == 4403
    assert symbols.find("do_exit") == TEXT + 0x100010
    assert symbols.find("no_such") is None
    assert symbols.at(TEXT + 0x100010) == ("do_exit", 0)
    assert symbols.at(TEXT + 0x100013) == ("do_exit", 3)
    assert symbols.kinds[symbols.names.index("alias")] == "t"


def test_an_address_before_all_and_one_far_behind() -> None:
    symbols = table(4, [])
    assert symbols.at(0x1000) is None
    assert symbols.at((1 << 64) - 1) is None
