"""The probe's own C code, built for the host, in a kernel made of a few objects: what it writes, vmon reads."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from vmon.core.address import Gpa
from vmon.core.rules import Rule
from vmon.probe.abi import Abi, load_abi
from vmon.probe.config import FIELDS, MAGIC, encode, encode_hook
from vmon.probe.rules import RuleTable
from vmon.probe.window import Window
from vmon.transport.fake import FakeRam

PROBE = Path(__file__).parents[3] / "probe"
WINDOW_BYTES = 2 << 20
TABLE_GPA = Gpa(WINDOW_BYTES)
ARENA_BYTES = 1 << 20
FLAGS = ("-O1", "-g", "-Wall", "-Werror", "-fPIC", "-shared", "-DVMON_NATIVE", "-mgeneral-regs-only")


def build(folder: Path) -> ctypes.CDLL:
    """The library of all C files."""
    library = folder / "probe.so"
    sources = [path for path in (PROBE / "src").glob("*.c") if path.stem != "abi"]
    include = (f"-I{PROBE / 'include'}", f"-I{PROBE / 'src'}")
    native = Path(__file__).with_name("native.c")
    subprocess.run(["cc", *FLAGS, *include, "-o", library, *sources, native], check=True)
    return ctypes.CDLL(str(library))


class SharedRam(FakeRam):
    """A window that lies in memory of this process, one page after the other, and its page table."""

    def __init__(self, window: Any) -> None:
        super().__init__({TABLE_GPA: bytes(4096)})
        pages = np.arange(0, WINDOW_BYTES, 4096, dtype=np.uint64) | np.uint64(1)
        self.guest_writes(TABLE_GPA, pages.tobytes())
        self._window = window

    def read(self, gpa: Gpa, size_bytes: int) -> bytes:
        if gpa >= TABLE_GPA:
            return super().read(gpa, size_bytes)
        return ctypes.string_at(ctypes.addressof(self._window) + gpa, size_bytes)

    def write(self, gpa: Gpa, data: bytes) -> None:
        if gpa >= TABLE_GPA:
            super().write(gpa, data)
        else:
            ctypes.memmove(ctypes.addressof(self._window) + gpa, data, len(data))


class NativeGuest:
    """One process of a small kernel, with the probe looking on."""

    def __init__(self, library: ctypes.CDLL, ring_slots: int = 64) -> None:
        self.abi: Abi = load_abi()
        self._library = library
        self._memory = ctypes.create_string_buffer(WINDOW_BYTES)
        ctypes.c_void_p.in_dll(library, "vmon_window").value = ctypes.addressof(self._memory)
        for name in ("native_signal", "native_killed", "native_atomic", "native_slept", "native_uncounted"):
            ctypes.memset(ctypes.addressof(ctypes.c_uint64.in_dll(library, name)), 0, 16)
        self._arena = ctypes.create_string_buffer(ARENA_BYTES)
        self._used = 0
        self.aligned = True
        """Whether names lie in whole words, as those of the kernel's own do."""
        self.ram = SharedRam(self._memory)
        self.window = Window(self.ram, self.ram, TABLE_GPA)
        # Every field 16 bytes from the last: two of a structure never meet.
        self.offsets = {name: 16 * number for number, name in enumerate(FIELDS)}
        values = {
            "magic": MAGIC,
            "ring_slots": ring_slots,
            "enabled": 1,
            "enforce": 1,
            "spin_ns": 1000,
            "beat_ns": 1_000_000_000,
            "ask_kinds": (1 << 64) - 1,
            "log_kinds": (1 << 64) - 1,
        }
        config = encode(self.abi, "config", values | {f"at.{k}": v for k, v in self.offsets.items()})
        hooks = b"".join(
            encode_hook(self.abi, self.kind_of(name), number, 7) for name, number in self.abi.shapes.items()
        )
        at = self.abi.offset("config", "hooks")
        config[at : at + len(hooks)] = hooks
        self.window.write(self.abi.sizes["CONFIG_AT"], bytes(config))
        self.root = self.new(dentry_parent=0, dentry_name=0)
        self.put(self.root, dentry_parent=self.root)
        self.mount = self.new()
        self.put(self.mount, mount_parent=self.mount, vfsmount_root=self.root)
        # The vfsmount is a member of the mount, where mount_mnt says.
        self.vfsmount = self.mount + self.offsets["mount_mnt"]
        self.put(self.vfsmount, vfsmount_root=self.root)
        self.exe = self.file(b"bin", b"tool")
        self.mm = self.new(mm_exe_file=self.exe)
        self.task = self.process(42, 7, b"tool")
        self.run_as(self.task)
        self.probe().settle()
        self._kept = self._used

    def run_as(self, task: int) -> None:
        """The process whose calls are hooked from now on."""
        ctypes.c_uint64.in_dll(self._library, "native_task").value = task

    @contextmanager
    def while_waiting(self, does: Callable[[], None]) -> Iterator[None]:
        """Call this each time that a hooked call looks for its answer."""
        function = ctypes.CFUNCTYPE(None)(does)
        place = ctypes.c_void_p.in_dll(self._library, "native_waiting")
        place.value = ctypes.cast(function, ctypes.c_void_p).value
        try:
            yield
        finally:
            place.value = None

    def set_word(self, name: str, value: int) -> None:
        """A number that the kernel's functions go by."""
        (ctypes.c_uint64 * 2).in_dll(self._library, name)[0] = value

    def forget_files(self) -> None:
        """Use the memory of everything that came after the first process again."""
        self._used = self._kept

    def kind_of(self, shape: str) -> int:
        kinds = {
            "FILE": "FILE_OPEN",
            "SOCKADDR": "NET_CONNECT",
            "TASK": "PROCESS_FORK",
            "EXIT": "PROCESS_EXIT",
        }
        return self.abi.kinds[kinds.get(shape, "PROCESS_EXEC")]

    def new(self, **fields: int) -> int:
        """An object that is large enough for all fields."""
        address = ctypes.addressof(self._arena) + self._used
        self._used += 16 * (len(FIELDS) + 1)
        assert self._used < ARENA_BYTES
        self.put(address, **fields)
        return address

    def put(self, address: int, **fields: int) -> None:
        for name, value in fields.items():
            ctypes.memmove(address + self.offsets[name], value.to_bytes(8, "little"), 8)

    def text(self, data: bytes) -> int:
        if self.aligned:
            self._used += -(ctypes.addressof(self._arena) + self._used) % 8
        address = ctypes.addressof(self._arena) + self._used
        self._used += len(data) + 8
        ctypes.memmove(address, data + b"\0", len(data) + 1)
        return address

    def dentry(self, *names: bytes) -> int:
        parent = self.root
        for name in names:
            parent = self.new(dentry_parent=parent, dentry_name=self.text(name), dentry_name_len=len(name))
        return parent

    def file(self, *names: bytes, flags: int = 0) -> int:
        return self.new(file_mnt=self.vfsmount, file_dentry=self.dentry(*names), file_flags=flags)

    def process(self, pid: int, start: int, comm: bytes, uid: int = 1000) -> int:
        cred = self.new(cred_uid=uid, cred_euid=uid, cred_gid=uid)
        task = self.new(task_pid=pid, task_tgid=pid, task_start=start, task_cred=cred, task_mm=self.mm)
        root = self.new(kn_id=1)
        group = self.new(cgroup_kn=self.new(kn_id=500, kn_parent=root))
        self.put(task, task_cgroups=self.new(css_set_cgroup=group))
        self.put(task, task_leader=task, task_parent=task)
        ctypes.memmove(task + self.offsets["task_comm"], comm.ljust(16, b"\0"), 16)
        return task

    def hook(self, shape: str, *arguments: int) -> int:
        """Call the probe as a redirected call site would, if the gate is open; what the caller gets."""
        gate = self.abi.sizes["CONFIG_AT"] + self.abi.offset("config", "gates") + self.abi.shapes[shape]
        if self.window.read(gate, 1) == b"\0":
            return 0
        rdi, rsi, rdx, rcx, r8 = [*arguments, 0, 0, 0, 0, 0][:5]
        regs = (ctypes.c_uint64 * 7)(0, r8, rcx, rdx, rsi, rdi, 0)
        function = self._library.vmon_hook
        function.restype = ctypes.c_int64
        answer = int(function(self.abi.shapes[shape], ctypes.byref(regs)))
        assert not self.word("native_uncounted"), "it called the kernel, and no count tells of it"
        return answer

    def word(self, name: str, index: int = 0) -> int:
        """A number that the kernel's functions left behind."""
        return int((ctypes.c_uint64 * 2).in_dll(self._library, name)[index])

    def probe(self) -> Any:
        """What vmon.probe.rules and vmon.control ask of a Probe."""
        from vmon.probe.install import Probe

        ports = SimpleNamespace(
            write=self.ram, code=None, vm=SimpleNamespace(wake=lambda _: self.hook("TICK"))
        )
        return Probe(SimpleNamespace(memory=None), ports, self.abi, self.window)  # type: ignore[arg-type]


def put(table: RuleTable, *rules: Rule) -> None:
    """These rules and no others."""
    table.replace([])
    table.add(rules)
