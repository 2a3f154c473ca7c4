"""`vmon keys`: which keys a guest's kernel keeps. Reads the guest, changes nothing."""

from __future__ import annotations

import click

from vmon.cli.attached import attached, target_argument
from vmon.cli.output import View, output_option, write_records
from vmon.core.records.key import KeyRecord, KeyUserRecord

KEYS = View(
    KeyRecord,
    ("SERIAL", "TYPE", "UID", "GID", "PERM", "USES", "KEYS", "EXPIRES", "STATE", "DESCRIPTION"),
    lambda record: (
        f"{record.serial:08x}",
        record.type,
        record.uid,
        record.gid,
        f"{record.permissions:08x}",
        record.usage,
        record.keys,
        record.expiry,
        ", ".join(record.state) or None,
        record.description,
    ),
    "the kernel keeps no key",
)
USERS = View(
    KeyUserRecord,
    ("UID", "USES", "KEYS", "INSTANTIATED", "QUOTA KEYS", "QUOTA BYTES"),
    lambda record: (
        record.uid,
        record.usage,
        record.keys,
        record.instantiated_keys,
        record.quota_keys,
        record.quota_bytes,
    ),
    "nobody has keys",
)


@click.command("keys")
@target_argument
@click.option("--users", is_flag=True, help="Count keys by user instead.")
@output_option
def keys(target: str, users: bool, output: str) -> None:
    """List the keys and keyrings that the kernel of TARGET keeps, those that are hidden in /proc/keys included.

    What a key holds is not read. EXPIRES is in seconds since the epoch.
    """
    with attached(target) as vm:
        if users:
            write_records(vm.key_users(), output, USERS)
        else:
            write_records(vm.keys(), output, KEYS)
