from __future__ import annotations

import pytest

from tests.unit.linux.small import Small
from vmon.core.coverage import Gaps
from vmon.core.errors import BadStructure
from vmon.core.records.key import KeyRecord, KeyUserRecord
from vmon.linux.key import NEVER, WANTS, find_key_users, find_keys

STRUCTS = {
    "rb_root": "rb_node:p",
    "rb_node": "__rb_parent_color:u64 rb_right:p rb_left:p",
    "assoc_array": "root:p nr_leaves_on_tree:u64",
    "key": "usage:u32 serial:s32 serial_node:rb_node expiry:s64 uid:u32 gid:u32 perm:u32 quotalen:u16 state:u16"
    " flags:u64 type:p description:p keys:assoc_array",
    "key_type": "name:p",
    "key_user": "node:rb_node usage:u32 nkeys:u32 nikeys:u32 uid:u32 qnkeys:s32 qnbytes:s32",
}
SYMBOLS = {"key_serial_tree": 8, "key_user_tree": 8}
WILD = 0xFFFF_C900_0000_0000


def made() -> tuple[Small, int, int]:
    """A keyring and, to its left, a key."""
    small = Small(WANTS, STRUCTS, SYMBOLS)
    ring, user = (small.new("key_type", name=small.string(name)) for name in (b"keyring", b"user"))
    key = small.new(
        "key", serial=1, usage=2, expiry=77, uid=5, gid=6, perm=0x3F010000, quotalen=9, state=1, flags=0b100110,
        type=user, description=small.string(b"secret"),
    )  # fmt: skip
    top = small.new("key", serial=2, expiry=NEVER, type=ring, description=small.string(b"_ses"))
    small.set(top, "key", keys__nr_leaves_on_tree=3, state=-13)
    small.put(small.symbol("key_serial_tree"), small.field(top, "key", "serial_node"))
    node = small.field(top, "key", "serial_node")
    small.set(node, "rb_node", rb_left=small.field(key, "key", "serial_node"))
    return small, key, top


def test_keys_and_keyrings() -> None:
    small, _, _ = made()
    gaps = Gaps()
    first, second = find_keys(small.kernel(), gaps)
    assert first == KeyRecord(
        serial=1,
        type="user",
        description="secret",
        uid=5,
        gid=6,
        permissions=0x3F010000,
        usage=2,
        state=["instantiated", "revoked", "in quota", "invalidated"],
        expiry=77,
        keys=None,
        quota_bytes=9,
    )
    assert (second.type, second.keys, second.expiry, second.state) == (
        "keyring",
        3,
        None,
        ["instantiated", "negative"],
    )
    assert gaps.records() == []


def test_users_of_keys() -> None:
    small, gaps = Small(WANTS, STRUCTS, SYMBOLS), Gaps()
    user = small.new("key_user", usage=4, nkeys=3, nikeys=2, uid=1000, qnkeys=1, qnbytes=40)
    small.put(small.symbol("key_user_tree"), user)
    assert find_key_users(small.kernel(), gaps) == [
        KeyUserRecord(uid=1000, usage=4, keys=3, instantiated_keys=2, quota_keys=1, quota_bytes=40)
    ]
    assert gaps.records() == []


def test_what_cannot_be_read_is_told_and_the_rest_is_there() -> None:
    small, key, top = made()
    small.set(key, "key", description=WILD)
    small.set(top, "key", type=small.new("key_type", name=WILD))
    gaps = Gaps()
    assert [(record.type, record.description) for record in find_keys(small.kernel(), gaps)] == [
        ("user", ""),
        ("", "_ses"),
    ]
    assert [(gap.what, gap.reason) for gap in gaps.records()] == [
        ("type", "unreadable"),
        ("description", "unreadable"),
    ]
    node = small.field(key, "key", "serial_node")
    small.set(node, "rb_node", rb_left=node)
    with pytest.raises(BadStructure, match="runs into itself"):
        find_keys(small.kernel(), gaps)


def test_a_kernel_without_keys() -> None:
    kernel, gaps = Small(WANTS, {}, {}).kernel(), Gaps()
    assert find_keys(kernel, gaps) == []
    assert find_key_users(kernel, gaps) == []
    assert [gap.reason for gap in gaps.records()] == ["not on this kernel", "not on this kernel"]
