from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kernel.fuzz import steady
from tests.unit.linux.build import Guest
from tests.unit.linux.scene import Scene, scene
from vmon.core.address import Gva
from vmon.core.errors import BadStructure, GuestDataError, NoSuchProcess, NotMapped
from vmon.linux import task
from vmon.linux.snapshot import Snapshot
from vmon.linux.task import (
    adjust_cpu_times,
    decode_states,
    find_task,
    find_tasks,
    find_threads,
    read_identity,
    walk_list,
)
from vmon.transport.fake import FakeRam

MODELS = pytest.mark.parametrize("model", ["new", "old"])


def ring(guest: Guest, count: int) -> tuple[int, list[int]]:
    """A circular list: its head and its entries."""
    head, *nodes = (guest.alloc(16) for _ in range(count + 1))
    for at, after in zip([head, *nodes], [*nodes, head], strict=True):
        guest.put64(at, after)
    return head, nodes


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 100])
def test_a_list_in_its_order_without_its_head(count: int) -> None:
    guest = Guest("new")
    head, nodes = ring(guest, count)
    assert walk_list(guest.kernel(), Gva(head), "x") == nodes


@pytest.mark.parametrize(("length", "back"), [(1, 0), (2, 0), (50, 0), (50, 49), (100, 3), (100, 64)])
def test_a_list_that_runs_into_itself_ends_soon(length: int, back: int) -> None:
    guest = Guest("new")
    head, nodes = ring(guest, length)
    guest.put64(nodes[-1], nodes[back])
    kernel = guest.kernel(calls_limit=20 + 5 * length)
    with pytest.raises(BadStructure, match="runs into itself") as caught:
        walk_list(kernel, Gva(head), "some.list")
    assert caught.value.field == "some.list"
    assert caught.value.address in nodes


def test_a_list_longer_than_its_limit() -> None:
    guest = Guest("new")
    head, _ = ring(guest, 30)
    assert len(walk_list(guest.kernel(), Gva(head), "x", 30)) == 30
    with pytest.raises(BadStructure, match="more than 29") as caught:
        walk_list(guest.kernel(), Gva(head), "x", 29)
    assert caught.value.address == head


@pytest.mark.parametrize("wild", [0, 8, 0xFFFF_F000_0000_0000, (1 << 64) - 1])
def test_a_list_into_nowhere(wild: int) -> None:
    guest = Guest("new")
    head, nodes = ring(guest, 5)
    guest.put64(nodes[2], wild)
    with pytest.raises(NotMapped) as caught:
        walk_list(guest.kernel(), Gva(head), "x")
    assert caught.value.address == wild


@MODELS
def test_leaders_in_the_order_of_the_list(model: str) -> None:
    made = scene(model)
    kernel = made.guest.kernel()
    tasks = find_tasks(kernel)
    assert tasks.tolist() == [process.task for process in made.guest.processes.values()]
    assert read_identity(kernel, tasks).tolist() == [[pid, pid * 1_000_000] for pid in (1, 2, 42, 77, 99)]


def test_a_walk_that_breaks_once_is_tried_again() -> None:
    """The guest frees a task under the walk: its list pointers are poisoned, then the list is whole again."""
    guest = Scene("new").guest
    kernel = guest.kernel()
    node = guest.gpa(guest.at(guest.processes[42].task, "task_struct", "tasks"))
    good = guest.u64(guest.gva(node))
    reads = 0

    def moving(ram: FakeRam, _row: int) -> None:
        nonlocal reads
        reads += 1
        ram.guest_writes(node, struct.pack("<Q", 0xDEAD_0000_0000_0100 if reads < 10 else good))

    ram = kernel.memory.phys
    assert isinstance(ram, FakeRam)
    ram.moving = moving
    assert len(find_tasks(kernel)) == 5
    assert reads > 10


def test_a_list_that_stays_broken_is_an_error() -> None:
    made = Scene("new")
    made.guest.put64(made.guest.at(made.zombie.task, "task_struct", "tasks"), 0xDEAD_0000_0000_0100)
    with pytest.raises(GuestDataError) as caught:
        find_tasks(made.guest.kernel())
    assert caught.value.address == 0xDEAD_0000_0000_0100


@MODELS
def test_threads_with_the_leader_first(model: str) -> None:
    made = scene(model)
    signal = Gva(made.worker_process.signal)
    assert find_threads(made.guest.kernel(), signal).tolist() == [made.worker_process.task, *made.threads]
    with pytest.raises(BadStructure) as caught:
        find_threads(made.guest.kernel(), signal, 2)
    assert caught.value.field == "signal_struct.thread_head"


@pytest.mark.parametrize(
    ("state", "exit_state", "letter"),
    [
        (0, 0, "R"),
        (1, 0, "S"),
        (2, 0, "D"),
        (4, 0, "T"),
        (8, 0, "t"),
        (0x40, 0, "P"),
        (0x80, 0x20, "Z"),
        (0x80, 0x10, "X"),
        (0x402, 0, "I"),
        (0x2001, 0, "S"),  # INTERRUPTIBLE | FREEZABLE
        (0x8000, 0, "D"),  # frozen
        (0x1000, 0, "D"),
        ((1 << 64) - 1, 0, "I"),
    ],
)
def test_state_letters(state: int, exit_state: int, letter: str) -> None:
    columns = [np.array([value], dtype=np.uint64) for value in (state, exit_state)]
    assert decode_states(*columns) == [letter]


@steady(60)
@given(st.integers(0, (1 << 64) - 1), st.integers(0, (1 << 64) - 1))
def test_any_state_has_a_letter(state: int, exit_state: int) -> None:
    columns = [np.array([value], dtype=np.uint64) for value in (state, exit_state)]
    assert decode_states(*columns)[0] in "RSDTtXZPI?"


def test_cpu_times_are_scaled_to_the_precise_run_time() -> None:
    assert adjust_cpu_times(300, 100, 800, 0, 0) == (600, 200)
    assert adjust_cpu_times(0, 0, 50, 0, 0) == (50, 0)
    assert adjust_cpu_times(0, 7, 50, 0, 0) == (0, 50)
    assert adjust_cpu_times(300, 100, 400, 390, 20) == (390, 20)  # never backwards


@steady(100)
@given(*(st.integers(0, (1 << 64) - 1) for _ in range(5)))
def test_cpu_times_never_go_backwards_and_add_up(
    utime: int, stime: int, run: int, prev_u: int, prev_s: int
) -> None:
    user, system = adjust_cpu_times(utime, stime, run, prev_u, prev_s)
    assert user >= prev_u
    assert user + system == max(run, prev_u + prev_s)
    assert system >= min(prev_s, run)


@steady(100)
@given(st.lists(st.integers(-3, 40), min_size=1, max_size=40))
def test_lists_of_any_shape(after: list[int]) -> None:
    """Each entry leads to any other, to the head, or nowhere."""
    guest = Guest("new")
    nodes = [guest.alloc(16) for _ in range(41)]
    for number, to in enumerate(after):
        guest.put64(nodes[number], nodes[to] if to >= 0 else [0, 0x100, 0xDEAD_0000_0000_0100][to])
    try:
        found = walk_list(guest.kernel(calls_limit=250), Gva(nodes[0]), "x")
    except GuestDataError as error:
        assert error.field == "x" or not error.field
        return
    assert len(found) == len(set(found)) < len(nodes)


def test_lies_about_threads_do_not_cost_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every process claims many threads, in a long list that never comes back to its head."""
    monkeypatch.setattr(task, "MAX_TASKS", 3000)
    made = Scene("new")
    guest = made.guest
    _, nodes = ring(guest, 4000)
    for pid, process in guest.processes.items():
        guest.set(process.signal, "signal_struct", {"nr_threads": 900 + pid})
        guest.put64(guest.at(process.signal, "signal_struct", "thread_head"), nodes[pid])
    kernel = guest.kernel(calls_limit=3500)
    assert len(Snapshot.of_all(kernel).cpu_times) == 5


@pytest.mark.parametrize("pid", [0, -1, 3, 4 << 20, 1 << 70])
def test_a_process_that_is_not_there(pid: int) -> None:
    kernel = scene("new").guest.kernel()
    with pytest.raises(NoSuchProcess) as caught:
        find_task(kernel, pid)
    assert "vmon ps" in caught.value.hint


def test_one_process_by_its_pid() -> None:
    made = Scene("new")
    kernel = made.guest.kernel()
    every = Snapshot.of_all(kernel)
    one = Snapshot.of_pid(kernel, 42)
    assert (one.pid, one.key(0)) == ([42], every.key(every.pid.index(42)))
    assert find_task(kernel, 42).tolist() == [int(every.tasks[every.pid.index(42)])]
