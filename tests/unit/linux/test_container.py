from __future__ import annotations

import pytest

from tests.unit.linux.build import Guest
from tests.unit.linux.scene import CONTAINER, Scene
from vmon.core.coverage import Gaps
from vmon.core.records.container import ContainerRecord
from vmon.linux import container
from vmon.linux.container import Told, find_containers, read_path, unescape
from vmon.linux.snapshot import Snapshot

ID, OTHER = "0123456789abcdef" * 4, "f" * 64
POD = "11111111-2222-3333-4444-555555555555"


@pytest.fixture(autouse=True)
def one_hierarchy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scene's kernel has no list of hierarchies; those are counted by another module, tested there."""
    monkeypatch.setattr(container, "tell_old_hierarchies", lambda kernel, gaps: None)


@pytest.mark.parametrize(
    ("path", "told"),
    [
        (f"/system.slice/docker-{ID}.scope", Told(ID, "docker", None, None, f"/system.slice/docker-{ID}.scope")),
        (f"/docker/{ID}/init", Told(ID, "docker", None, None, f"/docker/{ID}")),
        (f"/docker/{OTHER}/docker/{ID}", Told(ID, "docker", None, None, f"/docker/{OTHER}/docker/{ID}")),
        (f"/machine.slice/libpod-{ID}.scope/container",
         Told(ID, "podman", None, None, f"/machine.slice/libpod-{ID}.scope")),
        (f"/libpod_parent/{ID}", Told(ID, "podman", None, None, f"/libpod_parent/{ID}")),
        (f"/kubepods.slice/kubepods-pod{POD.replace('-', '_')}.slice/cri-containerd-{ID}.scope",
         Told(ID, "containerd", None, POD,
              f"/kubepods.slice/kubepods-pod{POD.replace('-', '_')}.slice/cri-containerd-{ID}.scope")),
        (f"/kubepods/burstable/pod{POD}/{ID}", Told(ID, None, None, POD, f"/kubepods/burstable/pod{POD}/{ID}")),
        (f"/system.slice/containerd.service/kubepods-pod1.slice:cri-containerd:{ID}",
         Told(ID, "containerd", None, None,
              f"/system.slice/containerd.service/kubepods-pod1.slice:cri-containerd:{ID}")),
        (f"/x/crio-{ID}.scope", Told(ID, "cri-o", None, None, f"/x/crio-{ID}.scope")),
        (f"/system.slice/nerdctl-{ID}.scope",
         Told(ID, "containerd", None, None, f"/system.slice/nerdctl-{ID}.scope")),
        ("/lxc.payload.web-1/init.scope", Told("web-1", "lxc", "web-1", None, "/lxc.payload.web-1")),
        ("/lxc/web", Told("web", "lxc", "web", None, "/lxc/web")),
        (f"/lxc/{'w' * 32}", Told("w" * 32, "lxc", "w" * 32, None, f"/lxc/{'w' * 32}")),
        (f"/lxc/web/docker/{ID}", Told(ID, "docker", None, None, f"/lxc/web/docker/{ID}")),
        (f"/machine.slice/libpod-conmon-{ID}.scope", None),
        ("/user.slice", None),
        (None, None),
    ],
)  # fmt: skip
def test_what_a_path_tells(path: str | None, told: Told | None) -> None:
    assert read_path(path) == told


def test_names_of_units() -> None:
    assert unescape(r"my\x2dbox\x20\xe9") == "my-box é"


def found(guest: Guest) -> list[ContainerRecord]:
    kernel = guest.kernel()
    gaps = Gaps()
    records = find_containers(kernel, Snapshot.of_all(kernel), gaps)
    assert gaps.records() == []
    return records


@pytest.mark.parametrize("model", ["new", "old"])
def test_a_container_by_its_cgroup(model: str) -> None:
    (record,) = found(Scene(model).guest)
    assert (record.id, record.kind, record.engine, record.cgroup_path) == (
        CONTAINER,
        "cgroup",
        "docker",
        f"/docker/{CONTAINER}",
    )
    assert (record.pids, record.init_pid, record.key) == ([42], None, "42@42000000")
    assert (record.process, record.uid, record.root, record.root_filesystem) == (
        "worker",
        1000,
        "/jail",
        "ext4",
    )
    assert record.mnt_namespace == 4026532400
    assert record.host_namespaces == ["user", "uts"]
    assert record.hostname
    assert record.start_time is not None


def inner(made: Scene, pid: int, start: int, number: int, **values: int) -> int:
    """A process in the worker's namespaces, by its pid in there."""
    guest = made.guest
    struct_pid = guest.get(made.worker_process.task, "task_struct", "thread_pid")
    space = guest.get(guest.at(struct_pid, "pid", "numbers") + guest.size("upid"), "upid", "ns")
    task = guest.process(
        pid,
        b"inner",
        ns_pids=[(pid, guest.pid_ns), (number, space)],
        nsproxy=made.nsproxy,
        start_boottime=start,
        **values,
    ).task
    return int(task)


def test_who_is_in_its_namespaces_belongs_to_it_and_pid_1_is_its_init() -> None:
    made = Scene("new")
    inner(made, 50, 41_000_000, 1)
    inner(made, 51, 90_000_000, 9)
    (record,) = found(made.guest)
    assert (record.pids, record.init_pid, record.process) == ([50, 42, 51], 50, "inner")
    assert record.kind == "cgroup"


def test_namespaces_without_a_cgroup_that_tells() -> None:
    made = Scene("new")
    made.guest.set(made.worker_process.task, "task_struct", {"cgroups": 0})
    inner(made, 51, 90_000_000, 1, cgroups=made.guest.cgroup(b"machine.slice", rb"machine-a\x2db.scope"))
    (record,) = found(made.guest)
    assert (record.id, record.kind) == ("pid:[4026532999]", "namespaces")
    assert (record.engine, record.name, record.pids, record.init_pid) == (
        "systemd-nspawn",
        "a-b",
        [42, 51],
        51,
    )


def test_a_pid_namespace_alone_is_no_container() -> None:
    made = Scene("new")
    made.guest.set(made.worker_process.task, "task_struct", {"cgroups": 0})
    made.guest.set(made.nsproxy, "nsproxy", {"mnt_ns": 0})
    assert found(made.guest) == []


def test_no_process_no_container() -> None:
    made = Scene("new")
    made.guest.set(made.worker_process.task, "task_struct", {"tgid": 41})
    assert found(made.guest) == []
