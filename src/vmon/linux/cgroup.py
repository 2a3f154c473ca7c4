"""A task's cgroup is a path of kernfs nodes; container engines write the container's id into it.

Reads css_set, cgroup, kernfs_node. A hostile guest can loop the parents: depth and names are bounded.
Sources: include/linux/cgroup-defs.h, include/linux/kernfs.h, fs/kernfs/dir.c.
"""

from __future__ import annotations

import re

import numpy as np

from vmon.core.address import Gva
from vmon.core.errors import GuestDataError
from vmon.kernel.columns import Column, unique
from vmon.kernel.profile import Wants
from vmon.linux.kernel import Kernel, distinct

MAX_DEPTH = 64
MAX_NAME_BYTES = 255
# kernfs_node.parent became __parent, under RCU, in 6.15 (633488947ef6).
WANTS = Wants(
    structs={
        "css_set": "dfl_cgrp",
        "cgroup": "kn",
        "kernfs_node": "name __parent|parent id",
    }
)
# conmon and lxc.monitor watch a container from outside.
CONTAINER_ID = re.compile(r"(?:^|[/:-])(?<!conmon-)([0-9a-f]{64}|[0-9a-f]{32})(?:\.scope)?(?=/|$)")
LXC_NAME = re.compile(r"/lxc(?:\.payload[./]|/)([A-Za-z0-9._-]+)")


def read_cgroups(kernel: Kernel, css_sets: Column) -> list[str | None]:
    """Path of each task's cgroup in the unified hierarchy; None when it can't be read."""
    sets, which = distinct(css_sets)
    nodes = _nodes(kernel, sets)
    parents, names = _climb(kernel, nodes)
    paths = [_path(node, parents, names) for node in nodes.tolist()]
    return [paths[index] if index >= 0 else None for index in which.tolist()]


def read_containers(kernel: Kernel, css_sets: Column) -> dict[int, str]:
    """Containers by the ids of their cgroups (inodes in cgroupfs): those that these tasks are in, and all above them.

    Cgroups of no container are left out.
    """
    parents, names = _climb(kernel, _nodes(kernel, distinct(css_sets)[0]))
    nodes = np.array([node for node in parents if node], dtype=np.uint64)
    found = {}
    for node, number in zip(
        nodes.tolist(), kernel.read("kernfs_node", "id", nodes)["id"].tolist(), strict=True
    ):
        container = container_id(_path(node, parents, names))
        if container is not None:
            found[number] = container
    return found


def _nodes(kernel: Kernel, sets: Column) -> Column:
    """The kernfs node of each css_set's cgroup, 0 for none."""
    groups = kernel.read("css_set", "dfl_cgrp", sets)["dfl_cgrp"]
    return kernel.read("cgroup", "kn", groups)["kn"]


def _climb(kernel: Kernel, nodes: Column) -> tuple[dict[int, int], dict[int, bytes]]:
    """Parent and name of these nodes and of all above them."""
    parents: dict[int, int] = {0: 0}
    names: dict[int, bytes] = {}
    pending = unique(nodes)
    for _ in range(MAX_DEPTH):
        pending = np.array([node for node in pending.tolist() if node not in parents], dtype=np.uint64)
        if not pending.size:
            break
        columns = kernel.read("kernfs_node", "name __parent", pending)
        above = columns["__parent"]
        parents.update(zip(pending.tolist(), above.tolist(), strict=True))
        for node, name in zip(pending.tolist(), columns["name"].tolist(), strict=True):
            names[node] = _name(kernel, name)
        pending = unique(above)
    return parents, names


def _name(kernel: Kernel, gva: int) -> bytes:
    try:
        return kernel.memory.string(Gva(gva), MAX_NAME_BYTES)
    except GuestDataError:
        return b"?"


def _path(node: int, parents: dict[int, int], names: dict[int, bytes]) -> str | None:
    if not node:
        return None
    parts: list[bytes] = []
    while node and len(parts) < MAX_DEPTH:
        parts.append(names.get(node, b"?"))
        node = parents.get(node, 0)
    # The topmost node is the hierarchy's root and has an empty name.
    text = b"/".join(reversed(parts[:-1]))
    return "/" + text.decode("utf-8", "surrogateescape")


def container_id(cgroup: str | None) -> str | None:
    """Id of the container that a cgroup path belongs to, as docker, containerd, podman and LXC write it."""
    if not cgroup:
        return None
    found: list[str] = CONTAINER_ID.findall(cgroup)
    if found:
        return found[-1]
    lxc = LXC_NAME.search(cgroup)
    return lxc.group(1) if lxc else None
