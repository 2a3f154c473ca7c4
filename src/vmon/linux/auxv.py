"""The auxiliary vector that a program got at exec is kept in its mm_struct: pairs of numbers, ended by a zero.

Reads mm_struct.saved_auxv, and user memory for the texts. A hostile guest can write anything there; what is shown is
bounded by the array. Sources: fs/binfmt_elf.c create_elf_tables(), include/uapi/linux/auxvec.h.
"""

from __future__ import annotations

import numpy as np

from vmon.core.address import Gva
from vmon.core.coverage import Gaps
from vmon.core.errors import NotMapped
from vmon.core.records.memory import AuxRecord
from vmon.core.text import guest_text
from vmon.kernel.profile import Wants
from vmon.linux.kernel import Kernel
from vmon.linux.usermem import UserMemory

WANTS = Wants(structs={"mm_struct": "saved_auxv"})
NAMES = {
    2: "AT_EXECFD", 3: "AT_PHDR", 4: "AT_PHENT", 5: "AT_PHNUM", 6: "AT_PAGESZ", 7: "AT_BASE", 8: "AT_FLAGS",
    9: "AT_ENTRY", 10: "AT_NOTELF", 11: "AT_UID", 12: "AT_EUID", 13: "AT_GID", 14: "AT_EGID", 15: "AT_PLATFORM",
    16: "AT_HWCAP", 17: "AT_CLKTCK", 23: "AT_SECURE", 24: "AT_BASE_PLATFORM", 25: "AT_RANDOM", 26: "AT_HWCAP2",
    27: "AT_RSEQ_FEATURE_SIZE", 28: "AT_RSEQ_ALIGN", 29: "AT_HWCAP3", 30: "AT_HWCAP4", 31: "AT_EXECFN",
    32: "AT_SYSINFO", 33: "AT_SYSINFO_EHDR", 51: "AT_MINSIGSTKSZ",
}  # fmt: skip
TEXTS = {15, 24, 31}
MAX_TEXT_BYTES = 4096


def read_auxv_bytes(kernel: Kernel, mm: Gva) -> bytes:
    """The vector as /proc/PID/auxv has it: 16 bytes an entry, up to and with the one of type 0."""
    data: bytes = kernel.read_one("mm_struct", "saved_auxv", mm).raw("saved_auxv")[0].tobytes()
    types = np.frombuffer(data, dtype="<u8")[::2]
    ends = np.flatnonzero(types == 0)
    return data[: 16 * (int(ends[0]) + 1)] if ends.size else data


def read_auxv(kernel: Kernel, mm: Gva, pid: int, memory: UserMemory, gaps: Gaps) -> list[AuxRecord]:
    """Every entry but the last, which is empty."""
    words = np.frombuffer(read_auxv_bytes(kernel, mm), dtype="<u8").tolist()
    found = []
    for kind, value in zip(words[::2], words[1::2], strict=False):
        if kind == 0:
            break
        text = None
        if kind in TEXTS and value:
            text = _text(memory, value)
            if text is None:
                gaps.add("text", "not resident")
        found.append(AuxRecord(pid=pid, type=kind, name=NAMES.get(kind, str(kind)), value=value, text=text))
    return found


def _text(memory: UserMemory, address: int) -> str | None:
    try:
        read = memory.read_memory(address, min(MAX_TEXT_BYTES, (1 << 64) - address))
    except NotMapped:
        return None
    end = read.find(b"\0")
    known = read.missing[0].address - address if read.missing else len(read)
    return guest_text(read[:end]) if 0 <= end < known else None
