from __future__ import annotations

import hashlib

import pytest

from tests.unit.linux.files import PAGE, Files
from vmon.core.address import Gva
from vmon.linux import content
from vmon.linux.hashes import Hashes

DATA = b"program" * 3000
PAGES = -(-len(DATA) // PAGE)


def program(files: Files, name: bytes, **more: str) -> tuple[int, Gva]:
    node = files.inode(**more)  # type: ignore[arg-type]
    return node, files.file(node, files.dentry(name, files.root, node))


def test_each_inode_is_hashed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    files = Files()
    node, file = program(files, b"a")
    files.fill(node, DATA)
    again = files.file(node, 0)
    read: list[str] = []
    hashed = content.FileContent.sha256
    monkeypatch.setattr(
        content.FileContent, "sha256", lambda self, limit: read.append(self.path) or hashed(self, limit)
    )
    hashes = Hashes(files.kernel(), "sha256")
    records = [hashes.of(one) for one in (file, file, again)]
    assert {record.sha256 if record else "" for record in records} == {hashlib.sha256(DATA).hexdigest()}
    assert read == ["/a"]
    assert hashes.of(0) is None
    assert hashes.gaps().records() == []


def test_what_is_missing_is_counted_by_reason() -> None:
    files = Files()
    handed = []
    for name, without, more in ((b"one", [1], {}), (b"two", [0, 2], {}), (b"swapped", [], {3: 0x11})):
        shared = name == b"swapped"
        node, file = program(files, name, **({} if shared else {"filesystem": "ext4", "ops": "ext4_aops"}))
        files.fill(node, DATA, without=without, more=more)
        handed.append(file)
    hashes = Hashes(files.kernel(), "sha256")
    found = [hashes.of(file) for file in handed]
    assert [(record.sha256, record.missing_pages) for record in found if record] == [
        (None, 1),
        (None, 2),
        (None, 1),
    ]
    assert [(gap.what, gap.reason, gap.count, gap.detail) for gap in hashes.gaps().records()] == [
        ("sha256", "not resident", 3, "pages of 2 files"),
        ("sha256", "swapped", 1, "pages of /swapped"),
    ]


def test_what_has_no_content_and_what_makes_no_sense() -> None:
    files = Files()
    device = program(files, b"null", filesystem="devtmpfs")
    files.small.set(device[0], "inode", i_mode=0o020666)
    wrong, file = program(files, b"wrong")
    files.small.set(wrong, "inode", i_size=-5)
    wild = files.file(wrong)
    files.small.set(wild, "file", f_mapping=0xFFFF_C900_0000_0000)
    hashes = Hashes(files.kernel(), "sha256")
    assert hashes.of(device[1]) is None
    for one in (file, wild):
        record = hashes.of(one)
        assert record and (record.sha256, record.reason) == (None, "unreadable")
    assert [(gap.reason, gap.count, gap.detail) for gap in hashes.gaps().records()] == [
        ("unreadable", 2, "2 files")
    ]


def test_all_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmon.linux.hashes.MAX_HASHED_IN_ALL_BYTES", len(DATA) + 5)
    files = Files()
    handed = []
    for name in (b"one", b"two", b"three"):
        node, file = program(files, name)
        files.fill(node, DATA + name)
        handed.append(file)
    hashes = Hashes(files.kernel(), "sha256")
    records = [hashes.of(file) for file in handed]
    assert [record.reason for record in records if record] == [None, "bounded", "bounded"]
    assert [(gap.reason, gap.count, gap.detail) for gap in hashes.gaps().records()] == [
        ("bounded", 2, "2 files")
    ]
