"""The content of the guest's files, out of its page cache. Reads the guest, changes nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from vmon.core.address import Gva
from vmon.core.coverage import Answer
from vmon.core.errors import NoSuchFile, NoSuchProcess, UsageError
from vmon.core.records.content import HashedMapRecord, HashedProcessRecord
from vmon.monitor.views.subject import Subject

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vmon.linux.content import FileContent

OF_A_PROCESS = re.compile(r"(\d{1,9}):(\d{1,9})\Z", re.ASCII)
FIRST = 1


class ContentViews(Subject):
    """Mixed into VirtualMachine."""

    def read_file(self, where: str, pid: int = FIRST) -> FileContent:
        """A file's content as far as the guest has it in RAM: `PID:FD`, or an absolute path as process `pid` sees it.

        A path is looked for among the names that the guest has in memory, then among the files that processes have
        open, run or map (so a deleted one is found too). Under a millisecond; the bytes are read when asked for.
        NoSuchFile, NoSuchProcess; UsageError for a folder, a pipe, a socket; NotSupported for /proc and the like.
        """
        from vmon.linux import named

        kernel = self.wide_kernel
        match = OF_A_PROCESS.match(where)
        if match:
            return named.descriptor_content(kernel, int(match[1]), int(match[2]))
        if not where.startswith("/"):
            raise UsageError(
                f"{where!r} is neither PID:FD nor an absolute path",
                hint="such as 1:0 or /etc/passwd; `vmon files TARGET PID` lists descriptors",
            )
        path = where.encode("utf-8", "surrogateescape")
        try:
            return named.path_content(kernel, path, pid)
        except NoSuchFile:
            found = named.held_content(kernel, path)
            if found is None:
                raise
            return found

    def read_exe(self, pid: int) -> FileContent:
        """The executable of a process as the guest has it, a deleted one and a memfd too. As read_file.

        NoSuchFile for a kernel thread or a zombie.
        """
        from vmon.linux import named

        kernel = self.wide_kernel
        file = int(named.exe_files(kernel, named.find_task(kernel, pid))[0])
        if not file:
            raise NoSuchFile(f"process {pid} has no executable", hint="kernel threads and zombies have none")
        return named.file_content(kernel, Gva(file))

    def hashed_processes(self, pids: Iterable[int] | None = None) -> Answer[HashedProcessRecord]:
        """Every process, or those of these pids, with the sha256 of its executable.

        Each executable is read once, at about the speed of hashlib (1 to 2 GB a second). What is not wholly in RAM has
        no hash, and is told as a gap. NoSuchProcess.
        """
        from vmon.linux import named
        from vmon.linux.hashes import Hashes
        from vmon.linux.snapshot import Snapshot

        kernel = self.wide_kernel
        snapshot = Snapshot.of_all(kernel)
        rows = list(range(len(snapshot)))
        if pids is not None:
            wanted = set(pids)
            rows = [row for row in rows if snapshot.pid[row] in wanted]
            for pid in wanted - {snapshot.pid[row] for row in rows}:
                raise NoSuchProcess(f"no process {pid} in the guest", hint="`vmon ps` lists the processes")
        files = named.exe_files(kernel, snapshot.tasks[rows]).tolist()
        hashes = Hashes(kernel, "sha256")
        known_by_row = [hashes.of(file) for file in files]
        # Of a process that ended meanwhile, the file may have been another one's already.
        same = snapshot.unchanged().tolist()
        gaps = hashes.gaps()
        gaps.add_all(snapshot.coverage)
        found = []
        for row, known in zip(rows, known_by_row, strict=True):
            if known is not None and not same[row]:
                gaps.add("sha256", "torn", "processes that ended meanwhile")
                known = None
            found.append(
                HashedProcessRecord(
                    **msgspec.structs.asdict(snapshot.record(row)),
                    sha256=known.sha256 if known else None,
                    exe_size=known.size if known else None,
                    exe_missing_pages=known.missing_pages if known else None,
                )
            )
        return Answer(found, gaps)

    def hashed_maps(self, pid: int) -> Answer[HashedMapRecord]:
        """The memory areas of a process, with the sha256 of each file behind one: its libraries. NoSuchProcess."""
        from vmon.linux import named, vma
        from vmon.linux.hashes import Hashes
        from vmon.linux.snapshot import Snapshot

        kernel = self.wide_kernel
        snapshot = Snapshot(kernel, named.find_task(kernel, pid))
        areas = snapshot.maps(0)
        hashes = Hashes(kernel, "sha256")
        by_start: dict[int, int] = {}
        mm = int(kernel.read("task_struct", "mm", snapshot.tasks)["mm"][0])
        if areas:
            _, columns = vma.find_vmas(kernel, Gva(mm))
            by_start = dict(zip(columns["vm_start"].tolist(), columns["vm_file"].tolist(), strict=True))
        found = []
        for area in areas:
            known = hashes.of(by_start.get(area.start, 0))
            found.append(
                HashedMapRecord(
                    **msgspec.structs.asdict(area),
                    sha256=known.sha256 if known else None,
                    missing_pages=known.missing_pages if known else None,
                )
            )
        gaps = hashes.gaps()
        gaps.add_all(snapshot.coverage)
        return Answer(found, gaps)
