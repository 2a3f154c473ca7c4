from __future__ import annotations

import numpy as np
import pytest

from tests.unit.linux.files import NEW, OLD, PAGE, STRUCT_PAGE, VMEMMAP, Files
from tests.unit.linux.small import PAGE_OFFSET
from vmon.core.errors import BadStructure, NotMapped
from vmon.linux.pagecache import Pages, each_page, find_pages, read_mapping, spread

BOTH = pytest.mark.parametrize("structs", [NEW, OLD], ids=["new", "old"])


def contents(files: Files, pages: Pages) -> dict[int, bytes]:
    indexes, gpas = each_page(pages)
    return {
        index: bytes(files.small.ram[gpa : gpa + 4])
        for index, gpa in zip(indexes.tolist(), gpas.tolist(), strict=True)
    }


@BOTH
def test_the_pages_of_a_file(structs: dict[str, str]) -> None:
    files = Files(structs)
    node = files.inode()
    files.fill(node, b"".join(b"%4d" % index + bytes(PAGE - 4) for index in range(70)), without=[3, 65])
    pages = find_pages(files.kernel(), files.mapping_of(node))
    assert contents(files, pages) == {index: b"%4d" % index for index in range(70) if index not in (3, 65)}
    assert pages.gaps == (*(pages.gaps[:2]), [], 0) and pages.gaps.indexes.size == 0
    some = find_pages(files.kernel(), files.mapping_of(node), (66, 68))
    assert set(contents(files, some)) >= {66, 67, 68}


def test_whose_it_is() -> None:
    files = Files()
    for ops, kind in (
        ("shmem_aops", "shmem"),
        ("ram_aops", "ram"),
        ("hugetlbfs_aops", "hugetlbfs"),
        ("ext4_aops", ""),
    ):
        node = files.inode(ops=ops)
        about = read_mapping(files.kernel(), files.mapping_of(node))
        assert (about.host, about.kind) == (node, kind)
    with pytest.raises(NotMapped):
        read_mapping(files.kernel(), files.mapping_of(0xFFFF_C900_0000_0000))


@pytest.mark.parametrize(
    "repeated", [False, True], ids=["one entry of its order", "its first page in each slot"]
)
def test_large_folios(repeated: bool) -> None:
    files = Files(OLD if repeated else NEW)
    node = files.inode()
    mapping = files.mapping_of(node)
    page = files.pages(b"".join(b"%4d" % n + bytes(PAGE - 4) for n in range(8)), mapping, 8)
    entries = dict.fromkeys(range(8, 16), (page, 0)) if repeated else {8: (page, 3)}
    files.store(files.tree_of(node), entries)
    pages = find_pages(files.kernel(), mapping)
    assert contents(files, pages) == {8 + n: b"%4d" % n for n in range(8)}
    assert pages.orders.tolist() == ([0] * 8 if repeated else [3])


@pytest.mark.parametrize("units", ["huge pages", "pages"])
def test_hugetlbfs(units: str) -> None:
    files = Files()
    node = files.inode(filesystem="hugetlbfs", ops="hugetlbfs_aops")
    files.block("hugetlbfs", 4 * PAGE)
    mapping, old = files.mapping_of(node), units == "huge pages"
    # The second of two: the first was never touched.
    page = files.pages(b"huge" + bytes(4 * PAGE - 4), mapping, 1 if old else 4)
    files.store(files.tree_of(node), {1: (page, 0)} if old else {4: (page, 2)})
    pages = find_pages(files.kernel(), mapping)
    assert (pages.indexes.tolist(), pages.orders.tolist()) == ([4], [2])
    assert contents(files, pages)[4] == b"huge" and list(contents(files, pages)) == [4, 5, 6, 7]


def test_what_is_elsewhere_and_what_is_only_remembered() -> None:
    files = Files()
    for ops, reasons in (("shmem_aops", ["swapped", "swapped"]), ("ext4_aops", [])):
        node = files.inode(ops=ops)
        page = files.pages(b"here", files.mapping_of(node), 0)
        files.store(files.tree_of(node), {0: (page, 0), 4: (0x4001, 2), 70: (0x23, 0)})
        pages = find_pages(files.kernel(), files.mapping_of(node))
        assert list(contents(files, pages)) == [0]
        assert pages.gaps.reasons == reasons
        assert pages.gaps.indexes.tolist() == [4, 70][: len(reasons)]
        assert pages.gaps.orders.tolist() == [2, 0][: len(reasons)]


def test_pages_that_are_no_longer_the_files_or_never_were() -> None:
    files = Files()
    node = files.inode()
    mapping = files.mapping_of(node)
    entries = {
        0: (files.pages(b"mine", mapping, 0), 0),
        1: (files.pages(b"other's", mapping + 8, 1), 0),
        2: (files.pages(b"elsewhere", mapping, 9), 0),
        3: (files.pages(b"not filled", mapping, 3, flags=0), 0),
        4: (VMEMMAP + STRUCT_PAGE * 0x10_0000, 0),
        5: (files.pages(b"askew", mapping, 5) + 4, 0),
        6: (0xFFFF_C900_0000_0000, 0),
        7: (PAGE_OFFSET, 0),
        8: (8, 0),
    }
    files.store(files.tree_of(node), entries)
    pages = find_pages(files.kernel(), mapping)
    assert contents(files, pages) == {0: b"mine"}
    gaps = dict(zip(pages.gaps.indexes.tolist(), pages.gaps.reasons, strict=True))
    # The third is in RAM and in the file, with nothing of it: as if it were not there.
    assert gaps == {1: "torn", 2: "torn", **dict.fromkeys(range(4, 9), "unreadable")}


def test_a_folio_has_an_end() -> None:
    ones, orders = np.ones(1000, np.uint64), np.full(1000, 18, np.uint8)
    with pytest.raises(BadStructure, match="folios of more"):
        spread(ones, orders)
    with pytest.raises(BadStructure):
        spread(ones[:1], np.full(1, 19, np.uint8))
    assert spread(ones[:2], np.array([0, 2], np.uint8), 16).tolist() == [1, 1, 17, 33, 49]


def test_a_kernel_without_that_flag() -> None:
    files = Files()
    files.small.profile.enums["pageflags"].clear()
    with pytest.raises(BadStructure, match="PG_uptodate"):
        find_pages(files.kernel(), files.mapping_of(files.inode()))
