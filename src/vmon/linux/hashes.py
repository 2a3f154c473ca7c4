"""Many processes run few programs: the hash of a file is made once for each inode, and kept for one snapshot.

Reads struct file, and the content behind it. A hostile guest can claim huge files: what is hashed in all is bounded.
What is not wholly in RAM has no hash, and the pages that it lacks are counted.
Sources: include/linux/fs.h.
"""

from __future__ import annotations

from vmon.core.address import Gva
from vmon.core.coverage import Gaps, Reason
from vmon.core.errors import GuestDataError, NotSupported, UsageError
from vmon.core.records.content import HashRecord
from vmon.linux.content import MAX_HASHED_BYTES
from vmon.linux.kernel import Kernel
from vmon.linux.named import file_content

MAX_HASHED_IN_ALL_BYTES = 16 << 30


class Hashes:
    """Hashes of files, each inode's once; what could not be hashed is told in the end."""

    def __init__(self, kernel: Kernel, what: str) -> None:
        self._kernel = kernel
        self._what = what
        self._by_mapping: dict[int, HashRecord] = {}
        self._by_file: dict[int, HashRecord | None] = {}
        self._paths: dict[int, str] = {}
        self._left_bytes = MAX_HASHED_IN_ALL_BYTES

    def of(self, file: int) -> HashRecord | None:
        """By the address of a struct file; None for null, and for a file that has no content."""
        if not file:
            return None
        if file not in self._by_file:
            self._by_file[file] = self._read(file)
        return self._by_file[file]

    def _read(self, file: int) -> HashRecord | None:
        mapping = int(self._kernel.read_one("file", "f_mapping", file)["f_mapping"][0])
        if mapping in self._by_mapping:
            return self._by_mapping[mapping]
        try:
            found = file_content(self._kernel, Gva(file))
            known = found.sha256(min(self._left_bytes, MAX_HASHED_BYTES))
            path = found.path
        except (UsageError, NotSupported):
            return None  # a device
        except GuestDataError as error:
            known = HashRecord(sha256=None, size=0, missing_pages=0, reason="unreadable")
            path = error.message
        self._left_bytes -= known.size if known.sha256 else 0
        self._by_mapping[mapping], self._paths[mapping] = known, path
        return known

    def gaps(self) -> Gaps:
        """Pages that are missing, by reason; of one file by its name."""
        gaps = Gaps()
        by_reason: dict[Reason, list[int]] = {}
        for mapping, known in self._by_mapping.items():
            if known.reason is not None:
                by_reason.setdefault(known.reason, []).append(mapping)
        for reason, mappings in by_reason.items():
            missing = sum(self._by_mapping[mapping].missing_pages for mapping in mappings)
            names = f"{len(mappings)} files" if len(mappings) > 1 else self._paths[mappings[0]]
            gaps.add(self._what, reason, f"pages of {names}" if missing else names, missing or len(mappings))
        return gaps
