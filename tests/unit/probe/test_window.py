from __future__ import annotations

import pytest

from vmon.core.address import Gpa
from vmon.core.errors import BadStructure
from vmon.probe.window import Window, runs
from vmon.transport.fake import FakeRam

TABLE = Gpa(0x1000)


def test_pages_that_are_scattered_are_one_window() -> None:
    ram = FakeRam({0x1000: bytes(0x9000)})
    window = Window(ram, ram, TABLE)
    window.map(0x4000, [Gpa(0x5000), Gpa(0x3000), Gpa(0x4000)], writable=True)
    data = bytes(range(256)) * 40
    window.write(0x4800, data)
    assert window.read(0x4800, len(data)) == data
    assert ram.read(Gpa(0x5800), 0x800) + ram.read(Gpa(0x3000), 0x2000) == data
    assert window.pages(0x4800, 0x1000) == [0x5000, 0x3000]
    assert window.read(0x4800, 0) == b""


def test_what_is_not_mapped_is_refused() -> None:
    ram = FakeRam({0x1000: bytes(0x3000)})
    window = Window(ram, ram, TABLE)
    window.map(0, [Gpa(0x2000)])
    assert window.entry(0) & 1
    assert not window.entry(0x1000)
    for read in (lambda: window.read(0xFFF, 2), lambda: window.write(0x1000, b"x")):
        with pytest.raises(BadStructure):
            read()


@pytest.mark.parametrize("globally", [True, False])
def test_rights(globally: bool) -> None:
    ram = FakeRam({0x1000: bytes(0x3000)})
    window = Window(ram, ram, TABLE, globally=globally)
    window.map(0, [Gpa(0x2000)], executable=True)
    window.map(0x1000, [Gpa(0x3000)], writable=True)
    code, data = window.entry(0), window.entry(0x1000)
    assert (code >> 1 & 1, code >> 63) == (0, 0)
    assert (data >> 1 & 1, data >> 63) == (1, 1)
    assert not (code | data) >> 2 & 1, "no page is the user's"
    assert (code >> 8 & 1, data >> 8 & 1) == (globally, globally)


def test_runs() -> None:
    pages = [Gpa(number << 12) for number in (5, 6, 7, 3, 4, 9)]
    assert runs(pages) == [(0x5000, 0x3000), (0x3000, 0x2000), (0x9000, 0x1000)]
    assert runs([]) == []
