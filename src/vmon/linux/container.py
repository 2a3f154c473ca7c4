"""The kernel knows no containers: a container is what a cgroup's path names, or what has pid and mount namespaces.

Reads what a snapshot does, the host names in uts_namespaces, and the file systems of root directories. A hostile guest
can give its cgroups any name, so that a container is one by its own word; pid and mount namespaces are the kernel's.
Processes that start or end meanwhile are in the list or not.
Sources: kernel/pid_namespace.c, and the paths that docker, containerd, CRI-O, podman, LXC and systemd-nspawn make.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vmon.core.coverage import Gaps
from vmon.core.records.container import ContainerRecord
from vmon.core.text import guest_text
from vmon.kernel.columns import text_rows
from vmon.kernel.profile import Wants
from vmon.linux.cgroup import CONTAINER_ID, LXC_NAME, container_id
from vmon.linux.cgrouptree import tell_old_hierarchies
from vmon.linux.inode import read_filesystems
from vmon.linux.kernel import Kernel
from vmon.linux.snapshot import Snapshot
from vmon.linux.task import NS_PER_SECOND

WANTS = Wants(
    symbols=("cgroup_roots",),
    structs={
        "task_struct": "nsproxy fs",
        "nsproxy": "uts_ns",
        "uts_namespace": "name.nodename",
        "fs_struct": "root.dentry",
        "dentry": "d_inode",
        "inode": "i_sb",
        "super_block": "s_type",
        "file_system_type": "name",
    },
)
ENGINES = {
    "docker": "docker",
    "cri-containerd": "containerd",
    "nerdctl": "containerd",
    "crio": "cri-o",
    "libpod": "podman",
    "libpod_parent": "podman",
}
"""By what stands before the id, or for the folder above it."""
POD = re.compile(r"pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})(?=[./]|$)")
NSPAWN = re.compile(r"/(?:systemd-nspawn@([^/]+)\.service|machine-([^/]+)\.scope)(?=/|$)")
ESCAPED = re.compile(r"\\x([0-9a-f]{2})")
KINDS = ("pid", "mnt", "net", "user", "uts", "ipc", "cgroup")


class Told(NamedTuple):
    """What a cgroup's path says of a container."""

    id: str
    engine: str | None
    name: str | None
    pod: str | None
    path: str
    """Of the container's own cgroup."""


def read_path(path: str | None) -> Told | None:
    """The container that a cgroup's path names, the innermost; None for none."""
    found = container_id(path)
    if path is None or found is None:
        return None
    pod = POD.search(path)
    uid = pod.group(1).replace("_", "-") if pod else None
    start = path.rfind(found)
    if not CONTAINER_ID.search(path) and (lxc := LXC_NAME.search(path)):
        return Told(found, "lxc", found, uid, path[: lxc.end(1)])
    end = path.find("/", start)
    above, _, prefix = path[:start].rpartition("/")
    words = prefix.rstrip("-:").rpartition(":")[2]
    engine = ENGINES.get(words or above.rpartition("/")[2])
    return Told(found, engine, None, uid, path if end < 0 else path[:end])


def find_containers(kernel: Kernel, snapshot: Snapshot, gaps: Gaps) -> list[ContainerRecord]:
    """Every container that has a process, the oldest first."""
    rows = range(len(snapshot))
    told = [read_path(path) for path in snapshot.cgroup_path]
    members: dict[str, list[int]] = {}
    by_id: dict[str, Told] = {}
    for row in rows:
        known = told[row]
        if known is not None:
            members.setdefault(known.id, []).append(row)
            by_id.setdefault(known.id, known)
    spaces = _Spaces(snapshot)
    owners = {spaces.pair(row): known.id for row in rows if (known := told[row]) and spaces.own(row)}
    inside = {spaces.pid[row] for row in rows if told[row] is None and spaces.own(row)}
    for row in rows:
        if told[row] is not None or spaces.pid[row] in (None, spaces.host["pid"]):
            continue
        owner = owners.get(spaces.pair(row))
        if owner is not None:
            members[owner].append(row)
        elif spaces.pid[row] in inside:
            members.setdefault(f"pid:[{spaces.pid[row]}]", []).append(row)
    tell_old_hierarchies(kernel, gaps)
    made = _Records(kernel, snapshot, spaces, list(members.values()))
    records = [made.record(number, name, by_id.get(name)) for number, name in enumerate(members)]
    return sorted(records, key=lambda record: record.start_boottime_ns)


class _Spaces:
    """Namespaces of each process, and those of the first one."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.of = {kind: snapshot.namespaces[f"{kind}_ns"] for kind in KINDS}
        self.pid, self.mnt = self.of["pid"], self.of["mnt"]
        first = snapshot.pid.index(1) if 1 in snapshot.pid else 0
        self.host = {kind: found[first] if found else None for kind, found in self.of.items()}

    def pair(self, row: int) -> tuple[int | None, int | None]:
        """What makes a container of its own, where no path tells."""
        return self.pid[row], self.mnt[row]

    def own(self, row: int) -> bool:
        """Whether both are there and are not those of the first process."""
        there = self.pid[row] is not None and self.mnt[row] is not None
        return there and self.pid[row] != self.host["pid"] and self.mnt[row] != self.host["mnt"]


class _Records:
    """What is read of the main process of each container is read for all containers at once."""

    def __init__(
        self, kernel: Kernel, snapshot: Snapshot, spaces: _Spaces, members: Sequence[Sequence[int]]
    ) -> None:
        self._snapshot, self._spaces = snapshot, spaces
        self._rows = [
            sorted(rows, key=lambda row: (snapshot.start_boottime_ns[row], snapshot.pid[row]))
            for rows in members
        ]
        self._inits = [self._init(rows) for rows in self._rows]
        self._mains = [
            rows[0] if init is None else init for rows, init in zip(self._rows, self._inits, strict=True)
        ]
        mains = snapshot.tasks[np.array(self._mains, dtype=np.int64)]
        tasks = kernel.read("task_struct", "nsproxy fs", mains)
        uts = kernel.read("nsproxy", "uts_ns", tasks["nsproxy"])["uts_ns"]
        self._hostnames = text_rows(kernel.read("uts_namespace", "name.nodename", uts).raw("name.nodename"))
        root = kernel.read("fs_struct", "root.dentry", tasks["fs"])["root.dentry"]
        inode = kernel.read("dentry", "d_inode", root)["d_inode"]
        self._filesystems = read_filesystems(kernel, kernel.read("inode", "i_sb", inode)["i_sb"])

    def record(self, number: int, name: str, told: Told | None) -> ContainerRecord:
        """One container."""
        snapshot, spaces = self._snapshot, self._spaces.of
        rows, init, main = self._rows[number], self._inits[number], self._mains[number]
        root, boot = snapshot.root[main], snapshot.boot_time
        hostname = self._hostnames[number]
        cgroup = snapshot.cgroup_path[main]
        nspawn = NSPAWN.search(cgroup or "") if told is None else None
        start_ns = snapshot.start_boottime_ns[main]
        return ContainerRecord(
            id=name,
            kind="namespaces" if told is None else "cgroup",
            engine=told.engine if told else "systemd-nspawn" if nspawn else None,
            name=told.name if told else unescape(nspawn.group(1) or nspawn.group(2)) if nspawn else None,
            pod=told.pod if told else None,
            hostname=guest_text(hostname) if hostname else None,
            pids=[snapshot.pid[row] for row in rows],
            init_pid=None if init is None else snapshot.pid[init],
            key=snapshot.key(main),
            process=guest_text(snapshot.name[main]),
            uid=snapshot.uid[main],
            start_boottime_ns=start_ns,
            start_time=boot + start_ns / NS_PER_SECOND if boot is not None else None,
            root=guest_text(root.text) if root else None,
            root_filesystem=self._filesystems[number] or None,
            cgroup_path=told.path if told else cgroup,
            pid_namespace=spaces["pid"][main],
            mnt_namespace=spaces["mnt"][main],
            net_namespace=spaces["net"][main],
            user_namespace=spaces["user"][main],
            uts_namespace=spaces["uts"][main],
            ipc_namespace=spaces["ipc"][main],
            cgroup_namespace=spaces["cgroup"][main],
            host_namespaces=[
                kind for kind in KINDS if spaces[kind][main] == self._spaces.host[kind] is not None
            ],
        )

    def _init(self, rows: Sequence[int]) -> int | None:
        """The process that is pid 1 in the outermost pid namespace of these."""
        inner = self._snapshot._pids[1]
        firsts = [row for row in rows if len(inner[row]) > 1 and inner[row][-1] == 1]
        return min(firsts, key=lambda row: len(inner[row]), default=None)


def unescape(name: str) -> str:
    r"""A name as systemd escapes it in a unit's: \x2d for a dash."""
    return ESCAPED.sub(lambda match: chr(int(match.group(1), 16)), name)
