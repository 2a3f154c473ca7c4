from __future__ import annotations

import pytest

from tests.unit.linux.files import FOLDER, LINK, NEW, OLD, Files
from vmon.core.address import Gva
from vmon.core.errors import BadStructure, NoSuchFile, NotMapped, NotSupported
from vmon.linux.lookup import MAX_STEPS, Lookup

BOTH = pytest.mark.parametrize("structs", [NEW, OLD], ids=["new", "old"])


def find(files: Files, path: bytes, root: int = 0) -> int:
    """The dentry that a path leads to."""
    names = Lookup(files.kernel(), files.vfsmount(files.root_mount), Gva(root or files.root))
    place = names.find(path)
    assert names.inode(place) and names.vfsmount(place)
    return place.dentry


def link(files: Files, name: bytes, parent: int, target: bytes, *, short: bool = True) -> int:
    node = files.inode(LINK)
    if short:
        files.small.set(node, "inode", i_link=files.small.string(target))
    else:
        files.fill(node, target)
    return files.dentry(name, parent, node)


def tree(structs: dict[str, str] = NEW) -> tuple[Files, int, int, int]:
    """/etc with passwd in it, and a folder with a long name."""
    files = Files(structs)
    etc = files.dentry(b"etc", files.root, files.inode(FOLDER))
    passwd = files.dentry(b"passwd", etc, files.inode())
    long = files.dentry(b"n" * 200, etc, files.inode(FOLDER))
    return files, etc, passwd, long


@BOTH
def test_names(structs: dict[str, str]) -> None:
    files, etc, passwd, long = tree(structs)
    deep = files.dentry(b"deep", long, files.inode())
    for path, place in (
        (b"/", files.root),
        (b"/etc", etc),
        (b"/etc/passwd", passwd),
        (b"//etc/./passwd", passwd),
        (b"/etc/../etc/passwd", passwd),
        (b"/../../etc", etc),
        (b"/etc/" + b"n" * 200 + b"/deep", deep),
        (b"/etc/" + b"n" * 200 + b"/..", etc),
    ):
        assert find(files, path) == place, path
    # Of a process that was shut in, .. does not lead out.
    assert find(files, b"/../../passwd", root=etc) == passwd


@BOTH
def test_links(structs: dict[str, str]) -> None:
    files, etc, passwd, _ = tree(structs)
    link(files, b"relative", etc, b"../etc/passwd")
    link(files, b"absolute", etc, b"/etc/relative")
    link(files, b"page", files.root, b"./" * 200 + b"etc/passwd", short=False)
    link(files, b"folder", files.root, b"etc")
    for path in (b"/etc/relative", b"/etc/absolute", b"/page", b"/folder/passwd", b"/folder/../etc/absolute"):
        assert find(files, path) == passwd, path
    link(files, b"loop", files.root, b"loop")
    with pytest.raises(NoSuchFile, match="too many"):
        find(files, b"/loop")
    files.dentry(b"made up", files.root, files.inode(LINK))
    with pytest.raises(NoSuchFile, match="/made up leads could not be read"):
        find(files, b"/made up")


def test_a_link_of_an_overlay() -> None:
    files, etc, passwd, _ = tree()
    below = files.inode(LINK, filesystem="ext4")
    files.small.set(below, "inode", i_link=files.small.string(b"passwd"))
    node = files.inode(LINK, filesystem="overlay", extra=64)
    files.small.put(node + files.small.profile["inode"].size + 8, below)
    files.dentry(b"link", etc, node)
    assert find(files, b"/etc/link") == passwd


@BOTH
def test_mounts_are_entered_and_left(structs: dict[str, str]) -> None:
    files, etc, passwd, long = tree(structs)
    inner = files.dentry(b"/", 0, files.inode(FOLDER))
    hidden = files.dentry(b"hidden", long, files.inode())
    mount = files.mount(files.root_mount, long, inner)
    seen = files.dentry(b"seen", inner, files.inode())
    path = b"/etc/" + b"n" * 200
    assert find(files, path) == inner
    assert find(files, path + b"/seen") == seen
    assert find(files, path + b"/../passwd") == passwd
    with pytest.raises(NoSuchFile):
        find(files, path + b"/hidden")
    over = files.dentry(b"/", 0, files.inode(FOLDER))
    files.mount(mount, inner, over)
    assert find(files, path) == over
    assert find(files, path + b"/..") == etc
    assert hidden


@BOTH
def test_names_that_are_not_there(structs: dict[str, str]) -> None:
    files, etc, passwd, _ = tree(structs)
    with pytest.raises(NoSuchFile, match="there is no /etc/shadow"):
        find(files, b"/etc/shadow")
    with pytest.raises(NoSuchFile, match="no directory"):
        find(files, b"/etc/passwd/more")
    files.dentry(b"gone", etc, files.inode(), hashed=False)
    files.dentry(b"negative", etc, 0)
    for name in (b"gone", b"negative"):
        with pytest.raises(NoSuchFile, match="there is no"):
            find(files, b"/etc/" + name)
    disk = files.dentry(b"disk", files.root, files.inode(FOLDER, filesystem="ext4"))
    known = files.dentry(b"known", disk, files.inode(filesystem="ext4"))
    assert find(files, b"/disk/known") == known
    with pytest.raises(NoSuchFile, match="not among the names") as caught:
        find(files, b"/disk/other")
    assert "ext4" in caught.value.hint
    files.dentry(b"negative", disk, 0)
    with pytest.raises(NoSuchFile, match="there is no"):
        find(files, b"/disk/negative")
    files.dentry(b"proc", files.root, files.inode(FOLDER, filesystem="proc"))
    with pytest.raises(NotSupported, match="made when"):
        find(files, b"/proc/1")
    assert passwd


@BOTH
def test_trees_that_make_no_sense(structs: dict[str, str]) -> None:
    files, etc, passwd, _ = tree(structs)
    node = files.small.field(passwd, "dentry", "d_sib")
    files.small.put(node, node)
    with pytest.raises(NoSuchFile):
        find(files, b"/etc/shadow")
    files.small.put(node, 0xFFFF_C900_0000_0000)
    with pytest.raises(NoSuchFile):
        find(files, b"/etc/shadow")
    with pytest.raises(BadStructure, match="steps"):
        find(files, b"/." * (MAX_STEPS + 1))
    # A folder that is above itself.
    files.small.set(etc, "dentry", d_parent=etc)
    assert find(files, b"/etc/..") == etc
    mounts = files.small.field(files.root_mount, "mount", "mnt_mounts")
    files.small.put(mounts, mounts + 8)
    files.small.put(mounts + 8, mounts + 8)
    with pytest.raises(BadStructure, match="runs into itself"):
        find(files, b"/etc")
    files.small.put(mounts, 0xFFFF_C900_0000_0000)
    with pytest.raises(NotMapped):
        find(files, b"/etc")
