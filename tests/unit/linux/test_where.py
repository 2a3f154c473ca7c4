from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from tests.unit.linux.small import IMAGE_GVA, Small
from tests.unit.linux.test_module import NEW, made
from vmon.core.coverage import Gaps
from vmon.kernel.kallsyms import Kallsyms
from vmon.kernel.symbols import SymbolTable
from vmon.linux.kernel import Kernel
from vmon.linux.where import Where


def table(**symbols: int) -> SymbolTable:
    """Symbols by their addresses."""
    found = SimpleNamespace(
        parts=dict,
        addresses=lambda image: np.array(list(symbols.values()), dtype=np.uint64),
        expand=lambda: [f"T{name}" for name in symbols],
    )
    return SymbolTable(cast("Kallsyms", found), 0)


def where(small: Small, gaps: Gaps, **symbols: Any) -> Where:
    kernel = small.kernel()
    kernel.__dict__["symbols"] = table(**symbols)
    return Where(kernel, gaps)


def test_functions_modules_and_neither() -> None:
    small, _ = made(NEW)
    gaps = Gaps()
    places = where(small, gaps, first=IMAGE_GVA + 16, second=IMAGE_GVA + 64)
    assert places.find(IMAGE_GVA + 20) == ("first", 4)
    assert places.find(IMAGE_GVA) is None
    # The third of the modules lies at 2 << 16, its second part half of that further.
    assert places.find(0xFFFF_FFFF_C002_0010) == ("[llc]", 16)
    assert places.find(0xFFFF_FFFF_C001_9000) == ("[stp]", 0x1000)
    assert [places.text(IMAGE_GVA + at) for at in (16, 20)] == ["first", "first+0x4"]
    assert places.text(0xFFFF_FFFF_D000_0000) == "0xffffffffd0000000"
    assert gaps.records() == []


def test_lists_that_cannot_be_read_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    small, _ = made(NEW)
    small.put(small.symbol("modules"), 0xFFFF_C900_0000_0000)
    gaps = Gaps()
    places = Where(small.kernel(), gaps)
    assert places.find(0xFFFF_FFFF_C000_0000) is None
    # This image has no kallsyms.
    monkeypatch.setattr(Kernel, "symbols", property(lambda kernel: kernel.symbol("nowhere")))
    assert places.find(IMAGE_GVA) is None
    assert [(gap.what, gap.detail) for gap in gaps.records()] == [
        ("names", "modules"),
        ("names", "the kernel's symbols"),
    ]
