"""Profiles learnt once are kept in the cache folder under their build id, so the next attach takes milliseconds.

Reads and writes files of our own. A damaged, foreign or outdated file is ignored and learnt anew; writes are atomic.
The name holds the offset of the build id too: which profiles may fit is known without opening any.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from vmon.core.folders import cache_folder
from vmon.kernel.identify import BASE_WANTS
from vmon.kernel.profile import KernelProfile, Wants

NAME = re.compile(r"([0-9a-f]{16,128})@([0-9a-f]+)\.msgpack")


class ProfileShelf:
    """The saved profiles that answer one set of wants; others lie in folders of their own."""

    def __init__(self, wants: Wants) -> None:
        asked = BASE_WANTS | wants
        digest = hashlib.sha256(asked.digest_source().encode()).hexdigest()[:16]
        self._folder = cache_folder() / "profiles" / digest

    def build_ids(self) -> Iterator[tuple[int, str]]:
        """(offset of the build id from __start_rodata, build id) of each saved profile."""
        try:
            names = [path.name for path in self._folder.iterdir()]
        except OSError:
            return
        for match in filter(None, map(NAME.fullmatch, names)):
            yield int(match.group(2), 16), match.group(1)

    def load(self, build_id: str) -> KernelProfile | None:
        """The profile of a build; None when it is not there or not readable."""
        for path in self._folder.glob(f"{build_id}@*.msgpack"):
            try:
                profile = msgspec.msgpack.decode(path.read_bytes(), type=KernelProfile)
            except (OSError, ValueError, msgspec.MsgspecError):
                continue
            if profile.build_id == build_id:
                return profile
        return None

    def save(self, profile: KernelProfile) -> None:
        """Keep a profile; a cache folder that can't be written is no error."""
        path = self._folder / f"{profile.build_id}@{profile.build_id_offset:x}.msgpack"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self._folder, delete=False) as file:
                file.write(msgspec.msgpack.encode(profile))
            Path(file.name).replace(path)
        except OSError:
            return
