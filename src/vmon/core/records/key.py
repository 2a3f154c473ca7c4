"""Keys that the guest's kernel keeps for its users and itself. Pure data."""

from __future__ import annotations

import msgspec


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One key or keyring, as in /proc/keys, without what it holds."""

    serial: int
    type: str
    """keyring, user, logon, asymmetric, encrypted..."""
    description: str
    """The key's name, at most 4095 bytes."""
    uid: int
    """Owner."""
    gid: int | None
    """Group; None: none, which /proc/keys shows as 65534."""
    permissions: int
    """Possessor, user, group and others, a byte each: 0x3f010000."""
    usage: int
    """References to it."""
    state: list[str]
    """instantiated, negative, revoked, dead, in quota, under construction, invalidated: those that are so."""
    expiry: int | None
    """Seconds since the epoch; None: never."""
    keys: int | None
    """Keys in a keyring; None for a key that is none."""
    quota_bytes: int
    """Bytes of its owner's quota that it takes."""


class KeyUserRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A user who has keys, as in /proc/key-users."""

    uid: int
    usage: int
    """References to the user's record."""
    keys: int
    instantiated_keys: int
    quota_keys: int
    """Keys that count for the user's quota."""
    quota_bytes: int
    """Bytes that count for the user's quota."""
