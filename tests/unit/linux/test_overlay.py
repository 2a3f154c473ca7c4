from __future__ import annotations

import pytest

from tests.unit.linux.files import LINK, REGULAR, Files
from vmon.core.address import Gva
from vmon.linux.overlay import MAX_DEPTH, real_inode

WILD = 0xFFFF_C900_0000_0000


def layered(files: Files, *words: int, mode: int = REGULAR) -> Gva:
    """An inode of an overlayfs with these words behind it."""
    node = files.inode(mode, filesystem="overlay", ops="ext4_aops", extra=64)
    for number, word in enumerate(words):
        files.small.put(node + files.small.profile["inode"].size + 8 * number, word)
    return Gva(node)


def real(files: Files, node: int) -> int | None:
    """What is found by what RAM holds now."""
    return real_inode(files.kernel(), Gva(node))


def test_the_upper_file_comes_first_and_the_lower_one_is_found_in_each_layout() -> None:
    files = Files()
    upper, lower = files.inode(filesystem="ext4"), files.inode(filesystem="ext4")
    upper_dentry, lower_dentry = files.dentry(b"u", 0, upper), files.dentry(b"l", 0, lower)
    layers = files.small.new("dentry")
    entry = files.small.alloc(64)
    for at, word in enumerate((1, layers, lower_dentry)):
        files.small.put(entry + 8 * at, word)
    lock = 0
    for node, expected in (
        (layered(files, upper_dentry, lower, lock), upper),
        (layered(files, 0, lower, lock), lower),
        (layered(files, upper_dentry, layers, lower_dentry), upper),
        (layered(files, 0, layers, lower_dentry), lower),
        (layered(files, upper_dentry, entry, lock), upper),
        (layered(files, 0, entry, lock), lower),
    ):
        assert real(files, node) == expected


def test_links_have_layers_too_and_overlays_lie_on_overlays() -> None:
    files = Files()
    target = files.inode(LINK, filesystem="ext4")
    assert real(files, layered(files, files.dentry(b"l", 0, target), mode=LINK)) == target
    lowest = files.inode(filesystem="ext4")
    inner = layered(files, 0, lowest)
    # Another overlay has a super_block of its own.
    files.blocks.pop("overlay")
    outer = layered(files, 0, inner)
    assert real(files, outer) == real(files, inner) == lowest


@pytest.mark.parametrize("words", [(0, 0, 0), (WILD, WILD, WILD), (8, 8, 8), (1 << 63, 1 << 62, 1)])
def test_nothing_that_fits(words: tuple[int, ...]) -> None:
    files = Files()
    assert real(files, layered(files, *words)) is None


def test_what_does_not_fit() -> None:
    files = Files()
    folder, same = files.inode(0o040755, filesystem="ext4"), files.inode(filesystem="overlay")
    borrowed = files.inode(filesystem="ext4")
    files.small.set(borrowed, "inode", i_mapping=files.mapping_of(folder))
    hostless = files.inode(filesystem="ext4")
    files.small.set(files.mapping_of(hostless), "address_space", host=folder)
    for node in (folder, same, borrowed, hostless):
        assert real(files, layered(files, 0, node)) is None
    assert real(files, WILD) is None


def test_overlays_without_end() -> None:
    files = Files()
    below = files.inode(filesystem="ext4")
    for _ in range(MAX_DEPTH + 1):
        files.blocks.pop("overlay", None)
        below = layered(files, 0, below)
    assert real(files, below) is None
