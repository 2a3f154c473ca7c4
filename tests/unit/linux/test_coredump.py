from __future__ import annotations

import struct

import msgspec
import pytest

from tests.unit.kernel.build import PRESENT, USER
from tests.unit.linux.scene import scene
from tests.unit.linux.space import PAGE, Space, swap_entry
from vmon.core.coverage import Gaps
from vmon.core.errors import BadStructure
from vmon.core.records.process import MapRecord, ProcessRecord
from vmon.linux import coredump
from vmon.linux.coredump import EHDR, PHDR, Segment, layout, make_notes, plan_segments, segment_pieces
from vmon.linux.registers import NAMES, OTHERS, Thread
from vmon.linux.snapshot import Snapshot

AT = 0x7F00_0000_0000


def plan(space: Space, gaps: Gaps | None = None) -> list[Segment]:
    return plan_segments(space.memory(), gaps or Gaps())


def content(space: Space, segment: Segment) -> bytes:
    data = bytearray(segment.end - segment.start)
    for place, piece in segment_pieces(space.small.kernel(), segment):
        data[place : place + len(piece)] = piece
    return bytes(data)


def process() -> ProcessRecord:
    return Snapshot.of_all(scene("new").guest.kernel()).records()[2]


def test_what_is_known_is_a_segment_and_what_is_not_is_none() -> None:
    space, gaps = Space(), Gaps()
    space.area(AT, 6)
    space.page(AT, b"one")
    space.page(AT + 2 * PAGE, b"three")
    space.entry(AT + 3 * PAGE, swap_entry(0, 1))
    space.page(AT + 4 * PAGE, b"five")
    segments = plan(space, gaps)
    assert [(segment.start - AT, segment.end - AT) for segment in segments] == [
        (0, 3 * PAGE), (4 * PAGE, 6 * PAGE),
    ]  # fmt: skip
    assert content(space, segments[0]) == b"one" + bytes(2 * PAGE - 3) + b"three" + bytes(PAGE - 5)
    assert content(space, segments[1]) == b"five" + bytes(2 * PAGE - 4)
    # Untouched pages are not written: they stay holes of the file.
    assert [place for place, _ in segment_pieces(space.small.kernel(), segments[0])] == [0, 2 * PAGE]
    assert [(gap.reason, gap.count) for gap in gaps.records()] == [("swapped", 1)]


def test_terabytes_that_were_never_touched_take_no_room() -> None:
    space = Space()
    space.area(PAGE, (1 << 35) - 2)
    space.page(AT, b"x")
    segments = plan(space)
    assert [segment.spans is None for segment in segments] == [True, False, True]
    _, places, size = layout(segments, b"")
    assert size < 1 << 20
    assert list(segment_pieces(space.small.kernel(), segments[0])) == []
    assert len(places) == 3


def test_too_many_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coredump, "MAX_SEGMENTS", 5)
    space = Space()
    space.area(AT, 20)
    for page in range(0, 20, 2):
        space.entry(AT + page * PAGE, swap_entry(0, page))
    with pytest.raises(BadStructure, match="more than 5 pieces"):
        plan(space)


def test_a_large_segment_comes_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coredump, "PIECE_BYTES", 2 * PAGE)
    space = Space()
    space.area(AT, 5)
    for page in range(5):
        space.entry(AT + page * PAGE, space.root | PRESENT | USER)
    (segment,) = plan(space)
    pieces = list(segment_pieces(space.small.kernel(), segment))
    assert [(place, len(data)) for place, data in pieces] == [
        (0, 2 * PAGE),
        (2 * PAGE, 2 * PAGE),
        (4 * PAGE, PAGE),
    ]


def test_the_headers() -> None:
    space = Space()
    space.area(AT, 1, flags=0x5)
    space.page(AT, b"text")
    space.area(AT + (1 << 30), 1, flags=0x3)
    space.page(AT + (1 << 30), b"data")
    notes = b"n" * 100
    segments = plan(space)
    head, places, size = layout(segments, notes)
    fields = EHDR.unpack_from(head)
    assert (fields[0][:5], fields[1], fields[2], fields[10]) == (b"\x7fELF\x02", 4, 62, 3)
    headers = [PHDR.unpack_from(head, fields[5] + PHDR.size * number) for number in range(3)]
    assert head[headers[0][2] :] == notes
    assert (headers[0][0], headers[0][5]) == (4, 100)
    assert [header[:4] + header[5:7] for header in headers[1:]] == [
        (1, 5, places[0], AT, PAGE, PAGE),
        (1, 6, places[1], AT + (1 << 30), PAGE, PAGE),
    ]
    assert all(place % PAGE == 0 for place in places)
    assert size == places[1] + PAGE


def notes_of(data: bytes) -> list[tuple[int, bytes]]:
    found, at = [], 0
    while at < len(data):
        name, size, kind = struct.unpack_from("<III", data, at)
        assert data[at + 12 : at + 12 + name] == b"CORE\0"
        at += 12 + 8
        found.append((kind, data[at : at + size]))
        at += size + -size % 4
    return found


def thread(tid: int, registers: dict[str, int] | None) -> Thread:
    return Thread(0, tid, b"x", "S", 0, 0, None, registers)


def test_the_notes() -> None:
    record = msgspec.structs.replace(process(), cmdline=["a" * 50, "b\udcff" * 50])
    registers = {name: 1000 + number for number, name in enumerate((*NAMES, *OTHERS))}
    maps = [
        MapRecord(pid=42, start=0x40_0000, end=0x40_2000, permissions="r-xp", offset=0x3000, device=1, inode=7,
                  path="/bin/x\udcff", deleted=False),
        MapRecord(pid=42, start=0x50_0000, end=0x50_2000, permissions="rw-p", offset=0, device=0, inode=0,
                  path="[heap]", deleted=False),
    ]  # fmt: skip
    notes = notes_of(make_notes(record, [thread(43, None), thread(42, registers)], maps, b"a" * 32))
    assert [kind for kind, _ in notes] == [1, 3, 6, 0x46494C45, 1]
    status = notes[0][1]
    assert len(status) == 336
    assert struct.unpack_from("<4i", status, 32) == (42, record.ppid, record.pgid, record.sid)
    assert struct.unpack_from("<27Q", status, 112) == tuple(range(1000, 1027))
    # A thread without registers is there, with zeros; coverage tells of it elsewhere.
    assert struct.unpack_from("<i", notes[4][1], 32) == (43,)
    info = notes[1][1]
    assert len(info) == 136
    assert info[40:56].rstrip(b"\0") == record.name.encode()
    assert info[56:].startswith(b"a" * 50 + b" b\xff")
    assert info[-1] == 0
    assert notes[2][1] == b"a" * 32
    files = notes[3][1]
    assert struct.unpack_from("<5Q", files) == (1, PAGE, 0x40_0000, 0x40_2000, 3)
    assert files[40:] == b"/bin/x\xff\0"


@pytest.mark.parametrize(
    "odd",
    [
        {"uid": None, "pgid": None, "sid": None},
        {"state": "?"},
        {"nice": -4000},
        {"ppid": 1 << 40},
        {"name": "\udcff" * 20},
    ],
)
def test_numbers_that_can_not_be_do_not_break_it(odd: dict[str, object]) -> None:
    record = msgspec.structs.replace(process(), **odd)
    assert notes_of(make_notes(record, [thread(42, {"rip": (1 << 64) - 1})], [], b""))
