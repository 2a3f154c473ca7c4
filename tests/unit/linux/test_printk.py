from __future__ import annotations

import pytest

from tests.unit.linux.small import Small
from vmon.core.coverage import Gaps
from vmon.core.errors import BadStructure
from vmon.core.records.log import LogRecord
from vmon.linux.printk import COMMITTED, FINALIZED, WANTS, read_log

DEVICE = "subsystem:char*16 device:char*48"
INFO = "seq:u64 ts_nsec:u64 text_len:u16 facility:u8 flags:u8/5 level:u8/3 caller_id:u32"
RING = {
    "prb_desc_ring": "count_bits:u32 descs:p infos:p head_id:u64 tail_id:u64",
    "prb_data_ring": "size_bits:u32 data:p head_lpos:u64 tail_lpos:u64",
    "printk_ringbuffer": "desc_ring:prb_desc_ring text_data_ring:prb_data_ring fail:u64",
    "prb_data_blk_lpos": "begin:u64 next:u64",
    "prb_desc": "state_var:u64 text_blk_lpos:prb_data_blk_lpos",
    "dev_printk_info": DEVICE,
}
NEW = {**RING, "printk_info": f"{INFO} caller_id2:u32 comm:char*16 dev_info:dev_printk_info"}
OLDER = {**RING, "printk_info": f"{INFO} dev_info:dev_printk_info"}
BUFFER = {
    "printk_log": "ts_nsec:u64 len:u16 text_len:u16 dict_len:u16 facility:u8 flags:u8/5 level:u8/3",
}
COUNT_BITS, SIZE_BITS = 3, 8
MASK = (1 << 62) - 1


class Log:
    """A ring of eight records and 256 bytes of text."""

    def __init__(self, structs: dict[str, str], first_id: int = MASK - 2) -> None:
        self.small = small = Small(WANTS, structs, {"prb": 8})
        self.descs = small.alloc(24 << COUNT_BITS)
        self.info_bytes = small.profile["printk_info"].size
        self.infos = small.alloc(self.info_bytes << COUNT_BITS)
        self.data = small.alloc(1 << SIZE_BITS)
        self.ring = small.new("printk_ringbuffer")
        small.put(small.symbol("prb"), self.ring)
        for name, value in (("count_bits", COUNT_BITS), ("descs", self.descs), ("infos", self.infos)):
            self.set(f"desc_ring.{name}", value)
        self.set("text_data_ring.size_bits", SIZE_BITS)
        self.set("text_data_ring.data", self.data)
        self.id, self.at = first_id, 2**64 - (1 << SIZE_BITS)
        self.set("desc_ring.tail_id", first_id)

    def set(self, name: str, value: int) -> None:
        field = self.small.profile["printk_ringbuffer"][name]
        self.small.put(self.ring + field.offset, value, field.size)

    def desc(self, number: int) -> int:
        return self.descs + 24 * (number % (1 << COUNT_BITS))

    def say(self, seq: int, text: bytes, state: int = FINALIZED, **info: int | bytes) -> int:
        """One more record; gives its descriptor."""
        size = 8 + len(text) + -len(text) % 8
        begin, following = self.at, self.at + size
        place = begin % (1 << SIZE_BITS)
        if place + size > 1 << SIZE_BITS:
            # It would reach over the end.
            place, following = 0, (begin // (1 << SIZE_BITS) + 1) * (1 << SIZE_BITS) + size
        self.at = following = following % 2**64
        self.small.put(self.data + place, self.id)
        self.small.write(self.data + place + 8, text)
        desc = self.desc(self.id)
        for at, value in enumerate((self.id | state << 62, begin, following)):
            self.small.put(desc + 8 * at, value)
        where = self.infos + self.info_bytes * (self.id % (1 << COUNT_BITS))
        level = int(info.pop("level", 6))  # type: ignore[arg-type]
        self.small.set(where, "printk_info", seq=seq, ts_nsec=seq * 10**6, text_len=len(text), **info)
        self.small.put(self.small.field(where, "printk_info", "flags"), level << 5, 1)
        self.set("desc_ring.head_id", self.id)
        self.id = self.id + 1 & MASK
        return desc

    def read(self, gaps: Gaps | None = None, after: int = -1) -> list[LogRecord]:
        return read_log(self.small.kernel(), gaps or Gaps(), after)


def why(gaps: Gaps) -> list[tuple[str, int]]:
    return [(gap.reason, gap.count) for gap in gaps.records()]


def test_all_of_a_record() -> None:
    log = Log(NEW)
    log.say(0, b"first\nsecond", level=3, caller_id=1, comm=b"init")
    log.say(1, b"", facility=1, caller_id=1 << 31 | 2)
    log.say(2, b"x", dev_info__subsystem=b"pci", dev_info__device=b"+pci:0000:00:01.0", facility=99)
    gaps = Gaps()
    first, second, third = log.read(gaps)
    assert first == LogRecord(
        sequence=0,
        time=0.0,
        facility="kern",
        level="err",
        text="first\nsecond",
        caller="T1",
        process="init",
        subsystem=None,
        device=None,
    )
    assert (second.text, second.facility, second.caller, second.time) == ("", "user", "C2", 0.001)
    assert (third.subsystem, third.device, third.facility) == ("pci", "+pci:0000:00:01.0", "99")
    assert gaps.records() == []
    assert [record.sequence for record in log.read(after=1)] == [2]
    assert log.read(after=2) == []


def test_texts_go_over_the_end_of_the_ring_and_numbers_over_theirs() -> None:
    log = Log(OLDER)
    texts = [b"%d" % number * 40 for number in range(9)]
    for seq, text in enumerate(texts):
        log.say(seq, text)
    log.set("desc_ring.tail_id", log.id - 5 & MASK)
    gaps = Gaps()
    assert [record.text for record in log.read(gaps)] == [text.decode() for text in texts[4:]]
    assert why(gaps) == [("not resident", 4)]
    # An end of a text that is the end of the ring.
    log = Log(OLDER, first_id=5)
    for seq in range(4):
        log.say(seq, b"%d" % seq * 56)
    assert [record.text[0] for record in log.read()] == ["0", "1", "2", "3"]


def test_a_record_without_a_text() -> None:
    log, gaps = Log(OLDER), Gaps()
    for seq, position in enumerate((3, 1)):
        desc = log.say(seq, b"")
        log.small.put(desc + 8, position)
        log.small.put(desc + 16, position)
    assert [record.text for record in log.read(gaps)] == [""]
    assert why(gaps) == [("unreadable", 1)]


def test_what_is_being_written_is_told() -> None:
    log, gaps = Log(OLDER), Gaps()
    log.say(0, b"done")
    log.say(1, b"on its way", state=COMMITTED)
    assert [record.text for record in log.read(gaps)] == ["done"]
    assert why(gaps) == [("torn", 1)]


@pytest.mark.parametrize(
    ("begin", "following"), [(0, 4), (8, 0), (0, 1 << 40), (248, 512 + 16), (2**64 - 8, 0)]
)
def test_a_text_that_is_not_where_it_should_be(begin: int, following: int) -> None:
    log, gaps = Log(OLDER), Gaps()
    desc = log.say(0, b"gone")
    log.say(1, b"there")
    log.small.put(desc + 8, begin)
    log.small.put(desc + 16, following)
    assert [record.text for record in log.read(gaps)] == ["there"]
    assert why(gaps) == [("unreadable", 1)]


def test_a_ring_that_is_none() -> None:
    log = Log(OLDER)
    log.say(0, b"x")
    log.set("desc_ring.count_bits", 40)
    with pytest.raises(BadStructure, match=r"2\^40 records"):
        log.read()
    log.set("desc_ring.count_bits", COUNT_BITS)
    log.set("desc_ring.head_id", 1 << 50)
    log.set("desc_ring.infos", 0xFFFF_C900_0000_0000)
    assert [record.sequence for record in log.read()] in ([], [0])


def old(size: int = 256) -> Small:
    small = Small(
        WANTS,
        BUFFER,
        {"log_buf": 8, "log_buf_len": 4, "log_first_idx": 4, "log_first_seq": 8, "log_next_seq": 8},
    )
    small.put(small.symbol("log_buf"), small.alloc(size))
    small.put(small.symbol("log_buf_len"), size, 4)
    return small


def put_old(small: Small, at: int, text: bytes, more: bytes = b"") -> int:
    head = small.profile["printk_log"].size
    where = small.kernel().memory.u64(small.symbol("log_buf")) + at  # type: ignore[arg-type]
    size = head + len(text) + len(more)
    size += -size % 8
    small.set(where, "printk_log", ts_nsec=2 * 10**9, len=size, text_len=len(text), dict_len=len(more))
    small.put(small.field(where, "printk_log", "flags"), 4 << 5, 1)
    small.write(where + head, text + more)
    return at + size


def test_the_buffer_of_kernels_before_5_10() -> None:
    small, gaps = old(), Gaps()
    small.put(small.symbol("log_first_idx"), 200, 4)
    small.put(small.symbol("log_first_seq"), 7)
    small.put(small.symbol("log_next_seq"), 10)
    put_old(small, 200, b"at the end")
    put_old(small, put_old(small, 0, b"one", b"SUBSYSTEM=usb\0DEVICE=c1:3"), b"two")
    records = read_log(small.kernel(), gaps)
    assert [(r.sequence, r.text, r.level, r.time, r.caller) for r in records] == [
        (7, "at the end", "warn", 2.0, None),
        (8, "one", "warn", 2.0, None),
        (9, "two", "warn", 2.0, None),
    ]
    assert (records[1].subsystem, records[1].device) == ("usb", "c1:3")
    assert why(gaps) == [("not resident", 7)]
    assert [record.sequence for record in read_log(small.kernel(), Gaps(), after=8)] == [9]


def test_an_old_buffer_that_lies() -> None:
    small, gaps = old(), Gaps()
    small.put(small.symbol("log_next_seq"), 9)
    put_old(small, 0, b"true")
    assert [record.text for record in read_log(small.kernel(), gaps)] == ["true"]
    assert why(gaps) == [("torn", 8)]
    small.put(small.symbol("log_next_seq"), 1 << 40)
    with pytest.raises(BadStructure, match="records in 256 bytes"):
        read_log(small.kernel(), Gaps())


def test_a_kernel_without_a_log_that_vmon_knows() -> None:
    gaps = Gaps()
    assert read_log(Small(WANTS, {}, {}).kernel(), gaps) == []
    assert why(gaps) == [("not on this kernel", 1)]
