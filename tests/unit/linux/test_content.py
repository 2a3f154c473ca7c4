from __future__ import annotations

import hashlib
import random
from collections.abc import Callable

import pytest

from tests.unit.linux.files import FOLDER, PAGE, REGULAR, UPTODATE, Files
from vmon.core.errors import BadStructure, NotSupported, UsageError
from vmon.core.ports import ViewPhys
from vmon.linux import content as module
from vmon.linux.content import FileContent, content_of_file, content_of_inode
from vmon.linux.kernel import Kernel
from vmon.transport.fake import FakeRam

DATA = random.Random(7).randbytes(70 * PAGE - 100)


def opened(files: Files, node: int, kernel: Kernel | None = None) -> FileContent:
    return content_of_inode(kernel or files.kernel(), files.mapping_of(node) and node, "/file", deleted=False)  # type: ignore[arg-type]


def holes(content: FileContent) -> list[tuple[int, int, str]]:
    return [(hole.start, hole.end, hole.reason) for hole in content.holes]


class Viewed:
    """RAM that can be seen where it lies, and counts how often it is."""

    def __init__(self, files: Files, kernel: Kernel) -> None:
        self._ram, self._files, self.views = kernel.memory.phys, files, 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._ram, name)

    def view(self, gpa: int, size_bytes: int) -> memoryview:
        self.views += 1
        return memoryview(self._files.small.ram)[gpa : gpa + size_bytes].toreadonly()


def test_a_whole_file() -> None:
    files = Files()
    node = files.inode()
    files.fill(node, DATA)
    content = opened(files, node)
    assert (content.data, content.size, content.holes, content.missing_pages) == (DATA, len(DATA), [], 0)
    assert b"".join(piece.tobytes() for piece in content.chunks()) == DATA
    record = content.sha256()
    assert (record.sha256, record.size, record.reason) == (hashlib.sha256(DATA).hexdigest(), len(DATA), None)
    assert (content.path, content.inode, content.about.filesystem, content.about.deleted) == (
        "/file",
        102,
        "tmpfs",
        False,
    )
    assert "/file" in repr(content)


def test_an_empty_one_and_pages_behind_its_end() -> None:
    files = Files()
    node = files.inode()
    empty = hashlib.sha256().hexdigest()
    assert (opened(files, node).data, opened(files, node).sha256().sha256) == (b"", empty)
    files.fill(node, DATA)
    files.small.set(node, "inode", i_size=PAGE + 1)
    content = opened(files, node)
    assert (content.data, content.sha256().sha256) == (
        DATA[: PAGE + 1],
        hashlib.sha256(DATA[: PAGE + 1]).hexdigest(),
    )


@pytest.mark.parametrize("ops", ["shmem_aops", "ram_aops", "hugetlbfs_aops"])
def test_what_memory_does_not_hold_of_a_file_in_memory_is_zeros(ops: str) -> None:
    files = Files()
    node = files.inode(ops=ops)
    without = [0, 3, 4, 64, 69]
    files.fill(node, DATA, without=without if ops != "hugetlbfs_aops" else range(70))
    content = opened(files, node)
    expected = bytearray(DATA)
    for index in without if ops != "hugetlbfs_aops" else range(70):
        at = slice(index * PAGE, (index + 1) * PAGE)
        expected[at] = bytes(len(expected[at]))
    assert content.holes == [] and content.data == bytes(expected)
    assert content.sha256().sha256 == hashlib.sha256(expected).hexdigest()


def test_what_is_not_there_of_a_file_on_a_disk_is_a_hole() -> None:
    files = Files()
    node = files.inode(filesystem="ext4", ops="ext4_aops")
    files.fill(node, DATA, without=[0, 3, 4, 69], more={4: 0x99})
    content = opened(files, node)
    gone = [(0, PAGE), (3 * PAGE, 5 * PAGE), (69 * PAGE, len(DATA))]
    assert holes(content) == [(start, end, "not resident") for start, end in gone]
    assert content.missing_pages == 4
    expected = bytearray(DATA)
    for start, end in gone:
        expected[start:end] = bytes(end - start)
    assert content.data == bytes(expected)
    record = content.sha256()
    assert (record.sha256, record.missing_pages, record.reason) == (None, 4, "not resident")


def test_swapped_pages_of_any_order() -> None:
    files = Files()
    node = files.inode()
    files.small.set(node, "inode", i_size=10 * PAGE)
    files.store(
        files.tree_of(node), {0: (files.pages(b"x", files.mapping_of(node)), 0), 4: (0x11, 2), 8: (0x13, 3)}
    )
    content = opened(files, node)
    assert holes(content) == [(4 * PAGE, 10 * PAGE, "swapped")] or holes(content) == [
        (4 * PAGE, 8 * PAGE, "swapped"),
        (8 * PAGE, 10 * PAGE, "swapped"),
    ]
    assert content.data == b"x".ljust(10 * PAGE, b"\0")


@pytest.mark.parametrize("stretches", [True, False], ids=["in one stretch", "scattered"])
def test_hashing_where_the_bytes_lie(stretches: bool) -> None:
    files = Files()
    node = files.inode()
    mapping = files.mapping_of(node)
    files.small.set(node, "inode", i_size=80 * PAGE - 9)
    order = list(range(40))
    if not stretches:
        random.Random(3).shuffle(order)
    start = files.pages(DATA[: 40 * PAGE], mapping)
    entries, expected = {}, bytearray(80 * PAGE - 9)
    for index in range(40):
        page = start + 64 * order[index]
        files.small.put(files.small.field(files.struct_page(page), "page", "mapping"), mapping)
        files.small.put(files.small.field(files.struct_page(page), "page", "index"), 20 + index)
        files.small.put(files.small.field(files.struct_page(page), "page", "flags.f"), UPTODATE)
        entries[20 + index] = (page, 0)
        expected[(20 + index) * PAGE : (21 + index) * PAGE] = DATA[
            order[index] * PAGE : (order[index] + 1) * PAGE
        ]
    files.store(files.tree_of(node), entries)
    kernel = files.kernel()
    ram = kernel.memory.phys = Viewed(files, kernel)  # type: ignore[assignment]
    assert isinstance(ram, ViewPhys)
    assert opened(files, node, kernel).sha256().sha256 == hashlib.sha256(expected).hexdigest()
    assert ram.views == int(stretches)


def moving(
    monkeypatch: pytest.MonkeyPatch, files: Files, kernel: Kernel, change: Callable[[], None], times: int
) -> None:
    """The guest does something while a file is read, this many times."""
    pieces = FileContent._pieces
    left = [times]
    ram = kernel.memory.phys
    assert isinstance(ram, FakeRam)

    def read(self: FileContent) -> object:
        yield from pieces(self)
        if left[0]:
            left[0] -= 1
            change()
            ram.guest_writes(0, bytes(files.small.ram))

    monkeypatch.setattr(FileContent, "_pieces", read)


def test_pages_that_move_while_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    files = Files()
    node = files.inode()
    files.fill(node, DATA)
    kernel = files.kernel()
    content = opened(files, node, kernel)
    moving(monkeypatch, files, kernel, lambda: files.fill(node, b"new" + DATA[3:]), 1)
    assert content.data == b"new" + DATA[3:]
    assert content.holes == []


def test_a_page_that_is_dropped_while_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    files = Files()
    node = files.inode(filesystem="ext4", ops="ext4_aops")
    files.fill(node, DATA)
    kernel = files.kernel()
    content = opened(files, node, kernel)

    def drop() -> None:
        files.store(files.tree_of(node), {0: (files.pages(DATA[:PAGE], files.mapping_of(node), 0), 0)})

    moving(monkeypatch, files, kernel, drop, 1)
    read = b"".join(piece.tobytes() for piece in content.chunks())
    assert read == DATA
    # The first page moved, the others are gone.
    assert holes(content) == [(0, len(DATA), "torn")]
    assert opened(files, node).sha256().reason == "not resident"


def test_limits() -> None:
    files = Files()
    node = files.inode()
    files.fill(node, DATA)
    record = opened(files, node).sha256(limit_bytes=len(DATA) - 1)
    assert (record.sha256, record.reason, record.missing_pages) == (None, "bounded", 0)
    files.small.set(node, "inode", i_size=1 << 62)
    content = opened(files, node)
    assert content.sha256().reason == "bounded"
    with pytest.raises(UsageError, match="bytes"):
        content.data  # noqa: B018
    assert next(content.chunks()).tobytes() == DATA[: module.PIECE_PAGES * PAGE]
    files.small.set(node, "inode", i_size=-1)
    with pytest.raises(BadStructure, match="-1 bytes"):
        opened(files, node)


def test_what_is_no_file() -> None:
    files = Files()
    for mode, said in (
        (FOLDER, "a directory"),
        (0o020666, "a character"),
        (0o140777, "a socket"),
        (0, "no file"),
    ):
        with pytest.raises(UsageError, match=said):
            opened(files, files.inode(mode))
    with pytest.raises(NotSupported, match="proc"):
        opened(files, files.inode(REGULAR, filesystem="proc"))
    with pytest.raises(NotSupported, match="block device"):
        opened(files, files.inode(0o060660))
    with pytest.raises(BadStructure, match="no layer"):
        opened(files, files.inode(filesystem="overlay"))


def test_a_block_device_that_is_open() -> None:
    files = Files()
    device, node = (
        files.inode(0o060660, filesystem="bdev", ops="ext4_aops"),
        files.inode(0o060660, filesystem="devtmpfs"),
    )
    files.fill(device, DATA)
    file = files.file(node)
    files.small.set(file, "file", f_mapping=files.mapping_of(device))
    content = content_of_file(files.kernel(), file, "/dev/it", deleted=False)
    assert (content.size, content.data, content.about.filesystem) == (len(DATA), DATA, "devtmpfs")
