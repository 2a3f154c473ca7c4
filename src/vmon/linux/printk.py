"""The kernel's log is a ring of descriptors, with their numbers in a second ring and their texts in a third.

Reads printk_ringbuffer (since 5.10, 896fbe20b4e2), before that the one buffer of printk_log. A hostile guest can write
any text, length and place: sizes are bounded, a text lies within the ring, and its block must carry the descriptor's
number. What the guest overwrites meanwhile is found by reading the descriptors' states again, and told.
Sources: kernel/printk/printk_ringbuffer.c, kernel/printk/printk.c.
"""

from __future__ import annotations

import numpy as np

from vmon.core.address import Gva
from vmon.core.coverage import Gaps
from vmon.core.errors import BadStructure
from vmon.core.records.log import LogRecord
from vmon.core.text import guest_text
from vmon.kernel.columns import Column, Columns, text_rows
from vmon.kernel.profile import Wants
from vmon.linux.kernel import Kernel

# caller_id2 and comm came after 6.18, where the kernel is built with PRINTK_EXECUTION_CTX.
INFO_FIELDS = "seq ts_nsec text_len facility flags level caller_id comm dev_info.subsystem dev_info.device"
OLD_FIELDS = "ts_nsec len text_len dict_len facility flags level caller_id"
RING_FIELDS = (
    "desc_ring.count_bits desc_ring.descs desc_ring.infos desc_ring.head_id desc_ring.tail_id "
    "text_data_ring.size_bits text_data_ring.data"
)
WANTS = Wants(
    symbols=("prb", "log_buf", "log_buf_len", "log_first_idx", "log_first_seq", "log_next_seq"),
    structs={
        "printk_ringbuffer": RING_FIELDS,
        "prb_desc": "state_var text_blk_lpos.begin text_blk_lpos.next",
        "printk_info": INFO_FIELDS,
        "printk_log": OLD_FIELDS,
    },
)
MAX_COUNT_BITS = 20
MAX_SIZE_BITS = 26
MAX_OLD_BYTES = 1 << 26
MAX_U64 = (1 << 64) - 1
ID_MASK = (1 << 62) - 1
RESERVED, COMMITTED, FINALIZED, REUSABLE = range(4)
NO_TEXT_LPOS = 3
"""Both positions of a block that holds no text because there was none; 1 where there was no room for it."""
BLOCK_HEAD_BYTES = 8
CALLER_IS_CPU = 1 << 31
FACILITIES = (
    *("kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp"),
    *("12", "13", "14", "15"),
    *("local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"),
)
LEVELS = ("emerg", "alert", "crit", "err", "warn", "notice", "info", "debug")
WHAT = "records"


def read_log(kernel: Kernel, gaps: Gaps, after: int = -1) -> list[LogRecord]:
    """Every record whose sequence is beyond `after`, oldest first. BadStructure where the ring is none."""
    if kernel.has_symbol("prb") and "printk_ringbuffer" in kernel.profile.structs:
        return _read_ring(kernel, gaps, after)
    if kernel.has_symbol("log_first_idx") and "printk_log" in kernel.profile.structs:
        return _read_buffer(kernel, gaps, after)
    gaps.add(WHAT, "not on this kernel", "a log of a kind that vmon knows")
    return []


def _read_ring(kernel: Kernel, gaps: Gaps, after: int) -> list[LogRecord]:
    gva = Gva(kernel.memory.u64(kernel.symbol("prb")))
    ring = kernel.read_one("printk_ringbuffer", RING_FIELDS, gva)
    count_bits, size_bits = int(ring["desc_ring.count_bits"][0]), int(ring["text_data_ring.size_bits"][0])
    if count_bits > MAX_COUNT_BITS or size_bits > MAX_SIZE_BITS:
        raise BadStructure(
            f"a log of 2^{count_bits} records, 2^{size_bits} bytes", field="printk_ringbuffer", address=gva
        )
    tail, head = (int(ring[f"desc_ring.{end}_id"][0]) & ID_MASK for end in ("tail", "head"))
    count = min((head - tail & ID_MASK) + 1, 1 << count_bits)
    ids = np.uint64(tail) + np.arange(count, dtype=np.uint64) & np.uint64(ID_MASK)
    places = ids & np.uint64((1 << count_bits) - 1)
    descs, infos = (
        ring[f"desc_ring.{name}"][0] + places * np.uint64(kernel.profile[struct].size)
        for name, struct in (("descs", "prb_desc"), ("infos", "printk_info"))
    )
    states = _states(kernel, descs, ids)
    kept = states == FINALIZED
    if after >= 0:
        kept &= kernel.read("printk_info", "seq", infos)["seq"].view(np.int64) > after
    elif kept.any():
        oldest = int(kernel.read_one("printk_info", "seq", int(infos[int(np.argmax(kept))]))["seq"][0])
        if 0 < oldest < 1 << 62:
            gaps.add(WHAT, "not resident", "older ones, which the guest overwrote", oldest)
    written = int(((states == RESERVED) | (states == COMMITTED)).sum())
    if written:
        gaps.add(WHAT, "torn", "still being written", written)
    ids, descs, infos = ids[kept], descs[kept], infos[kept]
    columns = kernel.read("printk_info", INFO_FIELDS, infos)
    blocks = kernel.read("prb_desc", "text_blk_lpos.begin text_blk_lpos.next", descs)
    data = kernel.memory.read(Gva(int(ring["text_data_ring.data"][0])), 1 << size_bits) if ids.size else b""
    # A text that was overwritten while it was read belongs to a descriptor that is no longer what it was.
    same = (_states(kernel, descs, ids) == FINALIZED).tolist()
    spans = zip(
        ids.tolist(),
        blocks["text_blk_lpos.begin"].tolist(),
        blocks["text_blk_lpos.next"].tolist(),
        columns["text_len"].tolist(),
        strict=True,
    )
    texts = [_text(data, size_bits, *span) for span in spans]
    for text, unchanged in zip(texts, same, strict=True):
        if not unchanged:
            gaps.add(WHAT, "torn", "overwritten meanwhile")
        elif text is None:
            gaps.add(WHAT, "unreadable", "a text that the kernel dropped, or that is not where it should be")
    return [
        record
        for record, unchanged in zip(_records(columns, texts), same, strict=True)
        if unchanged and record is not None
    ]


def _states(kernel: Kernel, descs: Column, ids: Column) -> Column:
    """State of each descriptor; REUSABLE for one that belongs to another record by now."""
    words = kernel.read("prb_desc", "state_var", descs)["state_var"]
    states = words >> np.uint64(62)
    states[words & np.uint64(ID_MASK) != ids] = REUSABLE
    return states


def _text(data: bytes, size_bits: int, number: int, begin: int, following: int, length: int) -> bytes | None:
    """Text of one block of the text ring; None where it has been lost or can't be one."""
    if begin & 1 and following & 1:
        return b"" if begin == following == NO_TEXT_LPOS else None
    size = 1 << size_bits
    at, room = begin & size - 1, following - begin & MAX_U64
    # A block that would reach over the end of the ring lies at its start instead.
    # Positions are of 64 bits, and start one turn below 0.
    turns = (following - 1 >> size_bits) - (begin >> size_bits) & MAX_U64 >> size_bits
    if turns:
        at, room = 0, following & size - 1
    if turns not in (0, 1) or not BLOCK_HEAD_BYTES <= room <= size - at:
        return None
    if int.from_bytes(data[at : at + BLOCK_HEAD_BYTES], "little") != number:
        return None
    return data[at + BLOCK_HEAD_BYTES : at + min(room, BLOCK_HEAD_BYTES + length)]


def _records(columns: Columns, texts: list[bytes | None]) -> list[LogRecord | None]:
    callers = columns["caller_id"].tolist() if "caller_id" in columns else [None] * columns.count
    names = text_rows(columns.raw("comm")) if "comm" in columns else [b""] * columns.count
    rows = zip(
        columns["seq"].tolist(),
        columns["ts_nsec"].tolist(),
        columns["facility"].tolist(),
        columns["level"].tolist(),
        callers,
        names,
        text_rows(columns.raw("dev_info.subsystem")),
        text_rows(columns.raw("dev_info.device")),
        texts,
        strict=True,
    )
    return [
        None if text is None else _record(seq, time, facility, level, text, caller, name, subsystem, device)
        for seq, time, facility, level, caller, name, subsystem, device, text in rows
    ]


def _record(
    sequence: int,
    time_ns: int,
    facility: int,
    level: int,
    text: bytes,
    caller: int | None,
    process: bytes = b"",
    subsystem: bytes = b"",
    device: bytes = b"",
) -> LogRecord:
    return LogRecord(
        sequence=sequence,
        time=time_ns / 1e9,
        facility=FACILITIES[facility] if facility < len(FACILITIES) else str(facility),
        level=LEVELS[level & 7],
        text=guest_text(text),
        caller=None
        if caller is None
        else f"{'C' if caller & CALLER_IS_CPU else 'T'}{caller & ~CALLER_IS_CPU}",
        process=guest_text(process) or None,
        subsystem=guest_text(subsystem) or None,
        device=guest_text(device) or None,
    )


def _read_buffer(kernel: Kernel, gaps: Gaps, after: int) -> list[LogRecord]:
    """The one buffer of kernels before 5.10: records of any length one after another, over its end once at most."""
    memory = kernel.memory
    size = memory.u32(kernel.symbol("log_buf_len"))
    at = memory.u32(kernel.symbol("log_first_idx"))
    sequence, end = (memory.u64(kernel.symbol(name)) for name in ("log_first_seq", "log_next_seq"))
    head_bytes = kernel.profile["printk_log"].size
    if size > MAX_OLD_BYTES or not 0 <= end - sequence <= size // head_bytes:
        raise BadStructure(f"a log of {end - sequence} records in {size} bytes", field="log_buf")
    buffer = Gva(memory.u64(kernel.symbol("log_buf")))
    data = memory.read(buffer, size)
    if sequence and after < 0:
        gaps.add(WHAT, "not resident", "older ones, which the guest overwrote", sequence)
    heads: list[tuple[int, int]] = []
    length_at = kernel.profile["printk_log"]["len"]
    first, turned = at, False
    while sequence < end:
        length = int.from_bytes(
            data[at + length_at.offset : at + length_at.offset + length_at.size], "little"
        )
        if not length and not turned:
            # No room was left before the end: it goes on at the start.
            at, turned = 0, True
            continue
        if length < head_bytes or at + length > (first if turned else size):
            gaps.add(WHAT, "torn", "a record that is none, and those behind it", end - sequence)
            break
        if sequence > after:
            heads.append((sequence, at))
        at, sequence = at + length, sequence + 1
    columns = kernel.read(
        "printk_log", OLD_FIELDS, np.array([buffer + at for _, at in heads], dtype=np.uint64)
    )
    callers = columns["caller_id"].tolist() if "caller_id" in columns else [None] * columns.count
    found = []
    for row, (sequence, at) in enumerate(heads):
        length, more = int(columns["text_len"][row]), int(columns["dict_len"][row])
        if head_bytes + length + more > int(columns["len"][row]):
            gaps.add(WHAT, "torn", "overwritten meanwhile")
            continue
        start = at + head_bytes
        said = dict(
            item.split(b"=", 1)
            for item in data[start + length : start + length + more].split(b"\0")
            if b"=" in item
        )
        found.append(
            _record(
                sequence,
                int(columns["ts_nsec"][row]),
                int(columns["facility"][row]),
                int(columns["level"][row]),
                data[start : start + length],
                callers[row],
                subsystem=said.get(b"SUBSYSTEM", b""),
                device=said.get(b"DEVICE", b""),
            )
        )
    return found
