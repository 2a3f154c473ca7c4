from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kernel.fuzz import WORD_VALUES, steady
from tests.unit.linux.build import HEAP_GPA, profile_of
from tests.unit.linux.scene import ARGUMENTS, CONTAINER, LONG_NAME, ODD_NAME, Scene, scene
from vmon.core.errors import GuestDataError
from vmon.core.records.process import EnvRecord, FileRecord, MapRecord, ProcessRecord, SocketRecord
from vmon.core.text import guest_text, storable
from vmon.kernel.memory import KernelMemory
from vmon.kernel.profile import FieldLayout, KernelProfile, StructLayout
from vmon.linux.kernel import Kernel
from vmon.linux.snapshot import Snapshot

MODELS = pytest.mark.parametrize("model", ["new", "old"])


def take(model: str) -> tuple[Scene, Snapshot]:
    made = scene(model)
    return made, Snapshot.of_all(made.guest.kernel())


@MODELS
def test_processes_in_the_order_of_the_list(model: str) -> None:
    _, snapshot = take(model)
    assert snapshot.pid == [1, 2, 42, 77, 99]
    assert snapshot.name == [b"init", b"kthreadd", b"worker", b"defunct", ODD_NAME]
    assert snapshot.state == ["S", "I", "S", "Z", "S"]
    assert snapshot.ppid == [0, 0, 1, 1, 42]
    assert snapshot.parent_key == [None, None, "1@1000000", "1@1000000", "42@42000000"]
    assert snapshot.kernel_thread == [False, True, False, False, False]
    assert snapshot.threads == [1, 1, 3, 1, 1]
    assert snapshot.key(2) == "42@42000000"
    assert snapshot.unchanged().all()


@MODELS
def test_every_field_of_a_record(model: str) -> None:
    _, snapshot = take(model)
    assert snapshot.record(2) == ProcessRecord(
        key="42@42000000",
        pid=42,
        ppid=1,
        parent_key="1@1000000",
        pgid=42,
        sid=42,
        name="worker",
        exe="/usr/bin/worker",
        exe_deleted=True,
        cmdline=[guest_text(text) for text in ARGUMENTS],
        cwd="/mnt/data/dir",
        root="/jail",
        state="S",
        uid=1000,
        euid=0,
        suid=1000,
        fsuid=1000,
        gid=100,
        egid=100,
        sgid=100,
        fsgid=100,
        groups=[10, 20, 4_000_000_000],
        cap_inheritable=0,
        cap_permitted=0,
        cap_effective=1 << 40,
        cap_bounding=0xFF,
        cap_ambient=0,
        start_time=1_700_000_000.123456789 + 0.042,
        start_boottime_ns=42_000_000,
        threads=3,
        nice=19,
        user_time=0.0,
        system_time=0.0,
        resident_size=(3 + 5 + 2) * 4096,
        total_size=100 * 4096,
        tty=None,
        cgroup_path=f"/docker/{CONTAINER}",
        container_id=CONTAINER,
        pid_namespace=4026532999,
        mnt_namespace=4026532400,
        net_namespace=4026532500,
        user_namespace=4026531837,
        uts_namespace=4026531838,
        ipc_namespace=None,
        cgroup_namespace=None,
        ns_pids=[42, 7],
        kernel_thread=False,
        seccomp=2,
        no_new_privs=True,
        cpu=3,
    )


@MODELS
def test_what_kernel_threads_and_zombies_do_not_have(model: str) -> None:
    _, snapshot = take(model)
    for row in (1, 3):
        record = snapshot.record(row)
        assert (record.exe, record.cwd, record.root, record.cmdline) == (None, None, None, [])
        assert (record.resident_size, record.total_size) == (None, None)
        assert snapshot.files[row] == snapshot.maps(row) == snapshot.environ(row) == []
    assert snapshot.record(3).mnt_namespace is None
    assert snapshot.record(3).ns_pids == []


@MODELS
def test_open_files(model: str) -> None:
    _, snapshot = take(model)
    shown = [(f.fd, f.path, f.type, f.mode, f.inode) for f in snapshot.files[0]]
    assert shown == [
        (0, "/dev/null", "character", "r+", 5),
        (1, "pipe:[4242]", "fifo", "w", 4242),
        (3, "socket:[5002]", "socket", "r+", 5002),
        (4, "socket:[5010]", "socket", "r+", 5010),
        (5, "socket:[6014]", "socket", "r+", 6014),
        (6, "socket:[6007]", "socket", "r+", 6007),
        (7, "socket:[6000]", "socket", "r+", 6000),
        (9, "anon_inode:[eventfd]", "anonymous", "r+", 1040),
    ]
    assert [f.fd for f in snapshot.files[0] if f.flags & 0o2000000] == [3]
    assert snapshot.files[2][2] == FileRecord(
        pid=42,
        fd=200,
        path="/mnt/data/dir/" + guest_text(LONG_NAME),
        deleted=False,
        type="regular",
        mode="a",
        flags=0o2002001,
        position=1 << 40,
        inode=10,
        device=snapshot.files[2][1].device,
        size=1 << 33,
    )


@MODELS
def test_sockets(model: str) -> None:
    _, snapshot = take(model)
    common: dict[str, Any] = {"pid": 1, "process": "init", "net_namespace": 4026531992}
    assert all(record.sock for record in snapshot.sockets[0])
    assert [msgspec.structs.replace(record, sock=0) for record in snapshot.sockets[0][:3]] == [
        SocketRecord(
            fd=3, family="inet", type="stream", protocol="tcp", local_address="127.0.0.1", local_port=8080,
            remote_address="0.0.0.0", remote_port=0, state="LISTEN", path="", inode=5002, **common,
        ),
        SocketRecord(
            fd=4, family="inet6", type="dgram", protocol="udp", local_address="::1", local_port=8080,
            remote_address="2001:db8::99", remote_port=443, state="NONE", path="", inode=5010, **common,
        ),
        SocketRecord(
            fd=5, family="unix", type="stream", protocol="", local_address="", local_port=None,
            remote_address="", remote_port=None, state="LISTEN", path="/run/x.sock", inode=6014, **common,
        ),
    ]  # fmt: skip
    assert [s.path for s in snapshot.sockets[0][3:]] == ["@bus\udcff", ""]
    assert [s.state for s in snapshot.sockets[0][3:]] == ["ESTABLISHED", "NONE"]
    assert snapshot.sockets[2] == []


@MODELS
def test_maps(model: str) -> None:
    _, snapshot = take(model)
    maps = snapshot.maps(2)
    assert maps[0] == MapRecord(
        pid=42, start=0x40_0000, end=0x41_0000, permissions="r-xp", offset=0x2000, device=0x801, inode=77,
        path="/usr/bin/worker", deleted=True,
    )  # fmt: skip
    assert [m.path for m in maps[1:]] == ["[heap]", "[anon:arena\n]", "[stack]", "[vdso]"]
    assert [m.permissions for m in maps[1:]] == ["rw-p", "rw-s", "rw-p", "r-xp"]
    assert [m.start for m in maps] == sorted(m.start for m in maps)


@MODELS
def test_environment(model: str) -> None:
    _, snapshot = take(model)
    items = snapshot.environ(0)
    assert items is not None
    assert [(item.name, item.value) for item in items] == [
        ("HOME", "/"), ("TERM", "linux"), ("EMPTY", ""), ("", "odd"),
    ]  # fmt: skip
    assert snapshot.environ(2) == [EnvRecord(pid=42, name="A", value="1")]


@MODELS
def test_threads(model: str) -> None:
    _, snapshot = take(model)
    threads = snapshot.thread_records(2)
    assert [(t.tid, t.name, t.cpu) for t in threads] == [
        (42, "worker", 3),
        (43, "worker-1", 0),
        (44, "worker-2", 0),
    ]


@MODELS
def test_times_terminal_and_titles(model: str) -> None:
    _, snapshot = take(model)
    assert snapshot.cpu_times[0] == (2.0, 1.0)
    assert snapshot.tty == ["pts/3", None, None, None, None]
    assert snapshot.cmdline[4] == [b"title: no end here"]


@MODELS
def test_five_levels_of_paging(model: str) -> None:
    guest = Scene(model, la57=True).guest
    assert Snapshot.of_all(guest.kernel()).records() == take(model)[1].records()


def test_old_kernels_hold_back_a_part_of_rss_in_the_tasks() -> None:
    made = Scene("old")
    guest = made.guest
    for task in (made.worker_process.task, *made.threads):
        guest.set(task, "task_struct", {"rss_stat.count": struct.pack("<4i", 10, -1, 0, 0)})
    snapshot = Snapshot.of_all(guest.kernel())
    assert snapshot.resident_size[2] == (3 + 5 + 2 + 3 * 9) * 4096


def test_no_process_at_all() -> None:
    guest = scene("new").guest
    empty = Snapshot(guest.kernel(), np.zeros(0, dtype=np.uint64))
    assert len(empty) == 0
    assert empty.records() == empty.files == empty.sockets == []


# The guest moves


def test_a_process_that_ended_meanwhile_has_no_answers_of_another() -> None:
    """Between the list and the arguments, the task is freed and used again for another process."""
    made = Scene("new")
    guest = made.guest
    kernel = guest.kernel()
    snapshot = Snapshot.of_all(kernel)
    ram: Any = kernel.memory.phys
    ram.guest_writes(
        guest.gpa(guest.at(made.worker_process.task, "task_struct", "pid")), struct.pack("<I", 4711)
    )
    assert snapshot.unchanged().tolist() == [True, True, False, True, True]
    assert snapshot.cmdline[2] is None
    assert snapshot.exe[2] is None
    assert snapshot.cwd[2] is None
    assert snapshot.cmdline[0] == [b"/sbin/init", b"splash"]


@pytest.mark.parametrize("values", [{"pid": 0}, {"pid": -1}, {"pid": 1 << 30, "tgid": 1 << 30}, {"tgid": 41}])
def test_what_does_not_look_like_a_task_is_dropped(values: dict[str, int]) -> None:
    made = Scene("new")
    made.guest.set(made.worker_process.task, "task_struct", values)
    assert Snapshot.of_all(made.guest.kernel()).pid == [1, 2, 77, 99]


# One liar does not spoil the others


def test_arguments_in_pages_that_are_no_ram() -> None:
    made = Scene("new")
    guest = made.guest
    # An entry of init's page table leads far outside of RAM.
    leaf = find_word(
        guest,
        lambda word: word & 0xFFF == 7 and guest.heap[(word & ~0xFFF) - HEAP_GPA + 0xE00 :][:6] == b"/sbin/",
    )
    guest.write(leaf, struct.pack("<Q", 0x7F_FFFF_F000 | 7))
    snapshot = Snapshot.of_all(guest.kernel())
    assert snapshot.cmdline == [None, [], ARGUMENTS, [], [b"title: no end here"]]


def test_one_pid_of_an_impossible_level() -> None:
    made = Scene("new")
    guest = made.guest
    bad = guest.get(made.odd.task, "task_struct", "thread_pid")
    guest.set(bad, "pid", {"level": 0xDEAD})
    snapshot = Snapshot.of_all(guest.kernel())
    assert [r.ns_pids for r in snapshot.records()] == [[1], [2], [42, 7], [], []]
    assert snapshot.namespaces["pid_ns"][4] is None


def test_offsets_beyond_64_bits_can_still_be_written_out() -> None:
    made = Scene("new")
    made.guest.set(made.vmas[0], "vm_area_struct", {"vm_pgoff": (1 << 64) - 1})
    maps = Snapshot.of_all(made.guest.kernel()).maps(2)
    assert msgspec.json.decode(msgspec.json.encode(maps[0]))["path"] == "/usr/bin/worker"


def find_word(guest: Any, fits: Callable[[int], bool]) -> int:
    for at in guest.words():
        word = int.from_bytes(guest.heap[at : at + 8], "little")
        if HEAP_GPA <= word < HEAP_GPA + guest.used and fits(word):
            return int(guest.gva(HEAP_GPA + at))
    raise AssertionError("no such word")


# Hostile memory


def ask_everything(kernel: Kernel) -> int:
    """Ask a snapshot everything: each answer can be written out, or is a GuestDataError. Counts the answers."""
    try:
        snapshot = Snapshot.of_all(kernel)
    except GuestDataError:
        return 0
    questions: list[Callable[[], Any]] = [
        snapshot.records,
        lambda: snapshot.files,
        lambda: snapshot.sockets,
        lambda: snapshot.resident_size,
        lambda: snapshot.cpu_times,
        lambda: snapshot.tty,
        lambda: snapshot.groups,
        lambda: snapshot.cgroup_path,
        lambda: snapshot.namespaces,
        lambda: snapshot.ppid,
        lambda: [repr(path) for path in (*snapshot.exe, *snapshot.cwd, *snapshot.root)],
    ]
    for row in range(len(snapshot)):
        questions += [
            lambda row=row: snapshot.maps(row),  # type: ignore[misc]
            lambda row=row: snapshot.environ(row),  # type: ignore[misc]
            lambda row=row: snapshot.thread_records(row),  # type: ignore[misc]
        ]
    answered = 0
    for question in questions:
        try:
            answer = question()
        except GuestDataError as error:
            assert error.message
            continue
        msgspec.json.encode(plain(msgspec.to_builtins(answer)))
        answered += 1
    return answered


def plain(value: object) -> object:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


class Damage:
    """Places worth damaging in a scene, and values worth putting there: pointers to other objects above all."""

    def __init__(self, model: str) -> None:
        made = scene(model)
        guest = made.guest
        self.kernel = guest.kernel()
        self.heap = bytes(guest.heap)
        self.places = list(guest.words())
        words = [int.from_bytes(guest.heap[at : at + 8], "little") for at in self.places]
        self.pointers = sorted({w for w in words if guest.page_offset <= w < guest.page_offset + (1 << 40)})
        inside = {w for w in self.pointers if w >= guest.gva(HEAP_GPA)}
        self.pointer_places = [at for at, word in zip(self.places, words, strict=True) if word in inside]


DAMAGE = {model: Damage(model) for model in ("new", "old")}


@st.composite
def damage(draw: st.DrawFn, model: str) -> list[tuple[int, bytes]]:
    made = DAMAGE[model]
    edits = []
    for _ in range(draw(st.integers(1, 5))):
        kind = draw(st.integers(0, 3))
        if kind <= 1:  # a pointer leads to another object, or into the middle of one
            at = draw(st.sampled_from(made.pointer_places))
            value = draw(st.sampled_from(made.pointers)) + draw(st.sampled_from([0, 0, 0, 8, -8, 1, 0x100]))
            edits.append((at, struct.pack("<Q", value)))
        elif kind == 2:
            at = draw(st.sampled_from(made.places))
            edits.append((at, struct.pack("<Q", draw(WORD_VALUES))))
        else:
            at = draw(st.sampled_from(made.places)) + draw(st.sampled_from([0, 2, 4]))
            edits.append((at, struct.pack("<I", draw(WORD_VALUES) & 0xFFFF_FFFF)))
    return edits


@MODELS
def test_the_undamaged_scene_answers_everything(model: str) -> None:
    assert ask_everything(scene(model).guest.kernel()) == 11 + 3 * 5


@steady(100)
@given(st.sampled_from(["new", "old"]).flatmap(lambda model: st.tuples(st.just(model), damage(model))))
def test_damaged_memory(case: tuple[str, list[tuple[int, bytes]]]) -> None:
    model, edits = case
    ask_everything(damaged_kernel(model, edits))


@steady(40)
@given(
    st.sampled_from(["new", "old"]),
    st.integers(0, 1 << 32),
    st.integers(1, 400),
    st.sampled_from([0, 0, 1, 255]),
)
def test_much_damage(model: str, seed: int, count: int, fill: int) -> None:
    """Hundreds of places at once, a part of them set to all zeros or all ones."""
    random = np.random.default_rng(seed)
    made = DAMAGE[model]
    edits = []
    for at in random.choice(made.places, count).tolist():
        pointer = made.pointers[int(random.integers(len(made.pointers)))]
        edits.append((at, bytes([fill]) * 8 if random.integers(3) == 0 else struct.pack("<Q", pointer)))
    ask_everything(damaged_kernel(model, edits))


def damaged_kernel(model: str, edits: list[tuple[int, bytes]]) -> Kernel:
    made = scene(model).guest
    ram = made.ram()
    for at, data in edits:
        ram.guest_writes(HEAP_GPA + at, data)
    return Kernel(KernelMemory(ram, DAMAGE[model].kernel.memory.bases), made.profile)


FIELDS = {
    model: sorted(
        (name, field) for name, struct in profile_of(model).structs.items() for field in struct.fields
    )
    for model in ("new", "old")
}


@st.composite
def lying_profile(draw: st.DrawFn) -> tuple[str, KernelProfile]:
    """Types that this kernel does not have: fields missing, of other sizes, elsewhere; enumerations that lie."""
    model = draw(st.sampled_from(["new", "old"]))
    profile = profile_of(model)
    structs = {
        name: StructLayout(name, struct.size, dict(struct.fields)) for name, struct in profile.structs.items()
    }
    for name, field_name in draw(st.lists(st.sampled_from(FIELDS[model]), min_size=1, max_size=8)):
        layout = structs[name].fields.get(field_name)
        kind = draw(st.integers(0, 3))
        if layout is None:
            continue
        if kind == 0:
            del structs[name].fields[field_name]
        elif kind == 1:
            size = draw(st.sampled_from([0, 1, 2, 3, 4, 7, 8, 16, 24, 32, 160, 4096]))
            structs[name].fields[field_name] = FieldLayout(layout.offset, size, count=layout.count)
        elif kind == 2:
            offset = draw(st.integers(0, structs[name].size))
            structs[name].fields[field_name] = FieldLayout(offset, layout.size, count=layout.count)
        else:
            bits = draw(st.integers(1, 64))
            bit = draw(st.integers(0, 80))
            structs[name].fields[field_name] = FieldLayout(
                layout.offset, layout.size, bit, bits, layout.count
            )
    enums = dict(profile.enums)
    if draw(st.booleans()):
        enums["pid_type"] = {"PIDTYPE_PGID": draw(WORD_VALUES), "PIDTYPE_SID": draw(st.integers(0, 5))}
    return model, msgspec.structs.replace(profile, structs=structs, enums=enums)


@steady(80)
@given(lying_profile())
def test_types_that_lie(case: tuple[str, KernelProfile]) -> None:
    model, profile = case
    ask_everything(Kernel(KernelMemory(scene(model).guest.ram(), DAMAGE[model].kernel.memory.bases), profile))
