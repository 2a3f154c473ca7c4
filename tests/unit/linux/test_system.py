from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kernel.fuzz import WORD_VALUES, steady
from tests.unit.linux.build import AT, BOOT_NS, RELEASE, RODATA_GVA, Guest
from vmon.core.errors import BadStructure
from vmon.linux.system import read_boot_time, read_jiffies, read_system

MODELS = pytest.mark.parametrize("model", ["new", "old"])


@MODELS
def test_the_guest_as_a_whole(model: str) -> None:
    system = read_system(Guest(model).kernel())
    assert (system.sysname, system.nodename, system.release, system.machine) == (
        "Linux",
        "fake\udcff",
        RELEASE,
        "x86_64",
    )
    assert system.boot_time == BOOT_NS / 1e9
    assert (system.cpus_online, system.memory_total_bytes, system.modules_count) == (2, 123_456 * 4096, 0)
    assert system.command_line == "quiet console=ttyS0"
    assert read_jiffies(Guest(model).kernel()) == 4_294_900_000


def test_modules_are_counted() -> None:
    guest = Guest("new")
    head = RODATA_GVA + AT["modules"]
    one, two = guest.alloc(16), guest.alloc(16)
    for at, after in ((head, one), (one, two), (two, head)):
        guest.put64(at, after)
    assert read_system(guest.kernel()).modules_count == 2


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        ("modules", struct.pack("<Q", 0), "modules_count"),
        ("saved_command_line", struct.pack("<Q", 0xFFFF_F000_0000_0000), "command_line"),
        ("_totalram_pages", b"\xff" * 8, "memory_total_bytes"),
    ],
)
def test_what_cannot_be_read_is_none_and_the_rest_is_there(name: str, value: bytes, field: str) -> None:
    guest = Guest("new")
    guest.write(RODATA_GVA + AT[name], value)
    system = read_system(guest.kernel())
    assert getattr(system, field) is None
    assert system.release == RELEASE
    assert system.cpus_online == 2


@pytest.mark.parametrize(("real", "boot"), [(0, 1), (1 << 63, 0), ((1 << 63) - 1, 0)])
def test_an_impossible_clock(real: int, boot: int) -> None:
    guest = Guest("new")
    guest.set(RODATA_GVA + AT["timekeeper"] + 8, "timekeeper", {"offs_real": real, "offs_boot": boot})
    with pytest.raises(BadStructure) as caught:
        read_boot_time(guest.kernel())
    assert caught.value.field == "timekeeper.offs_real"
    assert read_system(guest.kernel()).boot_time is None


@steady(60)
@given(
    st.dictionaries(
        st.sampled_from(
            ["modules", "saved_command_line", "_totalram_pages", "__num_online_cpus", "timekeeper"]
        ),
        st.lists(WORD_VALUES, min_size=1, max_size=14),
        min_size=1,
    ),
    st.binary(max_size=400),
)
def test_any_numbers(values: dict[str, list[int]], names: bytes) -> None:
    guest = Guest("new")
    for name, words in values.items():
        guest.write(
            RODATA_GVA + AT[name],
            struct.pack(f"<{len(words)}Q", *words)[: 8 if name != "timekeeper" else 112],
        )
    guest.write(RODATA_GVA + AT["init_uts_ns"], names)
    system = read_system(guest.kernel(calls_limit=100))
    assert len(system.nodename.encode("utf-8", "surrogateescape")) <= 65
    assert system.boot_time is None or 0 <= system.boot_time < 1 << 33
