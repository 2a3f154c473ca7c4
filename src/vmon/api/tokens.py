"""Tokens say who may do what: a file of two lines, `operator:TOKEN` and `viewer:TOKEN`, that its owner alone may read.

Reads and writes that one file. A token is kept as it is and compared in constant time, with every one there is.
"""

from __future__ import annotations

import hmac
import os
import secrets
import stat
from pathlib import Path
from typing import Literal

from vmon.core.errors import UsageError

Role = Literal["viewer", "operator"]
ROLES: tuple[Role, ...] = ("viewer", "operator")
LEAST_CHARS = 32
TOKEN_BYTES = 32
MAX_FILE_BYTES = 4096


class Tokens:
    """The tokens of one server."""

    def __init__(self, by_role: dict[Role, str]) -> None:
        self._by_role = {role: token.encode() for role, token in by_role.items()}

    def role_of(self, token: str) -> Role | None:
        """Whose token it is; None for a wrong one. Takes as long for a wrong one as for a right one."""
        given, found = token.encode("utf-8", "surrogateescape"), None
        for role, right in self._by_role.items():
            if hmac.compare_digest(given, right):
                found = role
        return found


def read_tokens(path: Path) -> Tokens:
    """The tokens of a file. UsageError, with its line, where it is none, or where others may read or replace it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise UsageError(
            f"{path}: {error.strerror}", hint="`vmon serve --new-token-file FILE` makes one"
        ) from error
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise UsageError(f"{path}: this is no plain file")
        if found.st_mode & 0o077:
            raise UsageError(f"{path}: others may read these tokens", hint=f"chmod 600 {path}")
        if found.st_uid not in (os.geteuid(), 0):
            raise UsageError(
                f"{path}: these tokens belong to user {found.st_uid}", hint="who owns them rules here"
            )
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise UsageError(f"{path}: a token file of more than {MAX_FILE_BYTES} bytes")
    return parse_tokens(data, str(path))


def parse_tokens(data: bytes, where: str) -> Tokens:
    """The tokens in the lines of a file; empty lines and those that begin with # mean nothing."""
    by_role: dict[Role, str] = {}
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        name, _, token = text.partition(":")
        role = next((role for role in ROLES if role == name), None)
        if role is None:
            raise UsageError(
                f"{where}:{number}: no role {name[:20]!r}", hint="operator:TOKEN or viewer:TOKEN"
            )
        if role in by_role:
            raise UsageError(f"{where}:{number}: a second token for {role}")
        if len(token) < LEAST_CHARS or not token.isascii() or not token.isprintable() or " " in token:
            raise UsageError(
                f"{where}:{number}: a token is at least {LEAST_CHARS} characters without blanks",
                hint="`vmon serve --new-token-file FILE` makes good ones",
            )
        by_role[role] = token
    if not by_role:
        raise UsageError(f"{where}: no token in it", hint="operator:TOKEN or viewer:TOKEN")
    if len(set(by_role.values())) < len(by_role):
        raise UsageError(f"{where}: both roles have the same token")
    return Tokens(by_role)


def write_tokens(path: Path) -> None:
    """A new file with a token for each role, which its owner alone may read. UsageError where it is there already."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    with os.fdopen(descriptor, "w") as file:
        file.writelines(f"{role}:{secrets.token_urlsafe(TOKEN_BYTES)}\n" for role in reversed(ROLES))
