"""Who a task acts as stands in its cred, and the kernel keeps account of it elsewhere too: the two change together.

Reads cred, user_struct and the inode of each program. Ids written over in place leave cred->user with the old user; a
cred that was pointed to from elsewhere is shared by two processes, which only threads do; effective ids come from a
set-user-id program or from root. A hostile guest can change the account too; then the ids look as if it had logged in.
Sources: include/linux/cred.h, kernel/cred.c copy_creds(), kernel/sys.c set_user(), fs/exec.c bprm_fill_uid().
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable

import numpy as np

from vmon.check.kinds import finding
from vmon.check.looks import settled
from vmon.core.coverage import Gaps
from vmon.core.records.finding import FindingRecord
from vmon.core.text import guest_text
from vmon.kernel.columns import Columns, text_rows
from vmon.kernel.profile import Wants
from vmon.linux import stack
from vmon.linux.kernel import Kernel

IDS = "uid gid suid sgid euid egid fsuid fsgid"
WANTS = stack.WANTS | Wants(
    symbols=("init_cred",),
    structs={
        "task_struct": "real_cred cred pid tgid comm mm flags start_boottime|real_start_time",
        "cred": IDS + " user cap_permitted cap_effective",
        "user_struct": "uid",
        "mm_struct": "exe_file",
        "file": "f_inode",
        "inode": "i_mode i_uid",
    },
)
S_ISUID = 0o4000
TASK_FIELDS = "real_cred cred pid tgid comm mm start_boottime"


def check_credentials(kernel: Kernel, gaps: Gaps) -> list[FindingRecord]:
    """Credentials that were written over, borrowed, or come from nowhere. 1 to 2 ms for a small guest."""
    return settled(lambda seen: _Look(kernel).findings(), gaps)


class _Look:
    """All tasks and their credentials, at one moment."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._tasks = stack.find_every_task(kernel)
        columns = self._columns = kernel.read("task_struct", TASK_FIELDS, self._tasks)
        self._pids, self._starts = columns["pid"].tolist(), columns["start_boottime"].tolist()
        self._names = [guest_text(name) for name in text_rows(columns.raw("comm"))]
        self._user_mode = columns["mm"] != 0
        self._found: dict[Hashable, FindingRecord] = {}

    def findings(self) -> dict[Hashable, FindingRecord]:
        for which in ("real_cred", "cred"):
            self._accounts(which)
        self._shared()
        self._effective()
        return self._found

    def _add(self, kind: str, row: int, evidence: list[str], cred: int) -> None:
        key = (kind, int(self._tasks[row]), self._starts[row])
        self._found[key] = finding(kind, self._name(row), evidence, pid=self._pids[row], address=cred)

    def _name(self, row: int) -> str:
        return f"process {self._pids[row]} ({self._names[row]})"

    def _accounts(self, which: str) -> None:
        """The real uid, against the user that the kernel accounts it to."""
        creds = self._columns[which]
        ids = self._kernel.read("cred", IDS + " user", creds)
        accounts = self._kernel.read("user_struct", "uid", ids["user"])["uid"]
        # A null pointer is a task that is being made or ends.
        wrong = (creds != 0) & (ids["user"] != 0) & (ids["uid"] != accounts)
        for row in np.flatnonzero(wrong).tolist():
            evidence = [
                f"task_struct.{which} at {int(creds[row]):#x}: {_ids(ids, row)}",
                f"cred.user at {int(ids['user'][row]):#x}: uid {int(accounts[row])}",
            ]
            self._add("credential.raised", row, evidence, int(creds[row]))

    def _shared(self) -> None:
        """Processes with one cred between them; only kernel threads may have the first task's."""
        holders: dict[int, dict[int, int]] = defaultdict(dict)
        groups = self._columns["tgid"].tolist()
        for row in np.flatnonzero(self._user_mode).tolist():
            holders[int(self._columns["real_cred"][row])].setdefault(groups[row], row)
        first = int(self._kernel.symbol("init_cred"))
        for cred, rows in holders.items():
            if cred and (cred == first or len(rows) > 1):
                whose = ["init_cred"] * (cred == first) + [self._name(row) for row in rows.values()]
                for row in rows.values():
                    self._add(
                        "credential.shared", row, [f"cred at {cred:#x} is that of {', '.join(whose)}"], cred
                    )

    def _effective(self) -> None:
        """Root by effective id alone, with a program that is not set-user-id root."""
        kernel, creds = self._kernel, self._columns["real_cred"]
        ids = kernel.read("cred", IDS, creds)
        acts_as_root = (ids["euid"] == 0) | (ids["fsuid"] == 0)
        rows = np.flatnonzero((creds != 0) & self._user_mode & (ids["uid"] != 0) & acts_as_root)
        files = kernel.read("mm_struct", "exe_file", self._columns["mm"][rows])["exe_file"]
        inodes = kernel.read("inode", "i_mode i_uid", kernel.read("file", "f_inode", files)["f_inode"])
        given = ((inodes["i_mode"] & np.uint64(S_ISUID)) != 0) & (inodes["i_uid"] == 0)
        for at, row in enumerate(rows.tolist()):
            if not given[at]:
                evidence = [
                    f"task_struct.real_cred at {int(creds[row]):#x}: {_ids(ids, row)}",
                    f"its program: mode {int(inodes['i_mode'][at]):o}, owner {int(inodes['i_uid'][at])}",
                ]
                self._add("credential.setuid", row, evidence, int(creds[row]))


def _ids(ids: Columns, row: int) -> str:
    return ", ".join(f"{name} {int(ids[name][row])}" for name in IDS.split())
