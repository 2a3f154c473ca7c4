"""Guest RAM in a QEMU process is a shared file mapping or it is not; /proc/PID/maps tells.

Reads /proc of the host. memfd files have no name, so they are opened by the mapping itself
(/proc/PID/map_files) or by QEMU's own descriptor of the same inode, always read-only. A private mapping of a
file does not count: what the guest wrote is not in the file.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from vmon.core.errors import TargetDenied, TargetGone

MAPS_LINE = re.compile(
    r"([0-9a-f]+)-([0-9a-f]+) (r[w-][x-][sp]) ([0-9a-f]+) ([0-9a-f]+):([0-9a-f]+) (\d+) *(.*)"
)


@dataclass(frozen=True, slots=True)
class HostMapping:
    """One line of /proc/PID/maps."""

    start_hva: int
    end_hva: int
    shared: bool
    file_offset: int
    device: int
    inode: int
    path: str

    def continues(self, before: HostMapping) -> bool:
        """Whether this mapping goes on where another one of the same file ends."""
        return (
            self.start_hva == before.end_hva
            and self.file == before.file
            and self.shared == before.shared
            and (not self.inode or self.file_offset == before.file_offset + before.end_hva - before.start_hva)
        )

    @property
    def file(self) -> tuple[int, int]:
        """What tells one file from another."""
        return self.device, self.inode


def parse_maps(text: str) -> list[HostMapping]:
    """/proc/PID/maps, readable mappings only."""
    mappings = []
    for line in text.splitlines():
        found = MAPS_LINE.fullmatch(line)
        if found:
            start, end, flags, offset, major, minor, inode, path = found.groups()
            device = os.makedev(int(major, 16), int(minor, 16))
            shared = flags[3] == "s"
            mappings.append(
                HostMapping(int(start, 16), int(end, 16), shared, int(offset, 16), device, int(inode), path)
            )
    return mappings


def read_maps(pid: int) -> list[HostMapping]:
    """The mappings of a process."""
    try:
        text = Path(f"/proc/{pid}/maps").read_text(errors="surrogateescape")
    except (FileNotFoundError, ProcessLookupError) as error:
        raise TargetGone(f"QEMU process {pid} ended") from error
    except PermissionError as error:
        raise TargetDenied(
            f"this user may not look at the memory of process {pid}",
            hint="run vmon as root or as QEMU's user",
        ) from error
    return parse_maps(text)


def mappings_behind(maps: list[HostMapping], hva: int, size_bytes: int) -> list[HostMapping]:
    """The unbroken run of mappings of one kind behind a run of host addresses; empty if there's none."""
    behind: list[HostMapping] = []
    for mapping in maps:
        if mapping.end_hva <= hva:
            continue
        if not behind:
            if mapping.start_hva > hva:
                return []
        elif not mapping.continues(behind[-1]):
            return []
        behind.append(mapping)
        if mapping.end_hva >= hva + size_bytes:
            return behind
    return []


def open_backing(pid: int, mapping: HostMapping) -> int | None:
    """Open the file behind a shared mapping read-only; None where this user can't."""
    base = Path("/proc") / str(pid)
    candidates = [base / "map_files" / f"{mapping.start_hva:x}-{mapping.end_hva:x}"]
    try:
        for entry in (base / "fd").iterdir():
            candidates.append(entry)
    except OSError:
        pass
    candidates.append(base / "root" / mapping.path.lstrip("/"))
    for candidate in candidates:
        try:
            if candidate.stat().st_ino != mapping.inode:
                continue
            fd = os.open(candidate, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        status = os.fstat(fd)
        # Only regular files: a device's mapping (/dev/dax) can't be read by pread or asked for holes.
        if (status.st_dev, status.st_ino) == mapping.file and (status.st_mode & 0o170000) == 0o100000:
            return fd
        os.close(fd)
    return None
