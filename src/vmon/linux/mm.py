"""An mm_struct is the memory of a process: its sizes, its page tables, and where its arguments lie.

Reads mm_struct, and user memory through mm->pgd. A hostile guest owns its user memory entirely; lengths are bounded.
A page that is swapped out or not yet there reads as None, and is not made up.
Sources: include/linux/mm_types.h, fs/proc/base.c get_mm_cmdline(), fs/proc/task_mmu.c.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vmon.arch.x86_64.paging import NOT_MAPPED, translate_many
from vmon.core.address import PAGE_SIZE_BYTES, Gpa, Gva
from vmon.core.errors import PhysReadError
from vmon.core.records.process import EnvRecord
from vmon.core.text import guest_text
from vmon.kernel.columns import Column, Columns
from vmon.kernel.profile import Wants
from vmon.linux.kernel import Kernel

# rss_stat: struct mm_rss_stat with four atomics until 6.2, then percpu_counter[4] (f1a7941243c1).
MM_FIELDS = (
    "pgd total_vm arg_start arg_end env_start env_end start_code end_code start_brk brk start_stack "
    "exe_file map_count mmap mm_mt mm_users locked_vm data_vm stack_vm exec_vm task_size"
)
WANTS = Wants(
    symbols=("__per_cpu_offset", "nr_cpu_ids"),
    structs={
        "mm_struct": MM_FIELDS + " rss_stat rss_stat.count",
        "percpu_counter": "count counters",
    },
)
MM_FILEPAGES, MM_ANONPAGES, MM_SWAPENTS, MM_SHMEMPAGES = 0, 1, 2, 3
MAX_ARGUMENT_BYTES = 2 << 20
MAX_RANGES_BYTES = 64 << 20
"""What one call reads of user memory in all: a guest of liars must not fill the host."""
MAX_CPUS = 8192
USER_END = 1 << 56


def read_mms(kernel: Kernel, mms: Column) -> Columns:
    """Sizes and places."""
    return kernel.read("mm_struct", MM_FIELDS, mms)


def read_rss_pages(kernel: Kernel, mms: Column) -> NDArray[np.int64]:
    """Pages by kind, n rows of (file, anonymous, swapped, shared). Per-CPU parts are summed, so it is exact."""
    layout = kernel.profile["mm_struct"]
    if "rss_stat.count" in layout:
        return kernel.read("mm_struct", "rss_stat.count", mms).words("rss_stat.count", 4).astype(np.int64)
    counter = kernel.profile["percpu_counter"]
    base = layout.offset("rss_stat")
    places = mms[:, None] + np.uint64(base) + np.arange(4, dtype=np.uint64) * np.uint64(counter.size)
    columns = kernel.read("percpu_counter", "count counters", places.reshape(-1))
    total = columns["count"].view(np.int64).copy()
    counters = columns["counters"]
    for offset in read_percpu_offsets(kernel):
        parts = kernel.memory.gather(counters + np.uint64(offset), 4).view("<i4").reshape(-1)
        total += np.where(counters != 0, parts, 0)
    return total.reshape(-1, 4)


def read_percpu_offsets(kernel: Kernel) -> list[int]:
    """Where each CPU keeps its own variables, as an offset to add."""
    count = min(kernel.memory.u32(kernel.symbol("nr_cpu_ids")), MAX_CPUS)
    data = kernel.memory.read(kernel.symbol("__per_cpu_offset"), 8 * count)
    offsets: list[int] = np.frombuffer(data, dtype="<u8").tolist()
    return offsets


def read_user_ranges(
    kernel: Kernel, pgds: Column, starts: Column, sizes: NDArray[np.int64]
) -> list[bytes | None]:
    """User memory of many processes at once: `sizes[i]` bytes at `starts[i]` of the tables at `pgds[i]`.

    None where any page of it is not present or is no RAM. Every page of every range is translated in one pass.
    """
    bases = kernel.memory.bases
    phys = kernel.memory.phys
    roots = kernel.memory.gpas(pgds)
    within_limit = np.cumsum(sizes) <= MAX_RANGES_BYTES
    usable = (roots != NOT_MAPPED) & (starts < np.uint64(USER_END)) & (sizes > 0) & within_limit
    rows = np.flatnonzero(usable)
    first = starts[rows] >> np.uint64(12)
    last = (starts[rows] + sizes[rows].astype(np.uint64) - np.uint64(1)) >> np.uint64(12)
    counts = (last - first).astype(np.int64) + 1
    owner = np.repeat(np.arange(rows.size), counts)
    within = np.arange(owner.size) - np.repeat(np.cumsum(counts) - counts, counts)
    pages = (first[owner] + within.astype(np.uint64)) << np.uint64(12)
    frames = translate_many(phys, roots[rows][owner], pages, bases.la57)
    result: list[bytes | None] = [b"" if size == 0 else None for size in sizes.tolist()]
    ends = np.cumsum(counts)
    read = phys.read
    frame_list = frames.tolist()
    absent = int(NOT_MAPPED)
    for number, row in enumerate(rows.tolist()):
        low, high = int(ends[number] - counts[number]), int(ends[number])
        at, left = int(starts[row]), int(sizes[row])
        pieces: list[bytes] = []
        for frame in frame_list[low:high]:
            if frame == absent:
                break
            inside = at % PAGE_SIZE_BYTES
            size = min(left, PAGE_SIZE_BYTES - inside)
            try:
                pieces.append(read(Gpa(frame + inside), size))
            except PhysReadError:
                break
            at += size
            left -= size
        else:
            result[row] = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    return result


def read_user(kernel: Kernel, pgd: Gva, start: int, size_bytes: int) -> bytes | None:
    """User memory of one process; None where any page of it is not present."""
    return read_user_ranges(
        kernel,
        np.array([pgd], dtype=np.uint64),
        np.array([start], dtype=np.uint64),
        np.array([size_bytes], dtype=np.int64),
    )[0]


def read_cmdlines(kernel: Kernel, mms: Columns) -> list[list[bytes] | None]:
    """Arguments of each process; None when they are not in memory, [] when there are none."""
    sizes = _bounded(mms["arg_start"], mms["arg_end"])
    texts = read_user_ranges(kernel, mms["pgd"], mms["arg_start"], sizes)
    result: list[list[bytes] | None] = []
    for row, text in enumerate(texts):
        if text and text[-1] != 0:
            # A process that overwrote its arguments (setproctitle): the text goes on into the environment.
            text = _title(kernel, mms, row, text)
        result.append(None if text is None else split_arguments(text))
    return result


def _title(kernel: Kernel, mms: Columns, row: int, text: bytes) -> bytes:
    first = text.find(b"\0")
    if first >= 0:
        return text[:first]
    env_start, env_end = int(mms["env_start"][row]), int(mms["env_end"][row])
    if env_start != int(mms["arg_end"][row]) or not 0 < env_end - env_start <= MAX_ARGUMENT_BYTES:
        return text
    more = read_user(kernel, Gva(int(mms["pgd"][row])), env_start, min(env_end - env_start, PAGE_SIZE_BYTES))
    return text + (more or b"").split(b"\0", 1)[0]


def split_arguments(text: bytes) -> list[bytes]:
    """NUL-ended strings; the last may lack its NUL."""
    if not text:
        return []
    return text.removesuffix(b"\0").split(b"\0")


def read_environ(kernel: Kernel, mms: Columns) -> list[list[bytes] | None]:
    """Environment of each process as it was laid out at exec; None when not in memory."""
    sizes = _bounded(mms["env_start"], mms["env_end"])
    texts: Sequence[bytes | None] = read_user_ranges(kernel, mms["pgd"], mms["env_start"], sizes)
    return [None if text is None else [item for item in split_arguments(text) if item] for text in texts]


def env_records(pid: int, items: Sequence[bytes]) -> list[EnvRecord]:
    """NAME=VALUE texts of a process as records."""
    pairs = (item.partition(b"=") for item in items)
    return [EnvRecord(pid=pid, name=guest_text(name), value=guest_text(value)) for name, _, value in pairs]


def _bounded(start: Column, end: Column) -> NDArray[np.int64]:
    """Sizes of ranges: zero when empty or reversed, cut at MAX_ARGUMENT_BYTES."""
    size = (end - start).view(np.int64)
    return np.where(size > 0, np.minimum(size, MAX_ARGUMENT_BYTES), 0)
