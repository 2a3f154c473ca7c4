from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kernel.fuzz import steady
from tests.unit.linux.build import Guest
from vmon.linux.tty import read_ttys


def names(guest: Guest, *ttys: int) -> list[str | None]:
    return read_ttys(guest.kernel(), np.array(ttys, dtype=np.uint64))


def tty(guest: Guest, name: bytes, index: int, kind: int, subtype: int) -> int:
    driver = guest.new("tty_driver", {"type": kind, "subtype": subtype})
    return guest.new("tty_struct", {"name": name, "index": index, "driver": driver})


def test_serial_lines_consoles_and_pseudo_terminals() -> None:
    guest = Guest("new")
    serial = tty(guest, b"ttyS0", 0, 3, 1)
    pts, ptmx = tty(guest, b"pts7", 7, 4, 2), tty(guest, b"ptm7", 7, 4, 1)
    assert names(guest, serial, 0, pts, ptmx, pts) == ["ttyS0", None, "pts/7", "ptm7", "pts/7"]
    assert names(guest) == []


def test_a_driver_that_is_nowhere_leaves_the_name() -> None:
    guest = Guest("new")
    made = tty(guest, b"tty\xff", 3, 4, 2)
    guest.set(made, "tty_struct", {"driver": 0xFFFF_F000_0000_0000})
    assert names(guest, made, 0x10) == ["tty\udcff", ""]


@steady(40)
@given(st.binary(max_size=90), st.integers(0, (1 << 64) - 1))
def test_any_bytes(data: bytes, pointer: int) -> None:
    guest = Guest("new")
    gva = guest.alloc(96)
    guest.write(gva, data)
    found = names(guest, gva, pointer)
    assert len(found) == 2
    assert all(name is None or len(name) <= 64 for name in found)
