from __future__ import annotations

import msgspec
import pytest

from tests.unit.linux.build import Guest
from vmon.core.errors import BadStructure
from vmon.kernel.profile import FieldLayout, KernelProfile, StructLayout
from vmon.linux.kernel import Kernel
from vmon.probe.abi import load_abi
from vmon.probe.config import (
    FIELDS,
    NO_FIELD,
    OPTIONAL,
    encode,
    encode_hook,
    missing_fields,
    offsets,
    per_cpu,
)


def profile(*, without: str = "", **changes: object) -> KernelProfile:
    """A kernel with every field that the probe asks for, but one."""
    structs: dict[str, StructLayout] = {}
    for number, (owner, field) in enumerate(FIELDS.values()):
        name = field.split("|")[0]
        known = structs.get(owner, StructLayout(owner, 4096, {}))
        if f"{owner}.{name}" != without:
            structs[owner] = StructLayout(owner, 4096, {**known.fields, name: FieldLayout(8 * number, 8)})
    return msgspec.structs.replace(Guest("new").profile, structs=structs, **changes)


def test_every_field_has_its_place() -> None:
    found = offsets(profile())
    assert list(found.values()) == [8 * number for number in range(len(FIELDS))]
    assert missing_fields(profile()) == []


def test_what_a_kernel_lacks_is_marked_or_named() -> None:
    assert offsets(profile(without="kernfs_node.id"))["kn_id"] == NO_FIELD
    assert missing_fields(profile(without="kernfs_node.id")) == []
    assert missing_fields(profile(without="task_struct.comm")) == ["task_struct.comm"]
    assert set(FIELDS) > OPTIONAL


def test_the_running_task_is_found_by_either_spelling() -> None:
    guest = Guest("new")
    memory = guest.kernel().memory
    own = Kernel(memory, profile(absolute={"current_task": 0x1FB80}))
    assert per_cpu(own, "current_task", "current_task") == 0x1FB80
    hot = profile(absolute={"pcpu_hot": 0x35000})
    hot.structs["pcpu_hot"] = StructLayout("pcpu_hot", 64, {"current_task": FieldLayout(8, 8)})
    assert per_cpu(Kernel(memory, hot), "current_task", "current_task") == 0x35008
    image = profile(absolute={}, symbols={"current_task": 0x2B018})
    assert per_cpu(Kernel(memory, image), "current_task", "current_task") == memory.bases.text_gva + 0x2B018
    with pytest.raises(BadStructure):
        per_cpu(Kernel(memory, profile(absolute={}, symbols={})), "current_task", "current_task")


def test_numbers_go_where_the_abi_says() -> None:
    abi = load_abi()
    data = encode(abi, "config", {"magic": 0x1122, "at.task_pid": 7, "enforce": 1})
    at, size = abi.member("config", "at.task_pid")
    assert data[at : at + size] == b"\x07\0\0\0"
    assert data[:8] == b"\x22\x11" + bytes(6)
    assert sum(data) == 0x22 + 0x11 + 7 + 1
    assert encode_hook(abi, 3, 5, 9) == b"\3\0\5\0\x09\0\0\0"
