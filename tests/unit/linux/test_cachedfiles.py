from __future__ import annotations

from tests.unit.linux.small import Small
from vmon.core.coverage import Gaps
from vmon.linux.cachedfiles import WANTS, find_cached_files

STRUCTS = {
    "file_system_type": "name:p",
    "super_block": "s_list:list_head s_dev:u32 s_type:p s_blocksize:u64 s_inodes:list_head s_id:char*32",
    "address_space": "host:p nrpages:u64",
    "hlist_head": "first:p",
    "hlist_node": "next:p pprev:p",
    "inode": "i_mode:u16 i_sb:p i_mapping:p i_ino:u64 i_size:s64 i_data:address_space i_sb_list:list_head "
    "i_dentry:hlist_head i_private:p",
    "qstr": "hash:u32 len:u32 name:p",
    "alias": "d_alias:hlist_node",
    "dentry": "d_parent:p d_name:qstr d_inode:p d_u:alias d_op:p",
}
REGULAR, FOLDER = 0o100644, 0o040755


class Files:
    """One file system: /etc/hosts with 2 pages, /etc without, a file without a name, one whose pages are another's."""

    def __init__(self) -> None:
        small = self.small = Small(WANTS, STRUCTS, {"super_blocks": 16})
        kind = small.new("file_system_type", name=small.string(b"ext4"))
        self.block = small.new("super_block", s_type=kind, s_id=b"vda1")
        small.chain(small.symbol("super_blocks"), [small.field(self.block, "super_block", "s_list")])
        self.root = self.dentry(b"/", 0)
        etc = self.dentry(b"etc", self.root)
        hosts = self.dentry(b"hosts", etc)
        self.hosts = self.inode(REGULAR, 2, hosts)
        self.nameless = self.inode(REGULAR, 1, 0)
        borrowed = self.inode(REGULAR, 9, 0)
        small.set(borrowed, "inode", i_mapping=small.field(self.hosts, "inode", "i_data"))
        inodes = [self.hosts, self.inode(FOLDER, 3, etc), self.inode(REGULAR, 0, 0), self.nameless, borrowed]
        self.nodes = [small.field(inode, "inode", "i_sb_list") for inode in inodes]
        small.chain(small.field(self.block, "super_block", "s_inodes"), self.nodes)

    def dentry(self, name: bytes, parent: int) -> int:
        small = self.small
        gva = small.new("dentry")
        small.set(gva, "dentry", d_parent=parent or gva)
        small.put(small.field(gva, "dentry", "d_name.name"), small.string(name))
        small.put(small.field(gva, "dentry", "d_name.len"), len(name), 4)
        return gva

    def inode(self, mode: int, pages: int, dentry: int) -> int:
        small = self.small
        gva = small.new("inode", i_mode=mode)
        mapping = small.field(gva, "inode", "i_data")
        small.set(gva, "inode", i_mapping=mapping)
        small.set(mapping, "address_space", nrpages=pages)
        if dentry:
            alias = small.field(dentry, "dentry", "d_alias")
            small.put(small.field(gva, "inode", "i_dentry"), alias)
        return gva


def test_files_with_pages_of_their_own_by_their_names() -> None:
    made, gaps = Files(), Gaps()
    found = list(find_cached_files(made.small.kernel(), gaps))
    assert [(file.inode, file.path) for file in found] == [(made.hosts, "/etc/hosts"), (made.nameless, "")]
    assert {file.filesystem for file in found} == {"ext4 (vda1)"}
    assert found[0].mapping == made.small.field(made.hosts, "inode", "i_data")
    assert gaps.records() == []


def test_a_list_that_breaks_gives_what_came_before() -> None:
    made, gaps = Files(), Gaps()
    made.small.put(made.nodes[3], made.nodes[0])
    assert len(list(find_cached_files(made.small.kernel(), gaps))) == 2
    assert [(gap.what, gap.reason) for gap in gaps.records()] == [("files", "torn")]


def test_names_that_loop_end() -> None:
    made = Files()
    made.small.set(made.root, "dentry", d_parent=made.dentry(b"loop", made.root))
    assert len(list(find_cached_files(made.small.kernel(calls_limit=3000), Gaps()))) == 2
