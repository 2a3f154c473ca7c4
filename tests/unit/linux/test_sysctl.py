from __future__ import annotations

import pytest

from tests.unit.linux.small import Small
from vmon.core.coverage import Gaps
from vmon.core.errors import BadStructure
from vmon.linux.sysctl import WANTS, find_settings

STRUCTS = {
    "rb_node": "__rb_parent_color:u64 rb_right:p rb_left:p",
    "rb_root": "rb_node:p",
    "ctl_table": "procname:p data:p maxlen:s32 mode:u16 proc_handler:p poll:p extra1:p extra2:p",
    "ctl_node": "node:rb_node header:p",
    "ctl_table_header": "ctl_table:p used:s32 count:s32 parent:p node:p",
    "ctl_dir": "header:ctl_table_header root:rb_root",
    "ctl_table_set": "is_seen:p dir:ctl_dir",
    "ctl_table_root": "default_set:ctl_table_set lookup:p",
    "net": "count:u64 sysctls:ctl_table_set",
    "clocksource": "read:p mult:u32 shift:u32",
}
SYMBOLS = {
    "sysctl_table_root": 256,
    "init_net": 256,
    "clocksource_jiffies": 16,
    "tainted_mask": 8,
    "sysrq_enabled": 4,
    "sysrq_always_enabled": 1,
    "proc_dointvec": 16,
    "proc_douintvec": 16,
    "proc_dou8vec_minmax": 16,
    "proc_dobool": 16,
    "proc_doulongvec_minmax": 16,
    "proc_dostring": 16,
    "proc_dointvec_jiffies": 16,
    "proc_dointvec_ms_jiffies": 16,
    "proc_dointvec_userhz_jiffies": 16,
    "proc_doulongvec_ms_jiffies_minmax": 16,
    "ndisc_ifinfo_sysctl_change": 16,
    "proc_do_static_key": 16,
    "proc_do_uuid": 16,
    "proc_taint": 16,
}
WILD = 0xFFFF_C900_0000_0000
FILE, FOLDER, LINK = 0o100644, 0o040555, 0o120777


class Tree:
    """/proc/sys of a few settings."""

    def __init__(self) -> None:
        self.small = Small(WANTS, STRUCTS, SYMBOLS)
        self.small.set(self.small.symbol("clocksource_jiffies"), "clocksource", mult=4_000_000 << 8, shift=8)
        self.root = self.small.field(
            self.small.symbol("sysctl_table_root"), "ctl_table_root", "default_set.dir.root"
        )
        self.net = self.small.field(self.small.symbol("init_net"), "net", "sysctls.dir.root")

    def folder(self, root: int, *entries: tuple[bytes, int, int, int, str]) -> list[int]:
        """Settings (name, data, maxlen, mode, handler) below a root, each the right child of the one before."""
        small = self.small
        header = small.new("ctl_dir")
        tables = small.alloc(64 * len(entries))
        nodes = small.alloc(32 * len(entries))
        small.set(header, "ctl_table_header", ctl_table=tables, node=nodes)
        at = root
        found = []
        for number, (name, data, maxlen, mode, handler) in enumerate(entries):
            small.set(
                tables + small.profile["ctl_table"].size * number,
                "ctl_table",
                procname=small.string(name),
                data=data,
                maxlen=maxlen,
                mode=mode,
                proc_handler=small.symbol(handler) if handler else 0,
            )
            node = nodes + small.profile["ctl_node"].size * number
            small.set(node, "ctl_node", header=header)
            small.put(at, node)
            at = node + 8
            found.append(node)
        return [header, *found]

    def read(self, gaps: Gaps | None = None) -> dict[str, str | None]:
        return {record.name: record.value for record in find_settings(self.small.kernel(), gaps or Gaps())}


def ints(*values: int, width: int = 4) -> bytes:
    return b"".join((value & (1 << 8 * width) - 1).to_bytes(width, "little") for value in values)


@pytest.mark.parametrize(
    ("handler", "name", "data", "shown"),
    [
        ("proc_dointvec", b"x", ints(4, -1), "4\t-1"),
        ("proc_douintvec", b"x", ints(-1), "4294967295"),
        ("proc_dou8vec_minmax", b"x", b"\xff", "255"),
        ("proc_dobool", b"x", b"\x01\0\0\0", "1"),
        ("proc_doulongvec_minmax", b"x", ints(1 << 40, width=8), str(1 << 40)),
        ("proc_dostring", b"x", b"|/sbin/x %p\0rest", "|/sbin/x %p"),
        ("proc_dointvec_jiffies", b"x", ints(500, -250), "2\t-1"),
        ("proc_dointvec_ms_jiffies", b"x", ints(500), "2000"),
        ("proc_dointvec_userhz_jiffies", b"x", ints(250), "100"),
        ("proc_doulongvec_ms_jiffies_minmax", b"x", ints(500, width=8), "2000"),
        ("ndisc_ifinfo_sysctl_change", b"retrans_time", ints(250), "250"),
        ("ndisc_ifinfo_sysctl_change", b"retrans_time_ms", ints(250), "1000"),
        ("ndisc_ifinfo_sysctl_change", b"base_reachable_time", ints(250), "1"),
        ("proc_do_static_key", b"x", ints(-1), "1"),
        ("proc_do_uuid", b"x", bytes(range(16)), "00010203-0405-0607-0809-0a0b0c0d0e0f"),
    ],
)
def test_values_are_shown_as_their_handlers_show_them(
    handler: str, name: bytes, data: bytes, shown: str
) -> None:
    tree, gaps = Tree(), Gaps()
    tree.folder(tree.root, (name, tree.small.data(data), len(data), FILE, handler))
    assert tree.read(gaps) == {name.decode(): shown}
    assert gaps.records() == []


def test_folders_links_and_the_trees_of_namespaces() -> None:
    tree, small = Tree(), Tree().small
    small = tree.small
    number = small.data(ints(7))
    header, *_ = tree.folder(
        tree.root, (b"net", 0, 0, FOLDER, ""), (b"zero", number, 4, FILE, "proc_dointvec")
    )
    # A folder's entry lies in its own ctl_dir.
    below = small.field(header, "ctl_dir", "root")
    tree.folder(below, (b"eth0.5", number, 4, FILE, "proc_dointvec"), (b"conf", 0, 0, LINK, ""))
    tree.folder(tree.net, (b"own", number, 4, 0o100200, "proc_dointvec"))
    found = {record.name: record for record in find_settings(small.kernel(), Gaps())}
    assert {name: record.value for name, record in found.items()} == {
        "net.eth0/5": "7",
        "own": None,
        "zero": "7",
    }
    assert (found["own"].mode, found["zero"].mode) == ("0200", "0644")
    assert (found["zero"].handler, found["zero"].variable) == ("proc_dointvec", number)


def test_settings_whose_tables_name_no_variable() -> None:
    tree, gaps = Tree(), Gaps()
    small = tree.small
    small.put(small.symbol("tainted_mask"), 1 << 12)
    small.put(small.symbol("sysrq_enabled"), 438, 4)
    header, *_ = tree.folder(tree.root, (b"kernel", 0, 0, FOLDER, ""))
    tree.folder(
        small.field(header, "ctl_dir", "root"),
        (b"tainted", 0, 8, FILE, "proc_taint"),
        (b"sysrq", 0, 4, FILE, "proc_taint"),
        (b"other", 0, 4, FILE, "proc_taint"),
    )
    assert tree.read(gaps) == {"kernel.other": None, "kernel.sysrq": "438", "kernel.tainted": "4096"}
    assert [(gap.what, gap.reason, gap.count) for gap in gaps.records()] == [("value", "not looked for", 1)]
    small.put(small.symbol("sysrq_always_enabled"), 1, 1)
    assert tree.read()["kernel.sysrq"] == "1"
    # What is not asked for is not read, and not missing.
    gaps = Gaps()
    asked = find_settings(small.kernel(), gaps, ["kernel.t*", "*.sysrq"])
    assert [record.name for record in asked] == ["kernel.sysrq", "kernel.tainted"]
    assert gaps.records() == []


def test_what_cannot_be_read_is_told_and_the_rest_is_there() -> None:
    tree, gaps = Tree(), Gaps()
    small = tree.small
    small.set(small.symbol("clocksource_jiffies"), "clocksource", mult=0)
    number = small.data(ints(7))
    nodes = tree.folder(
        tree.root,
        (b"bad", WILD, 4, FILE, "proc_dointvec"),
        (b"good", number, 4, FILE, "proc_dointvec"),
        (b"ticks", number, 4, FILE, "proc_dointvec_jiffies"),
    )
    small.put(nodes[1] + 16, WILD)
    assert tree.read(gaps) == {"bad": None, "good": "7", "ticks": None}
    assert [(gap.what, gap.reason) for gap in gaps.records()] == [
        ("settings", "unreadable"),
        ("value", "unreadable"),
        ("value", "not on this kernel"),
    ]


def test_a_tree_that_is_none() -> None:
    tree = Tree()
    nodes = tree.folder(tree.root, (b"a", 0, 0, FILE, ""), (b"b", 0, 0, FILE, ""))
    tree.small.put(nodes[2] + 8, nodes[1])
    with pytest.raises(BadStructure, match="runs into itself"):
        tree.read()
    # A folder that is below itself.
    tree = Tree()
    header, *_ = tree.folder(tree.root, (b"a", 0, 0, FOLDER, ""))
    tree.small.put(tree.small.field(header, "ctl_dir", "root"), tree.small.kernel().memory.u64(tree.root))  # type: ignore[arg-type]
    with pytest.raises(BadStructure, match="runs into itself"):
        tree.read()


def test_a_kernel_without_settings() -> None:
    gaps = Gaps()
    assert find_settings(Small(WANTS, {}, {}).kernel(), gaps) == []
    assert [gap.reason for gap in gaps.records()] == ["not on this kernel"]
