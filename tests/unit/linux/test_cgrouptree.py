from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.unit.linux.small import Small
from vmon.core.coverage import Gaps
from vmon.core.records.container import CgroupRecord
from vmon.linux.cgrouptree import WANTS, read_cgroup_tree

ID = "0123456789abcdef" * 4
CSS = "cgroup:p sibling:list_head children:list_head flags:u32"
REST = "nr_descendants:s32 nr_dying_descendants:s32 nr_populated_domain_children:s32 nr_populated_threaded_children:s32"


def structs(css: str, own: str, mask: str) -> dict[str, str]:
    return {
        "cgroup_subsys_state": f"{CSS} {css}",
        "cgroup_freezer_state": "freeze:u8",
        "cgroup": f"self:cgroup_subsys_state kn:p root:p dom_cgrp:p {REST} {own} subtree_control:{mask} subsys:p*3 "
        "freezer:cgroup_freezer_state",
        "cgroup_root": "subsys_mask:u32 root_list:list_head cgrp:cgroup",
        "cgroup_subsys": "name:p",
        "kernfs_node": "name:p id:u64",
        "css_set": "dfl_cgrp:p",
        "task_struct": "cgroups:p exit_state:s32 signal:p",
        "signal_struct": "nr_threads:s32",
        "atomic": "counter:u64",
        "pids_cgroup": "css:cgroup_subsys_state counter:atomic limit:atomic",
        "page_counter": "usage:atomic max:u64",
        "mem_cgroup": "css:cgroup_subsys_state memory:page_counter",
        "cfs_bandwidth": "period:u64 quota:u64",
        "task_group": "css:cgroup_subsys_state cfs_bandwidth:cfs_bandwidth",
    }


OLD = structs("serial_nr:u64", "nr_populated_csets:s32", "u16")
NEW = structs("nr_populated_csets:s32", "max_depth:s32", "u32")
MODELS = pytest.mark.parametrize("model", [OLD, NEW], ids=["of the cgroup", "of its css"])
WILD = 0xFFFF_C900_0000_0000
MASKS = ("cgrp_dfl_inhibit_ss_mask", "cgrp_dfl_implicit_ss_mask", "cgrp_dfl_threaded_ss_mask")
PIDS, MEMORY, CPU = 1, 2, 4


class Scene:
    """The root, and what is made below it. Controllers: pids, memory, cpu."""

    def __init__(self, model: dict[str, str]) -> None:
        symbols = {"cgrp_dfl_root": 1024, "cgroup_roots": 16, "cgroup_subsys": 24, **dict.fromkeys(MASKS, 4)}
        self.small = small = Small(WANTS, model, symbols)
        for number, name in enumerate((b"pids", b"memory", b"cpu")):
            subsystem = small.new("cgroup_subsys", name=small.string(name))
            small.put(small.symbol("cgroup_subsys") + 8 * number, subsystem)
        size = small.profile["cgroup"]["subtree_control"].size
        for symbol, mask in zip(MASKS, (0, 8, PIDS | CPU), strict=True):
            small.put(small.symbol(symbol), mask, size)
        top = small.symbol("cgrp_dfl_root")
        small.set(top, "cgroup_root", subsys_mask=15)
        roots = [small.field(top, "cgroup_root", "root_list")]
        small.chain(small.symbol("cgroup_roots"), roots)
        self.root = small.field(top, "cgroup_root", "cgrp")
        self.children: dict[int, list[int]] = {self.root: []}
        self._fill(self.root, b"", 1)
        self.tasks: list[int] = []

    def _fill(self, cgroup: int, name: bytes, number: int, **values: Any) -> None:
        small = self.small
        small.set(cgroup, "cgroup", kn=small.new("kernfs_node", name=small.string(name), id=number))
        small.set(cgroup, "cgroup", dom_cgrp=cgroup, self__flags=2)
        small.set(cgroup, "cgroup", **values)
        self.link(cgroup)

    def link(self, cgroup: int) -> None:
        small = self.small
        siblings = [small.field(child, "cgroup", "self.sibling") for child in self.children[cgroup]]
        small.chain(small.field(cgroup, "cgroup", "self.children"), siblings)

    def make(self, parent: int, name: bytes, number: int, **values: Any) -> int:
        cgroup = self.small.new("cgroup")
        self.children[cgroup] = []
        self._fill(cgroup, name, number, **values)
        self.children[parent].append(cgroup)
        self.link(parent)
        return cgroup

    def part(self, cgroup: int, number: int, struct: str, **values: Any) -> None:
        states = self.small.field(cgroup, "cgroup", "subsys")
        self.small.put(states + 8 * number, self.small.new(struct, **values))

    def task(self, cgroup: int, exit_state: int = 0, threads: int = 1) -> None:
        signal = self.small.new("signal_struct", nr_threads=threads)
        group = self.small.new("css_set", dfl_cgrp=cgroup)
        self.tasks.append(self.small.new("task_struct", cgroups=group, exit_state=exit_state, signal=signal))

    def read(self) -> tuple[list[CgroupRecord], Gaps]:
        gaps = Gaps()
        return read_cgroup_tree(self.small.kernel(), np.array(self.tasks, dtype=np.uint64), gaps), gaps


@MODELS
def test_the_tree_with_what_is_in_it(model: dict[str, str]) -> None:
    scene = Scene(model)
    scene.small.set(scene.root, "cgroup", subtree_control=PIDS | MEMORY, nr_populated_domain_children=1)
    docker = scene.make(scene.root, b"docker", 5, nr_descendants=1)
    user = scene.make(scene.root, b"user\xff", 6)
    inner = scene.make(docker, ID.encode(), 7, freezer__freeze=1, self__nr_populated_csets=1)
    scene.make(scene.root, b"gone", 8, self__flags=0)
    for where, state, threads in ((inner, 0, 1), (inner, 0, 3), (inner, 32, 1), (inner, 32, 2), (user, 0, 1)):
        scene.task(where, state, threads)
    records, gaps = scene.read()
    assert [(record.path, record.id, record.processes) for record in records] == [
        ("/", 1, 0),
        ("/docker", 5, 0),
        (f"/docker/{ID}", 7, 3),
        ("/user\udcff", 6, 1),
    ]
    assert [record.populated for record in records] == [True, False, True, False]
    assert [record.container_id for record in records] == [None, None, ID, None]
    assert [record.frozen for record in records] == [False, False, True, False]
    assert [record.controllers for record in records][:3] == [
        ["pids", "memory", "cpu"],
        ["pids", "memory"],
        [],
    ]
    assert records[0].subtree_control == ["pids", "memory"]
    assert gaps.records() == []


@MODELS
def test_limits_are_those_of_enabled_controllers(model: dict[str, str]) -> None:
    scene = Scene(model)
    scene.small.set(scene.root, "cgroup", subtree_control=PIDS | MEMORY | CPU)
    first = scene.make(scene.root, b"first", 2)
    scene.part(first, 0, "pids_cgroup", counter__counter=3, limit__counter=10)
    scene.part(first, 1, "mem_cgroup")
    memory = scene.small.field(first, "cgroup", "subsys") + 8
    place = int.from_bytes(scene.small.kernel().memory.read(memory, 8), "little")  # type: ignore[arg-type]
    counter = scene.small.field(place, "mem_cgroup", "memory")
    scene.small.set(counter, "page_counter", usage__counter=2, max=5)
    scene.part(first, 2, "task_group", cfs_bandwidth__period=100_000_000, cfs_bandwidth__quota=50_000_000)
    second = scene.make(scene.root, b"second", 3)
    scene.part(second, 0, "pids_cgroup", counter__counter=1, limit__counter=(4 << 20) + 1)
    scene.part(second, 2, "task_group", cfs_bandwidth__period=100_000_000, cfs_bandwidth__quota=(1 << 64) - 1)
    thread = scene.make(scene.root, b"thread", 4, dom_cgrp=first)
    off = scene.make(first, b"off", 5)
    scene.part(off, 0, "pids_cgroup", counter__counter=9)
    root, one, none, two, in_threads = scene.read()[0]
    assert (one.pids_current, one.pids_max, one.memory_current, one.memory_max) == (3, 10, 8192, 20480)
    assert (one.cpu_quota_us, one.cpu_period_us) == (50_000, 100_000)
    assert (two.pids_current, two.pids_max, two.cpu_quota_us, two.cpu_period_us) == (1, None, None, 100_000)
    assert (two.memory_current, two.memory_max) == (None, None)
    assert none.pids_current is None
    assert root.pids_current is None
    assert (in_threads.cgroup_struct, in_threads.controllers) == (thread, ["pids", "cpu"])


def test_a_kernel_without_a_controller() -> None:
    model = {name: fields for name, fields in NEW.items() if name != "mem_cgroup"}
    scene = Scene(model)
    assert [(gap.what, gap.reason) for gap in scene.read()[1].records()] == [("memory", "not on this kernel")]


def test_hierarchies_of_version_1_are_told() -> None:
    scene = Scene(OLD)
    small = scene.small
    other = small.new("cgroup_root")
    roots = [small.field(at, "cgroup_root", "root_list") for at in (small.symbol("cgrp_dfl_root"), other)]
    small.chain(small.symbol("cgroup_roots"), roots)
    (gap,) = scene.read()[1].records()
    assert (gap.what, gap.reason, gap.count) == ("cgroups", "not looked for", 1)


def test_lists_that_loop_or_lead_nowhere_do_not_cost_the_rest() -> None:
    scene = Scene(NEW)
    small = scene.small
    bad, wild, good = (scene.make(scene.root, name, at) for at, name in enumerate((b"bad", b"wild", b"good")))
    inner = scene.make(good, b"inner", 9)
    children = small.field(bad, "cgroup", "self.children")
    # The list of one leads into that of another, and a child's holds the root.
    small.put(children, small.field(inner, "cgroup", "self.sibling"))
    small.put(small.field(wild, "cgroup", "self.children"), WILD)
    small.chain(
        small.field(inner, "cgroup", "self.children"), [small.field(scene.root, "cgroup", "self.sibling")]
    )
    records, gaps = scene.read()
    assert [record.path for record in records] == ["/", "/bad", "/wild", "/good", "/good/inner"]
    assert [(gap.what, gap.reason) for gap in gaps.records()] == [("cgroups", "unreadable")] * 3


def test_names_that_are_nowhere_and_two_of_one_name() -> None:
    scene = Scene(NEW)
    scene.make(scene.make(scene.root, b"x", 2), b"y", 3)
    scene.make(scene.make(scene.root, b"x", 4), b"y", 5)
    lost = scene.make(scene.root, b"z", 6)
    scene.small.set(lost, "cgroup", kn=WILD)
    records, gaps = scene.read()
    assert sorted(record.id for record in records) == [0, 1, 2, 3, 4, 5]
    assert [(gap.what, gap.reason, gap.count) for gap in gaps.records()] == [("path", "unreadable", 1)]
