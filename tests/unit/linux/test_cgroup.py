from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kernel.fuzz import steady
from tests.unit.linux.build import Guest
from vmon.linux.cgroup import MAX_DEPTH, MAX_NAME_BYTES, container_id, read_cgroups, read_containers

ID = "0123456789abcdef" * 4
OTHER = "fedcba9876543210" * 4


def paths(guest: Guest, *sets: int) -> list[str | None]:
    return read_cgroups(guest.kernel(), np.array(sets, dtype=np.uint64))


@pytest.mark.parametrize("model", ["new", "old"])
def test_paths(model: str) -> None:
    guest = Guest(model)
    made = [guest.cgroup(), guest.cgroup(b"a"), guest.cgroup(b"a", b"b\xff", b"c d")]
    assert paths(guest, made[0], 0, *made[1:], made[1]) == ["/", None, "/a", "/a/b\udcff/c d", "/a"]
    assert paths(guest) == []


def test_a_set_without_a_cgroup() -> None:
    guest = Guest("new")
    assert paths(guest, guest.new("css_set"), 0xFFFF_F000_0000_0000) == [None, None]


def test_parents_in_a_circle_end() -> None:
    guest = Guest("new")
    one = guest.kernfs(b"one", 0)
    two = guest.kernfs(b"two", one)
    guest.set(one, "kernfs_node", {"__parent": two})
    made = guest.new("css_set", {"dfl_cgrp": guest.new("cgroup", {"kn": two})})
    path = read_cgroups(guest.kernel(calls_limit=60), np.array([made], dtype=np.uint64))[0]
    assert path is not None
    assert path.count("/") <= MAX_DEPTH


def test_a_chain_deeper_than_the_limit_is_cut() -> None:
    guest = Guest("new")
    made = guest.cgroup(*[b"%d" % number for number in range(MAX_DEPTH + 20)])
    path = paths(guest, made)[0]
    assert path is not None
    assert path.endswith(f"/{MAX_DEPTH + 19}")
    assert path.count("/") == MAX_DEPTH - 1


def test_names_that_cannot_be_read_or_have_no_end() -> None:
    guest = Guest("new")
    made = guest.cgroup(b"x")
    node = guest.get(guest.get(made, "css_set", "dfl_cgrp"), "cgroup", "kn")
    guest.set(node, "kernfs_node", {"name": 0xFFFF_F000_0000_0000})
    assert paths(guest, made) == ["/?"]
    guest.set(node, "kernfs_node", {"name": guest.data(b"A" * 1000)})
    assert paths(guest, made) == ["/" + "A" * MAX_NAME_BYTES]


def test_containers_by_the_ids_of_their_cgroups() -> None:
    guest = Guest("new")
    made = [guest.cgroup(b"docker", ID.encode(), b"inner"), guest.cgroup(b"user.slice"), guest.new("css_set")]
    node = guest.get(guest.get(made[0], "css_set", "dfl_cgrp"), "cgroup", "kn")
    above = guest.get(node, "kernfs_node", "__parent")
    for number, at in ((70, node), (60, above), (50, guest.get(above, "kernfs_node", "__parent"))):
        guest.set(at, "kernfs_node", {"id": number})
    assert read_containers(guest.kernel(), np.array([*made, 0], dtype=np.uint64)) == {70: ID, 60: ID}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (f"/docker/{ID}", ID),
        (f"/system.slice/docker-{ID}.scope", ID),
        (f"/kubepods.slice/kubepods-pod1_2.slice/cri-containerd-{ID}.scope", ID),
        (f"/kubepods/besteffort/pod1/{ID}", ID),
        (f"/machine.slice/libpod-{ID}.scope/container", ID),
        (f"/docker/{OTHER}/docker/{ID}", ID),
        (f"/{OTHER}/{ID}", ID),
        (f"/system.slice:docker:{ID}", ID),
        (f"/x/{ID[:32]}", ID[:32]),
        (f"/machine.slice/libpod-conmon-{ID}.scope", None),
        (f"/kubepods.slice/crio-conmon-{ID}.scope", None),
        ("/lxc/web-1", "web-1"),
        ("/lxc/monitor", "monitor"),
        ("/lxc.monitor.web-1", None),
        ("/lxc.payload.web-1/init.scope", "web-1"),
        ("/user.slice/user-0.slice", None),
        (f"/docker/{ID}ff", None),
        (f"/x{ID}", None),
        ("/", None),
        ("", None),
        (None, None),
    ],
)
def test_container_ids(path: str | None, found: str | None) -> None:
    assert container_id(path) == found


@steady(80)
@given(
    st.lists(st.tuples(st.integers(-2, 9), st.binary(max_size=20)), min_size=1, max_size=10),
    st.integers(0, 9),
)
def test_trees_of_any_shape(nodes: list[tuple[int, bytes]], start: int) -> None:
    guest = Guest("new")
    made = [guest.kernfs(name.replace(b"\0", b"0"), 0) for _, name in nodes]
    for gva, (parent, _) in zip(made, nodes, strict=True):
        to = made[parent % len(made)] if parent >= 0 else [0, 0xFFFF_F000_0000_0000][parent]
        guest.set(gva, "kernfs_node", {"__parent": to})
    css = guest.new("css_set", {"dfl_cgrp": guest.new("cgroup", {"kn": made[start % len(made)]})})
    path = read_cgroups(guest.kernel(calls_limit=200), np.array([css], dtype=np.uint64))[0]
    assert path is not None
    assert path.startswith("/")
    assert len(path) <= MAX_DEPTH * (MAX_NAME_BYTES + 1)
    container_id(path)
