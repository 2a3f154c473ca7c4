from __future__ import annotations

from vmon.core.events import Event
from vmon.monitor.only import Only


def event(pid: int = 5, *, name: str = "file.open", uid: int = 0, **more: object) -> Event:
    who = {"time_ns": 1, "key": f"{pid}@1", "pid": pid, "tid": pid, "ppid": 0, "euid": 0, "gid": 0}
    own = {"sequence": 0, "name": "x", "cpu": 0, "cgroup_id": 0, "uid": uid}
    return Event(event=name, **(who | own | more))  # type: ignore[arg-type]


def test_each_kind_of_condition() -> None:
    assert Only()(event())
    assert Only(pids=frozenset({5, 6}))(event())
    assert not Only(pids=frozenset({6}))(event())
    assert not Only(pids=frozenset({5}), uids=frozenset({1000}))(event())
    assert Only(containers=("ab", "cd"))(event(container_id="cdef"))
    assert not Only(containers=("ab",))(event(container_id="cdef"))
    assert not Only(containers=("ab",))(event())


def test_a_tree_grows_and_shrinks() -> None:
    only = Only(tree={"5@1"})
    assert not only(event(6))
    assert only(event(5, name="process.fork", target_pid=6, target_key="6@1"))
    assert only(event(6))
    assert only(event(6, name="process.exit"))
    assert not only(event(6))
    assert not only(event(9, name="process.fork", target_pid=10, target_key="10@1"))
    assert not only(event(10))


def test_a_tree_of_nobody_is_nobody() -> None:
    assert not Only(tree=set())(event())
