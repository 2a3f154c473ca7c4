"""The content of a file is read from the guest's page cache: what is not there is a hole, and is said to be one.

Reads inode, super_block and, by vmon.linux.pagecache, the pages. A hostile guest can claim any size: memory is taken
for what is read, piece by piece, and hashing has a limit. When the guest drops or moves pages meanwhile, it is noticed
by looking the pages up again afterwards: they are read again, or told as torn holes.
Sources: include/linux/fs.h, mm/filemap.c, mm/shmem.c.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from vmon.core.address import PAGE_SIZE_BYTES, Gpa, Gva
from vmon.core.coverage import Reason
from vmon.core.errors import BadStructure, NotSupported, UsageError
from vmon.core.ports import ViewPhys
from vmon.core.records.content import HashRecord, HoleRecord
from vmon.kernel.columns import Column
from vmon.kernel.profile import Wants
from vmon.linux import inode, overlay, pagecache
from vmon.linux.inode import read_filesystems, read_inodes
from vmon.linux.kernel import Kernel

WANTS = (
    pagecache.WANTS
    | inode.WANTS
    | overlay.WANTS
    | Wants(structs={"inode": "i_size i_sb i_mapping", "file": "f_mapping f_inode"})
)
PIECE_PAGES = 64
"""256 KiB at a time: it is still in the CPU's cache when it is hashed or written."""
FEW_PAGES = 8
"""Stretches shorter than this on average are read by the thousand instead: a view of each would cost more."""
VIEW_BYTES = 16 << 20
MAX_DATA_BYTES = 2 << 30
MAX_HASHED_BYTES = 4 << 30
TRIES = 3
MADE_UP_NAMES = (
    "proc sysfs cgroup cgroup2 debugfs tracefs securityfs configfs pstore efivarfs bpf selinuxfs smackfs "
    "fusectl binfmt_misc devpts mqueue nsfs rpc_pipefs nfsd functionfs resctrl"
)
MADE_UP = frozenset(MADE_UP_NAMES.split())
"""File systems whose files have no content but what the kernel writes when they are read."""
MADE_UP_HINT = "nothing of it lies in memory; vmon's other commands read what it is made from"
NEVER = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
T = TypeVar("T")


class About(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Which file it is."""

    path: str
    deleted: bool
    inode: int
    device: int
    """As in struct stat, major << 8 | minor for small numbers."""
    filesystem: str
    size: int
    """Bytes."""


class FileContent:
    """One file of the guest, as far as it is in RAM; the places of its pages are known, its bytes are read when asked.

    Not atomic: a file that the guest writes to meanwhile can be seen half old, half new, as from inside.
    """

    def __init__(self, kernel: Kernel, about: About, mapping: pagecache.Mapping) -> None:
        self._kernel = kernel
        self._mapping = mapping
        self.about = about
        """Path, inode, size."""
        self._pages_count = -(-about.size // PAGE_SIZE_BYTES)
        self._torn: list[HoleRecord] = []
        self._find()

    def __repr__(self) -> str:
        return f"<FileContent {self.about.path!r} of {self.about.size} bytes, {len(self.holes)} holes>"

    @property
    def path(self) -> str:
        """Where it is, or was, in the guest's mount tree."""
        return self.about.path

    @property
    def inode(self) -> int:
        """Inode number, as the guest's stat has it."""
        return self.about.inode

    @property
    def size(self) -> int:
        """Bytes, holes included."""
        return self.about.size

    @property
    def mapping(self) -> Gva:
        """Address of the address_space that holds its pages."""
        return self._mapping.gva

    @property
    def holes(self) -> list[HoleRecord]:
        """What is not known of it, lowest first; it reads as zeros. Parts that the file does not have are no holes."""
        return (
            sorted([*self._known_holes, *self._torn], key=lambda hole: hole.start)
            if self._torn
            else (self._known_holes)
        )

    @property
    def missing_pages(self) -> int:
        """Pages in holes."""
        return sum(-(-hole.end // PAGE_SIZE_BYTES) - hole.start // PAGE_SIZE_BYTES for hole in self.holes)

    def _find(self) -> None:
        """Look the pages up. A tree that changed while it was walked is walked again."""
        for _ in range(TRIES):
            pages = pagecache.find_pages(self._kernel, self._mapping.gva)
            if not pages.gaps.torn_nodes and "torn" not in pages.gaps.reasons:
                break
        indexes, gpas = pagecache.each_page(pages)
        end = int(np.searchsorted(indexes, np.uint64(self._pages_count)))
        self._indexes, self._gpas = indexes[:end], gpas[:end]
        self._known_holes = self._list_holes(pages.gaps)

    def _list_holes(self, gaps: pagecache.Lacks) -> list[HoleRecord]:
        """Runs of pages that are not known, in order."""
        absent: Reason | None = None if self._mapping.kind else "not resident"
        if gaps.torn_nodes:
            absent = "torn"
        runs = _runs(self._indexes, None)
        for reason in dict.fromkeys(gaps.reasons):
            rows = np.array([found == reason for found in gaps.reasons], dtype=bool)
            firsts = pagecache.spread(gaps.indexes[rows], gaps.orders[rows])
            runs += _runs(np.sort(firsts[firsts < np.uint64(self._pages_count)]), reason)
        runs.sort(key=lambda run: run[0])
        holes: list[HoleRecord] = []
        at = 0
        for start, end, why in [*runs, (self._pages_count, self._pages_count, None)]:
            if start > at and absent is not None:
                self._add_hole(holes, at, start, absent)
            if why is not None:
                self._add_hole(holes, max(start, at), end, why)
            at = max(at, end)
        return holes

    def _add_hole(self, holes: list[HoleRecord], first: int, end: int, reason: Reason) -> None:
        start, stop = first * PAGE_SIZE_BYTES, min(end * PAGE_SIZE_BYTES, self.size)
        if start < stop:
            holes.append(HoleRecord(start=start, end=stop, reason=reason))

    def chunks(self) -> Iterator[NDArray[np.uint8]]:
        """Its bytes from first to last, in pieces of at most 256 KiB; holes are zeros.

        After the last piece, `holes` also names as torn what the guest moved while it was read.
        """
        yield from self._pieces()
        self._torn = self._moved()

    def _pieces(self) -> Iterator[NDArray[np.uint8]]:
        gather = self._kernel.memory.phys.gather
        indexes, gpas, size = self._indexes, self._gpas, self.size
        nothing = np.zeros(PIECE_PAGES * PAGE_SIZE_BYTES, np.uint8)
        nothing.flags.writeable = False
        at = 0
        for first in range(0, self._pages_count, PIECE_PAGES):
            count = min(PIECE_PAGES, self._pages_count - first)
            end = at + int(np.searchsorted(indexes[at : at + count], np.uint64(first + count)))
            if end == at:
                piece = nothing
            elif end - at == count:
                piece = gather(gpas[at:end], PAGE_SIZE_BYTES).reshape(-1)
            else:
                rows = np.zeros((count, PAGE_SIZE_BYTES), np.uint8)
                rows[(indexes[at:end] - np.uint64(first)).astype(np.int64)] = gather(
                    gpas[at:end], PAGE_SIZE_BYTES
                )
                piece = rows.reshape(-1)
            at = end
            yield piece[: min(count * PAGE_SIZE_BYTES, size - first * PAGE_SIZE_BYTES)]

    def _feed(self, update: Callable[[bytes | memoryview], None]) -> None:
        """Give all bytes to `update`, where they lie in RAM if they lie there in stretches, else from copies."""
        phys = self._kernel.memory.phys
        indexes, gpas = self._indexes, self._gpas
        apart = (indexes[1:] != indexes[:-1] + np.uint64(1)) | (
            gpas[1:] != gpas[:-1] + np.uint64(PAGE_SIZE_BYTES)
        )
        edges = np.flatnonzero(apart) + 1
        if not isinstance(phys, ViewPhys) or (edges.size + 1) * FEW_PAGES > indexes.size:
            for piece in self._pieces():
                update(piece.data)
            return
        starts = np.concatenate(([0], edges))
        ends = np.concatenate((edges, [indexes.size]))
        done = 0
        rows = (indexes[starts], indexes[ends - 1], gpas[starts])
        for first, last, gpa in zip(*(column.tolist() for column in rows), strict=True):
            _feed_zeros(update, first * PAGE_SIZE_BYTES - done)
            done = first * PAGE_SIZE_BYTES
            end = min((last + 1) * PAGE_SIZE_BYTES, self.size)
            while done < end:
                size = min(end - done, VIEW_BYTES)
                with phys.view(Gpa(gpa + done - first * PAGE_SIZE_BYTES), size) as view:
                    update(view)
                done += size
        _feed_zeros(update, self.size - done)

    def _moved(self) -> list[HoleRecord]:
        """The pages that are not any more where they were read."""
        before, places = self._indexes, self._gpas
        indexes, gpas = pagecache.each_page(pagecache.find_pages(self._kernel, self._mapping.gva))
        if indexes.size >= before.size and np.array_equal(indexes[: before.size], before):
            still = gpas[: before.size] == places
        else:
            at = np.searchsorted(indexes, before)
            still = (np.append(indexes, NEVER)[at] == before) & (np.append(gpas, NEVER)[at] == places)
        holes: list[HoleRecord] = []
        for first, end, _ in _runs(before[~still], "torn"):
            self._add_hole(holes, first, end, "torn")
        return holes

    def _settled(self, work: Callable[[], T]) -> T:
        """What `work` makes of the pieces, done again when the guest moved pages under it."""
        for attempt in range(TRIES):
            result = work()
            self._torn = self._moved()
            if not self._torn:
                break
            if attempt + 1 < TRIES:
                self._find()
        return result

    @property
    def data(self) -> bytes:
        """All of it, read now; holes are zeros. UsageError beyond 2 GiB: `chunks` has no limit."""
        if self.size > MAX_DATA_BYTES:
            raise UsageError(f"{self.path} has {self.size:,} bytes", hint="read it piece by piece: chunks()")
        return self._settled(lambda: b"".join(piece.data for piece in self._pieces()))

    def sha256(self, limit_bytes: int = MAX_HASHED_BYTES) -> HashRecord:
        """The hash of its content, at about the speed of hashlib; without one where it has holes, or is too large."""

        def work() -> str | None:
            if self._known_holes:
                return None
            digest = hashlib.sha256()
            self._feed(digest.update)
            return digest.hexdigest()

        found = self._settled(work) if self.size <= limit_bytes and not self._known_holes else None
        holes = self.holes
        reason: Reason | None = None if found and not holes else (holes[0].reason if holes else "bounded")
        return HashRecord(
            sha256=found if not holes else None,
            size=self.size,
            missing_pages=self.missing_pages,
            reason=reason,
        )


def _feed_zeros(update: Callable[[bytes | memoryview], None], size_bytes: int) -> None:
    zeros = bytes(min(size_bytes, PIECE_PAGES * PAGE_SIZE_BYTES))
    for left in range(size_bytes, 0, -len(zeros) or -1):
        update(zeros[:left])


def _runs(indexes: Column, reason: Reason | None) -> list[tuple[int, int, Reason | None]]:
    """Rising page numbers as runs: first, first behind it, why they are listed."""
    if not indexes.size:
        return []
    edges = np.flatnonzero(indexes[1:] != indexes[:-1] + np.uint64(1)) + 1
    firsts = indexes[np.concatenate(([0], edges))].tolist()
    lasts = indexes[np.concatenate((edges - 1, [indexes.size - 1]))].tolist()
    return [(first, last + 1, reason) for first, last in zip(firsts, lasts, strict=True)]


def content_of_file(kernel: Kernel, file: Gva, path: str, deleted: bool) -> FileContent:
    """The content behind a struct file: what its f_mapping holds (a device's own, where it is one)."""
    columns = kernel.read_one("file", "f_mapping f_inode", file)
    return _content(kernel, Gva(int(columns["f_inode"][0])), int(columns["f_mapping"][0]), path, deleted)


def content_of_inode(kernel: Kernel, node: Gva, path: str, deleted: bool) -> FileContent:
    """The content of an inode. NotSupported for a block device, whose pages belong to another inode."""
    if read_inodes(kernel, np.array([node], np.uint64)).types[0] == "block":
        raise NotSupported(
            f"{path} is a block device", hint="of one that a process has open, PID:FD names the content"
        )
    mapping = int(kernel.read_one("inode", "i_mapping", node)["i_mapping"][0])
    return _content(kernel, node, mapping, path, deleted)


def _content(kernel: Kernel, node: Gva, mapping: int, path: str, deleted: bool) -> FileContent:
    """UsageError for what is no file, NotSupported where its file system keeps no pages, BadStructure."""
    where = np.array([node], np.uint64)
    inodes = read_inodes(kernel, where)
    filesystem = read_filesystems(kernel, kernel.read("inode", "i_sb", where)["i_sb"])[0]
    kind = inodes.types[0]
    if kind not in ("regular", "block"):
        name = {"character": "a character device", "fifo": "a pipe", "anonymous": "no file"}.get(
            kind, f"a {kind}"
        )
        raise UsageError(f"{path} is {name}", hint="regular files and block devices have content to read")
    if filesystem in MADE_UP:
        raise NotSupported(
            f"{path} is in a file system ({filesystem}) whose content is made when it is read",
            hint=MADE_UP_HINT,
        )
    if filesystem == overlay.NAME:
        real = overlay.real_inode(kernel, node)
        if real is None:
            raise BadStructure(f"no layer of the overlay has {path}", field="ovl_inode", address=node)
        mapping = int(kernel.read_one("inode", "i_mapping", real)["i_mapping"][0])
    about = pagecache.read_mapping(kernel, Gva(mapping))
    # A block device's pages belong to an inode of its own, which knows its size.
    size = int(kernel.read_one("inode", "i_size", about.host).signed("i_size")[0])
    if size < 0:
        raise BadStructure(f"a file of {size} bytes", field="inode.i_size", address=about.host)
    return FileContent(
        kernel,
        About(
            path=path,
            deleted=deleted,
            inode=inodes.numbers[0],
            device=inodes.devices[0],
            filesystem=filesystem,
            size=size,
        ),
        about,
    )
