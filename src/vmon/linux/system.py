"""Facts about the whole guest: host name, clocks, CPUs, memory, modules.

Reads uts_namespace, timekeeper, the module list, and counters. A hostile guest can write any number; lists are
bounded. Sources: include/linux/utsname.h, include/linux/timekeeper_internal.h, kernel/time/timekeeping.c.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from vmon.core.address import PAGE_SIZE_BYTES, Gva
from vmon.core.errors import BadStructure, GuestDataError
from vmon.kernel.columns import text_rows
from vmon.kernel.profile import Wants
from vmon.linux.kernel import Kernel
from vmon.linux.task import walk_list

T = TypeVar("T")
MAX_MODULES = 20_000
# tk_core became timekeeper_data[0] in 6.17; both start with the sequence count, then the timekeeper.
WANTS = Wants(
    symbols=(
        "init_uts_ns",
        "tk_core",
        "timekeeper_data",
        "__num_online_cpus",
        "_totalram_pages",
        "modules",
        "jiffies_64",
        "saved_command_line",
    ),
    structs={
        "uts_namespace": "name.nodename name.release name.version name.machine name.sysname name.domainname",
        "timekeeper": "xtime_sec offs_real offs_boot",
    },
)


@dataclass(frozen=True, slots=True)
class System:
    """The guest as uname, uptime and lsmod would describe it. None: could not be read."""

    sysname: str
    nodename: str
    release: str
    version: str
    machine: str
    domainname: str
    boot_time: float | None
    """Seconds since the epoch, by the guest's clock."""
    cpus_online: int | None
    memory_total_bytes: int | None
    """What the guest's kernel manages; a little less than its RAM."""
    modules_count: int | None
    command_line: str | None


def read_system(kernel: Kernel) -> System:
    """Everything at once; some 20 reads."""
    names = ("sysname", "nodename", "release", "version", "machine", "domainname")
    columns = kernel.read_one(
        "uts_namespace", " ".join(f"name.{name}" for name in names), kernel.symbol("init_uts_ns")
    )
    texts = {
        name: text_rows(columns.raw(f"name.{name}"))[0].decode("utf-8", "surrogateescape") for name in names
    }
    return System(
        **texts,
        boot_time=_or_none(read_boot_time, kernel),
        cpus_online=_or_none(_cpus_online, kernel),
        memory_total_bytes=_or_none(_memory_total, kernel),
        modules_count=_or_none(_modules_count, kernel),
        command_line=_or_none(_command_line, kernel),
    )


def _or_none(read: Callable[[Kernel], T], kernel: Kernel) -> T | None:
    try:
        return read(kernel)
    except GuestDataError:
        return None


def read_boot_time(kernel: Kernel) -> float:
    """Seconds since the epoch when the guest booted, as btime of /proc/stat. Source: getboottime64()."""
    symbol = "timekeeper_data" if kernel.has_symbol("timekeeper_data") else "tk_core"
    # The timekeeper is 8-aligned behind the sequence count.
    timekeeper = Gva(kernel.symbol(symbol) + 8)
    columns = kernel.read_one("timekeeper", "offs_real offs_boot", timekeeper)
    boot_ns = int(columns.signed("offs_real")[0]) - int(columns.signed("offs_boot")[0])
    if not 0 <= boot_ns < 1 << 62:
        raise BadStructure("an impossible boot time", field="timekeeper.offs_real", address=timekeeper)
    return boot_ns / 1e9


def read_jiffies(kernel: Kernel) -> int:
    """jiffies_64: advances while the guest runs, though an idle tickless one may pause it for half a second.

    0 for a kernel that does not name it.
    """
    if not kernel.has_symbol("jiffies_64"):
        return 0
    return kernel.memory.u64(kernel.symbol("jiffies_64"))


def _cpus_online(kernel: Kernel) -> int:
    return kernel.memory.u32(kernel.symbol("__num_online_cpus"))


def _memory_total(kernel: Kernel) -> int:
    pages = kernel.memory.u64(kernel.symbol("_totalram_pages"))
    if pages >= 1 << 52:
        raise BadStructure(f"{pages} pages of RAM", field="_totalram_pages")
    return pages * PAGE_SIZE_BYTES


def _modules_count(kernel: Kernel) -> int:
    return len(walk_list(kernel, kernel.symbol("modules"), "modules", MAX_MODULES))


def _command_line(kernel: Kernel) -> str:
    pointer = Gva(kernel.memory.u64(kernel.symbol("saved_command_line")))
    return kernel.memory.string(pointer, 4096).decode("utf-8", "surrogateescape")
