"""The files below /proc that are of no process are a tree of proc_dir_entry, each with the functions that read it.

Reads proc_root and all below it. A hostile guest can loop the trees: entries are bounded, each is met once. What a
process sees under /proc/net is another namespace's tree of its own; all are read.
Sources: fs/proc/internal.h, fs/proc/generic.c, fs/proc/proc_net.c.
"""

from __future__ import annotations

from collections.abc import Iterator

from vmon.core.address import Gva
from vmon.core.coverage import Gaps
from vmon.core.errors import GuestDataError
from vmon.core.text import guest_text
from vmon.kernel.profile import Wants
from vmon.linux import rbtree
from vmon.linux.kernel import Kernel
from vmon.linux.task import walk_list

WANTS = rbtree.WANTS | Wants(
    symbols=("proc_root", "net_namespace_list"),
    structs={
        "proc_dir_entry": "subdir subdir_node proc_ops proc_iops seq_ops name mode",
        "net": "list proc_net ns.inum",
    },
)
MAX_ENTRIES = 200_000
MAX_DEPTH = 64
MAX_NAMESPACES = 10_000
POINTERS = ("proc_iops", "proc_ops", "seq_ops")


def find_entries(kernel: Kernel, gaps: Gaps) -> Iterator[tuple[str, int, dict[str, int]]]:
    """(path, address, its pointers to operations by field) of every entry, of every namespace's /proc/net too."""
    seen: set[int] = set()
    yield from _below(kernel, "/proc", kernel.symbol("proc_root"), gaps, seen, 0)
    offset = kernel.offset("net", "list")
    for node in walk_list(kernel, kernel.symbol("net_namespace_list"), "net.list", MAX_NAMESPACES):
        columns = kernel.read_one("net", "proc_net ns.inum", node - offset)
        top = f"/proc/net of namespace {int(columns['ns.inum'][0])}"
        if columns["proc_net"][0]:
            yield from _below(kernel, top, Gva(int(columns["proc_net"][0])), gaps, seen, 0)


def _below(
    kernel: Kernel, path: str, entry: Gva, gaps: Gaps, seen: set[int], depth: int
) -> Iterator[tuple[str, int, dict[str, int]]]:
    if entry in seen:
        return
    seen.add(entry)
    if len(seen) > MAX_ENTRIES or depth > MAX_DEPTH:
        gaps.add("/proc", "bounded", f"more than {MAX_ENTRIES:,} entries or {MAX_DEPTH} levels")
        return
    try:
        columns = kernel.read_one("proc_dir_entry", " ".join(POINTERS), entry)
        yield path, entry, {name: int(columns[name][0]) for name in POINTERS}
        root = Gva(entry + kernel.offset("proc_dir_entry", "subdir"))
        nodes = rbtree.walk_tree(kernel, root, "/proc", gaps, MAX_ENTRIES)
    except GuestDataError as error:
        gaps.add("/proc", "unreadable", error.message)
        return
    offset = kernel.offset("proc_dir_entry", "subdir_node")
    for node in nodes:
        below = Gva(node - offset)
        pointer = int(kernel.read_one("proc_dir_entry", "name", below)["name"][0])
        try:
            name = guest_text(kernel.memory.string(Gva(pointer), 255))
        except GuestDataError:
            name = "?"
        yield from _below(kernel, f"{path}/{name}", below, gaps, seen, depth + 1)
