"""All keys hang on one tree by their serial numbers, users of keys on another by their uids.

Reads key_serial_tree, key, key_type, key_user_tree, key_user; what a key holds is not read. A hostile guest can take a
key off the tree or write any number: trees are bounded, texts cut. Keys that come and go meanwhile may be missed.
Sources: include/linux/key.h, security/keys/key.c, security/keys/proc.c.
"""

from __future__ import annotations

import numpy as np

from vmon.core.address import Gva
from vmon.core.coverage import Gaps
from vmon.core.errors import GuestDataError
from vmon.core.records.key import KeyRecord, KeyUserRecord
from vmon.core.text import guest_text
from vmon.kernel.profile import Wants
from vmon.linux import rbtree
from vmon.linux.kernel import Kernel

KEY_FIELDS = "serial usage expiry uid gid perm quotalen state flags type description keys.nr_leaves_on_tree"
USER_FIELDS = "usage nkeys nikeys uid qnkeys qnbytes"
WANTS = rbtree.WANTS | Wants(
    symbols=("key_serial_tree", "key_user_tree"),
    structs={
        "key": "serial_node " + KEY_FIELDS,
        "key_type": "name",
        "key_user": "node " + USER_FIELDS,
    },
)
MAX_KEYS = 1 << 20
NO_GROUP = (1 << 32) - 1
MAX_TYPE_BYTES = 32
MAX_DESCRIPTION_BYTES = 4096
# KEY_FLAG_*, bit by bit, as far as /proc/keys shows them.
FLAGS = {0: "dead", 1: "revoked", 2: "in quota", 3: "under construction", 5: "invalidated"}
NEVER = (1 << 63) - 1
"""TIME64_MAX; 0 until 6.7 (39299bdd2546)."""


def find_keys(kernel: Kernel, gaps: Gaps) -> list[KeyRecord]:
    """Every key, by serial number. BadStructure where their tree is none."""
    if not kernel.has_symbol("key_serial_tree") or "key" not in kernel.profile.structs:
        gaps.add("keys", "not on this kernel")
        return []
    nodes = rbtree.walk_tree(kernel, kernel.symbol("key_serial_tree"), "keys", gaps, MAX_KEYS)
    keys = np.array(nodes, dtype=np.uint64) - np.uint64(kernel.offset("key", "serial_node"))
    columns = kernel.read("key", KEY_FIELDS, keys)
    types = {
        pointer: _text(kernel, int(kernel.read_one("key_type", "name", pointer)["name"][0]), "type", gaps)
        for pointer in set(columns["type"].tolist())
    }
    expiries, states = columns.signed("expiry").tolist(), columns.signed("state").tolist()
    records = []
    for row in range(columns.count):
        flags, state = int(columns["flags"][row]), states[row]
        kind = types[int(columns["type"][row])]
        marks = (["instantiated"] if state else []) + (["negative"] if state < 0 else [])
        records.append(
            KeyRecord(
                serial=int(columns["serial"][row]),
                type=kind,
                description=_text(kernel, int(columns["description"][row]), "description", gaps),
                uid=int(columns["uid"][row]),
                gid=int(columns["gid"][row]) if columns["gid"][row] != NO_GROUP else None,
                permissions=int(columns["perm"][row]),
                usage=int(columns["usage"][row]),
                state=marks + [name for bit, name in FLAGS.items() if flags >> bit & 1],
                expiry=expiries[row] if 0 < expiries[row] < NEVER else None,
                keys=int(columns["keys.nr_leaves_on_tree"][row]) if kind == "keyring" else None,
                quota_bytes=int(columns["quotalen"][row]),
            )
        )
    return records


def find_key_users(kernel: Kernel, gaps: Gaps) -> list[KeyUserRecord]:
    """Every user who has keys, by uid. BadStructure where their tree is none."""
    if not kernel.has_symbol("key_user_tree") or "key_user" not in kernel.profile.structs:
        gaps.add("users", "not on this kernel")
        return []
    nodes = rbtree.walk_tree(kernel, kernel.symbol("key_user_tree"), "users", gaps, MAX_KEYS)
    users = np.array(nodes, dtype=np.uint64) - np.uint64(kernel.offset("key_user", "node"))
    columns = kernel.read("key_user", USER_FIELDS, users)
    rows = zip(*(columns[name].tolist() for name in ("uid", *USER_FIELDS.split())), strict=True)
    return [
        KeyUserRecord(
            uid=uid,
            usage=usage,
            keys=keys,
            instantiated_keys=instantiated,
            quota_keys=quota_keys,
            quota_bytes=quota_bytes,
        )
        for uid, usage, keys, instantiated, _, quota_keys, quota_bytes in rows
    ]


def _text(kernel: Kernel, pointer: int, what: str, gaps: Gaps) -> str:
    limit = MAX_TYPE_BYTES if what == "type" else MAX_DESCRIPTION_BYTES
    try:
        return guest_text(kernel.memory.string(Gva(pointer), limit)) if pointer else ""
    except GuestDataError:
        gaps.add(what, "unreadable")
        return ""
