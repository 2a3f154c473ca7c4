"""Debug information of a compiler, read by drgn: a small file with structures of the kernel's names."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from vmon.core.errors import UsageError
from vmon.kernel import btf as kinds
from vmon.kernel.layout import resolve_enums, resolve_structs
from vmon.kernel.learn import GivenTypes
from vmon.kernel.profile import FieldLayout, Wants
from vmon.monitor.symbol_files import SymbolFile

pytest.importorskip("drgn")

SOURCE = """
struct list_head { struct list_head *next, *prev; };
typedef int pid_t;
typedef struct { int counter; } atomic_t;
enum pid_type { PIDTYPE_PID, PIDTYPE_TGID, PIDTYPE_NONE = -1 };
enum { NO_NAME };
union u { int a; long b; };
struct task_struct {
    pid_t pid;
    char comm[16];
    union { int half; struct { long whole; }; };
    unsigned first : 3, second : 5;
    struct list_head tasks;
    atomic_t usage;
    enum pid_type type;
    struct never_defined *hidden;
    const volatile struct { int x; } inner;
    _Bool flag;
    int grid[2][3];
    void (*handler)(int);
    int tail[];
};
struct task_struct init_task;
union u some;
const char linux_banner[] = "Linux version 6.66.0-fake (x) #1\\n";
int main(void) { return sizeof(struct task_struct) + NO_NAME; }
"""


@pytest.fixture(scope="module")
def vmlinux(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("gcc") is None:
        pytest.skip("no compiler")
    folder = tmp_path_factory.mktemp("vmlinux")
    (folder / "x.c").write_text(SOURCE)
    command = ["gcc", "-g", "-no-pie", "-Wl,--build-id", "-o", folder / "vmlinux", folder / "x.c"]
    subprocess.run(command, check=True)
    return folder / "vmlinux"


@pytest.fixture(scope="module")
def given(vmlinux: Path) -> GivenTypes:
    return SymbolFile(vmlinux).load()


def test_of_which_kernel_it_is(given: GivenTypes) -> None:
    assert given.source == "dwarf"
    assert given.banner == "Linux version 6.66.0-fake (x) #1"
    assert given.build_id is not None and len(given.build_id) == 40
    assert given.find_symbols(["init_task", "nowhere"]).keys() == {"init_task"}


def test_layouts(given: GivenTypes) -> None:
    words = "pid comm half whole first second tasks.prev usage.counter type hidden inner.x flag grid handler tail no"
    wants = Wants(structs={"task_struct": words, "u": "b", "never_defined": "x", "nothing": "x"})
    structs, missing = resolve_structs(given.types, wants, "dwarf")
    assert missing == ["task_struct.no", "never_defined", "nothing"]
    fields = structs["task_struct"].fields

    def at(offset: int, size: int, **more: int) -> FieldLayout:
        return FieldLayout(offset, size, source="dwarf", **more)

    assert fields == {
        "pid": at(0, 4),
        "comm": at(4, 16, count=16),
        "half": at(24, 4),
        "whole": at(24, 8),
        "first": at(32, 4, bits=3),
        "second": at(32, 4, bit=3, bits=5),
        "tasks.prev": at(48, 8),
        "usage.counter": at(56, 4),
        "type": at(60, 4),
        "hidden": at(64, 8),
        "inner.x": at(72, 4),
        "flag": at(76, 1),
        "grid": at(80, 24, count=2),
        "handler": at(104, 8),
        "tail": at(112, 0),
    }
    assert structs["task_struct"].size == 112
    assert structs["u"].size == 8


def test_enumerations(given: GivenTypes) -> None:
    found, missing = resolve_enums(given.types, Wants(enums=("pid_type", "nothing")))
    assert found == {"pid_type": {"PIDTYPE_PID": 0, "PIDTYPE_TGID": 1, "PIDTYPE_NONE": -1}}
    assert missing == ["enum nothing"]
    assert given.types.find("pid_type", kinds.KIND_STRUCT) is None
    assert len(given.types) >= 2


def test_a_file_without_debug_information(vmlinux: Path, tmp_path: Path) -> None:
    stripped = tmp_path / "stripped"
    subprocess.run(["strip", "-o", stripped, vmlinux], check=True)
    with pytest.raises(UsageError, match="debug information") as caught:
        SymbolFile(stripped).load()
    assert "vmlinux" in caught.value.hint
