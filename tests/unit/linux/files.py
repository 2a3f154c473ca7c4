"""A fake kernel with files: inodes whose pages lie in xarrays, dentries, mounts. What a test makes is all there is.

Struct pages lie where Linux has them, in a vmemmap that page tables map; everything else as in `small`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.unit.kernel.build import PageTables
from tests.unit.linux.small import PAGE_OFFSET, RAM_BYTES, Small
from vmon.core.address import Gva
from vmon.linux import named
from vmon.linux.kernel import Kernel

VMEMMAP = 0xFFFF_EA00_0000_0000
PAGE = 4096
STRUCT_PAGE = 64
UPTODATE, PG_UPTODATE = 1 << 3, 3
REGULAR, FOLDER, LINK = 0o100644, 0o040755, 0o120777
OPS = ("shmem_aops", "ram_aops", "hugetlbfs_aops", "ext4_aops")
COMMON = {
    "xarray": "xa_lock:u32 xa_flags:u32 xa_head:p",
    "xa_node": "shift:u8 offset:u8 count:u8 nr_values:u8 parent:p array:p list:u64*2 slots:p*64 marks:u64*3",
    "address_space": "host:p i_pages:xarray nrpages:u64 a_ops:p",
    "inode": "i_mode:u16 i_sb:p i_mapping:p i_ino:u64 i_size:s64 i_data:address_space i_link:p i_private:p",
    "super_block": "s_dev:u32 s_blocksize:u64 s_type:p",
    "file_system_type": "name:p",
    "qstr": "hash:u32 len:u32 name:p",
    "pair": "first:p second:p",
    "hash_node": "next:p pprev:p",
    "hlist_head": "first:p",
    "dentry_operations": "d_dname:p",
    "vfsmount": "mnt_root:p mnt_sb:p",
    "mount": "mnt_parent:p mnt_mountpoint:p mnt:vfsmount mnt_mounts:list_head mnt_child:list_head mnt_id:s32",
    "path": "mnt:p dentry:p",
    "file": "f_path:path f_inode:p f_mapping:p",
}
DENTRY = "d_flags:u32 d_hash:hash_node d_parent:p d_name:qstr d_inode:p"
PAGE_REST = "lru:list_head mapping:p"
NEW = {
    **COMMON,
    "memdesc_flags_t": "f:u64",
    "page": f"flags:memdesc_flags_t {PAGE_REST} __folio_index:u64 private:u64 counts:u64 memcg:u64",
    "dentry": f"{DENTRY} d_shortname:char*40 d_op:p d_sib:hash_node d_children:hlist_head",
}
OLD = {
    **COMMON,
    "page": f"flags:u64 {PAGE_REST} index:u64 private:u64 counts:u64 memcg:u64",
    "dentry": f"{DENTRY} d_iname:char*32 d_op:p d_child:list_head d_subdirs:list_head",
}


class Files:
    """RAM with an empty root folder in a tmpfs."""

    def __init__(self, structs: Mapping[str, str] = NEW, symbols: Mapping[str, int] = {}) -> None:
        self.small = Small(
            named.WANTS,
            structs,
            {**dict.fromkeys(OPS, 64), **symbols},
            enums={"pageflags": {"PG_uptodate": PG_UPTODATE}},
        )
        self.old = structs is OLD
        tables = PageTables(RAM_BYTES - PAGE, False, self._peek, self._poke, self._table)
        self._vmemmap = self.small.alloc(RAM_BYTES // PAGE * STRUCT_PAGE, PAGE)
        for at in range(0, RAM_BYTES // PAGE * STRUCT_PAGE, PAGE):
            tables.map(VMEMMAP + at, self._vmemmap + at - PAGE_OFFSET)
        self.blocks: dict[str, int] = {}
        self._numbers = 100
        self.root = self.dentry(b"/", 0, self.inode(FOLDER))
        self.root_mount = self.mount(0, 0, self.root)

    def _peek(self, gpa: int) -> int:
        return int.from_bytes(self.small.ram[gpa : gpa + 8], "little")

    def _poke(self, gpa: int, value: int) -> None:
        self.small.ram[gpa : gpa + 8] = value.to_bytes(8, "little")

    def _table(self) -> int:
        return self.small.alloc(PAGE, PAGE) - PAGE_OFFSET

    def kernel(self, calls_limit: int = 30_000) -> Kernel:
        return self.small.kernel(calls_limit)

    # Pages

    def pages(self, data: bytes, mapping: int = 0, index: int = 0, flags: int = UPTODATE) -> int:
        """A folio with this content, padded to pages; gives the address of its first struct page."""
        gva = self.small.alloc(len(data) + -len(data) % PAGE or PAGE, PAGE)
        self.small.write(gva, data)
        number = (gva - PAGE_OFFSET) // PAGE
        at = self._vmemmap + number * STRUCT_PAGE
        self.small.put(self.small.field(at, "page", "flags.f"), flags)
        self.small.put(self.small.field(at, "page", "mapping"), mapping)
        self.small.put(self.small.field(at, "page", "index"), index)
        return VMEMMAP + number * STRUCT_PAGE

    def struct_page(self, page: int) -> int:
        """Where a struct page can be written to."""
        return page - VMEMMAP + self._vmemmap

    def store(self, xarray: int, entries: Mapping[int, tuple[int, int]], shift: int | None = None) -> None:
        """Make the tree of these entries: index -> (entry, order)."""
        reach = max([index + (1 << order) for index, (_, order) in entries.items()], default=0)
        if shift is None:
            shift = 0
            while 64 << shift < reach:
                shift += 6
        root = self.node(dict(entries), shift, 0, 0)
        self.small.put(self.small.field(xarray, "xarray", "xa_head"), root + 2)

    def node(self, entries: dict[int, tuple[int, int]], shift: int, parent: int, offset: int) -> int:
        """One node, and those below it; indexes count from its first."""
        made = self.small.new("xa_node", shift=shift, offset=offset, parent=parent)
        below: dict[int, dict[int, tuple[int, int]]] = {}
        for index, (entry, order) in entries.items():
            slot = index >> shift
            if order < shift:
                below.setdefault(slot, {})[index - (slot << shift)] = (entry, order)
                continue
            self.slot(made, slot, entry)
            for sibling in range(1, 1 << order - shift):
                self.slot(made, slot + sibling, slot << 2 | 2)
        for slot, inner in below.items():
            self.slot(made, slot, self.node(inner, shift - 6, made, slot) + 2)
        return made

    def slot(self, node: int, number: int, entry: int) -> None:
        self.small.put(self.small.field(node, "xa_node", "slots") + 8 * number, entry)

    # Files

    def block(self, name: str, blocksize: int = PAGE) -> int:
        """The super_block of a file system of this type."""
        if name not in self.blocks:
            kind = self.small.new("file_system_type", name=self.small.string(name.encode()))
            self.blocks[name] = self.small.new("super_block", s_dev=len(self.blocks) + 1, s_type=kind)
        self.small.set(self.blocks[name], "super_block", s_blocksize=blocksize)
        return self.blocks[name]

    def inode(
        self,
        mode: int = REGULAR,
        size: int = 0,
        filesystem: str = "tmpfs",
        ops: str = "shmem_aops",
        extra: int = 0,
    ) -> int:
        self._numbers += 1
        node = self.small.new(
            "inode", extra, i_mode=mode, i_size=size, i_ino=self._numbers, i_sb=self.block(filesystem)
        )
        mapping = self.mapping_of(node)
        self.small.set(node, "inode", i_mapping=mapping)
        self.small.set(mapping, "address_space", host=node, a_ops=self.small.symbol(ops))
        return node

    def mapping_of(self, node: int) -> Gva:
        return Gva(self.small.field(node, "inode", "i_data"))

    def tree_of(self, node: int) -> int:
        return self.small.field(self.mapping_of(node), "address_space", "i_pages")

    def fill(self, node: int, data: bytes, without: Sequence[int] = (), more: Mapping[int, int] = {}) -> None:
        """Put data into a file page by page, but these pages; `more` are other entries."""
        mapping, entries = self.mapping_of(node), {}
        for index in range(-(-len(data) // PAGE)):
            if index not in without:
                page = self.pages(data[index * PAGE : (index + 1) * PAGE], mapping, index)
                entries[index] = (page, 0)
        entries.update({index: (entry, 0) for index, entry in more.items()})
        self.small.set(node, "inode", i_size=len(data))
        self.store(self.tree_of(node), entries)

    # Names

    def dentry(self, name: bytes, parent: int, node: int, *, hashed: bool = True) -> int:
        made = self.small.new("dentry", d_parent=parent, d_inode=node)
        field = self.small.field
        short = field(made, "dentry", "d_shortname")
        if len(name) >= 32:
            short = self.small.string(name)
        else:
            self.small.write(short, name)
        self.small.set(made, "dentry", d_name__name=short, d_name__len=len(name), d_parent=parent or made)
        self.small.set(made, "dentry", d_hash__pprev=int(hashed))
        if self.old:
            self.small.chain(field(made, "dentry", "d_children"), [])
        if parent:
            self._add_child(parent, made)
        return made

    def _add_child(self, parent: int, made: int) -> None:
        """At the head of the list, as the kernel does."""
        head, node = (
            self.small.field(parent, "dentry", "d_children"),
            self.small.field(made, "dentry", "d_sib"),
        )
        first = int.from_bytes(self.small.ram[head - PAGE_OFFSET :][:8], "little")
        self.small.put(node, first)
        self.small.put(head, node)

    def mount(self, parent: int, point: int, root: int) -> int:
        made = self.small.new("mount", mnt_parent=parent, mnt_mountpoint=point, mnt__mnt_root=root)
        self.small.set(made, "mount", mnt_parent=parent or made, mnt_mountpoint=point or root)
        self.small.chain(self.small.field(made, "mount", "mnt_mounts"), [])
        if parent:
            self.small.chain(
                self.small.field(parent, "mount", "mnt_mounts"),
                [self.small.field(made, "mount", "mnt_child")],
            )
        return made

    def vfsmount(self, mount: int) -> Gva:
        return Gva(self.small.field(mount, "mount", "mnt"))

    def file(self, node: int, dentry: int = 0) -> Gva:
        """A struct file, open."""
        made = self.small.new("file", f_inode=node, f_mapping=self.mapping_of(node))
        self.small.set(made, "file", f_path__mnt=self.vfsmount(self.root_mount), f_path__dentry=dentry)
        return Gva(made)
