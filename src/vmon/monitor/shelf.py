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

from vmon.core.address import Gpa
from vmon.core.folders import cache_folder, run_folder
from vmon.kernel.learn import BASE_WANTS
from vmon.kernel.profile import KernelProfile, Wants

NAME = re.compile(r"([0-9a-f]{16,128})@([0-9a-f]+)-[0-9a-f]{16}\.msgpack")


class ProfileShelf:
    """The saved profiles that answer one set of wants, as one guest may use them.

    `guest` names the guest for as long as it runs: that it holds the bytes of a profile is remembered for it alone.
    """

    def __init__(self, wants: Wants, guest: str, learnt_from: str = "") -> None:
        """`learnt_from` names a symbol file of the user: what that says is nobody else's."""
        asked = BASE_WANTS | wants
        digest = hashlib.sha256((asked.digest_source() + learnt_from).encode()).hexdigest()[:16]
        self._folder = cache_folder() / "profiles" / digest
        self._trusted = run_folder() / "trusted"
        self._guest = guest

    def build_ids(self) -> Iterator[tuple[int, str]]:
        """(offset of the build id from __start_rodata, build id) of each saved profile."""
        try:
            names = [path.name for path in self._folder.iterdir()]
        except OSError:
            return
        for match in filter(None, map(NAME.fullmatch, names)):
            yield int(match.group(2), 16), match.group(1)

    def load(self, build_id: str) -> Iterator[KernelProfile]:
        """The profiles of a build; none when it is not there or not readable."""
        for path in sorted(self._folder.glob(f"{build_id}@*.msgpack")):
            try:
                profile = msgspec.msgpack.decode(path.read_bytes(), type=KernelProfile)
            except (OSError, ValueError, msgspec.MsgspecError):
                continue
            if profile.build_id == build_id:
                yield profile

    def _mark(self, profile: KernelProfile, rodata: Gpa) -> Path:
        text = f"{self._guest} {rodata:x} {profile.proof}"
        return self._trusted / hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()

    def trusts(self, profile: KernelProfile, rodata: Gpa) -> bool:
        """Whether this guest was seen to hold the profile's bytes there."""
        return self._mark(profile, rodata).exists()

    def trust(self, profile: KernelProfile, rodata: Gpa) -> None:
        """Remember that it was, until the host reboots; a folder that can't be written is no error."""
        try:
            self._trusted.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._mark(profile, rodata).touch()
        except OSError:
            return

    def save(self, profile: KernelProfile) -> None:
        """Keep a profile; a cache folder that can't be written is no error."""
        name = f"{profile.build_id}@{profile.build_id_offset:x}-{profile.proof[:16]}.msgpack"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self._folder, delete=False) as file:
                file.write(msgspec.msgpack.encode(profile))
            Path(file.name).replace(self._folder / name)
        except OSError:
            return
