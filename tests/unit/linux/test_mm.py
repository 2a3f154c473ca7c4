from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kernel.fuzz import WORD_VALUES, steady
from tests.unit.linux.build import AT, HEAP_GPA, RODATA_GVA, Guest
from vmon.core.address import Gva
from vmon.linux import mm
from vmon.linux.mm import (
    read_cmdlines,
    read_environ,
    read_mms,
    read_percpu_offsets,
    read_rss_pages,
    read_user,
    read_user_ranges,
    split_arguments,
)

MODELS = pytest.mark.parametrize("model", ["new", "old"])
START = 0x7FFD_0000_0E00


def lines(guest: Guest, *mms: int) -> list[list[bytes] | None]:
    kernel = guest.kernel()
    return read_cmdlines(kernel, read_mms(kernel, np.array(mms, dtype=np.uint64)))


def environ(guest: Guest, *mms: int) -> list[list[bytes] | None]:
    kernel = guest.kernel()
    return read_environ(kernel, read_mms(kernel, np.array(mms, dtype=np.uint64)))


@MODELS
def test_arguments_and_environment(model: str) -> None:
    guest = Guest(model)
    one = guest.mm(b"a\0b c\0\0", b"X=1\0Y=\xff\0")
    two = guest.mm(b"solo\0")
    assert lines(guest, one, two) == [[b"a", b"b c", b""], [b"solo"]]
    assert environ(guest, one, two) == [[b"X=1", b"Y=\xff"], []]


def test_arguments_over_three_pages_that_lie_anywhere() -> None:
    guest = Guest("new")
    words = [b"%06d" % number for number in range(1500)]
    assert lines(guest, guest.mm(b"\0".join(words) + b"\0")) == [words]


def test_a_page_that_is_not_there_is_none_and_not_made_up() -> None:
    guest = Guest("new")
    gva = guest.mm(b"x" * 5000 + b"\0", b"E=1\0")
    guest.set(gva, "mm_struct", {"arg_end": START + 9000})
    assert lines(guest, gva, guest.mm(b"fine\0")) == [None, [b"fine"]]


def test_empty_and_reversed_ranges_are_empty() -> None:
    guest = Guest("new")
    cases = [guest.mm(b"abc\0") for _ in range(3)]
    guest.set(cases[0], "mm_struct", {"arg_end": START})
    guest.set(cases[1], "mm_struct", {"arg_end": START - 100})
    guest.set(cases[2], "mm_struct", {"arg_start": (1 << 64) - 1, "arg_end": 5})
    assert lines(guest, *cases)[:2] == [[], []]
    assert lines(guest, cases[2]) == [None]


@pytest.mark.parametrize("end", [START + (1 << 40), (1 << 63) - 1])
def test_a_claim_of_terabytes_is_cut_before_it_sizes_anything(end: int) -> None:
    guest = Guest("new")
    gva = guest.mm(b"abc\0")
    guest.set(gva, "mm_struct", {"arg_end": end})
    kernel = guest.kernel(bytes_limit=16 << 20)
    assert read_cmdlines(kernel, read_mms(kernel, np.array([gva], dtype=np.uint64))) == [None]


def test_arguments_beyond_the_limit_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mm, "MAX_ARGUMENT_BYTES", 4)
    guest = Guest("new")
    assert lines(guest, guest.mm(b"abcdefgh\0")) == [[b"abcd"]]


def test_many_large_claims_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mm, "MAX_RANGES_BYTES", 10)
    guest = Guest("new")
    made = [guest.mm(b"abc\0") for _ in range(4)]
    assert lines(guest, *made) == [[b"abc"], [b"abc"], None, None]


def test_a_title_that_was_written_over_the_arguments() -> None:
    guest = Guest("new")
    assert lines(guest, guest.mm(b"title", b" goes on\0REST=1\0")) == [[b"title goes on"]]
    assert lines(guest, guest.mm(b"short\0old rest", b"E=1\0")) == [[b"short"]]
    apart = guest.mm(b"title", b"E=1\0")
    guest.set(apart, "mm_struct", {"env_start": START + 6})
    assert lines(guest, apart) == [[b"title"]]
    no_end = guest.mm(b"title", b"x" * 9000)
    assert lines(guest, no_end) == [[b"title" + b"x" * 4096]]


def test_page_tables_that_are_nowhere() -> None:
    guest = Guest("new")
    gva = guest.mm(b"abc\0")
    for pgd in (0, 0x1000, 0xFFFF_F000_0000_0000, guest.gva(0x10)):
        guest.set(gva, "mm_struct", {"pgd": pgd})
        assert lines(guest, gva) == [None]


def test_ranges_one_by_one() -> None:
    guest = Guest("new")
    gva = guest.mm(b"hello world\0")
    kernel = guest.kernel()
    pgd = Gva(guest.get(gva, "mm_struct", "pgd"))
    assert read_user(kernel, pgd, START + 6, 5) == b"world"
    assert read_user(kernel, pgd, START, 0) == b""
    assert read_user(kernel, pgd, START + 4096, 1) is None
    assert read_user(kernel, pgd, 1 << 60, 1) is None
    empty = np.zeros(0, dtype=np.uint64)
    assert read_user_ranges(kernel, empty, empty, empty.astype(np.int64)) == []


def test_splitting_arguments() -> None:
    assert split_arguments(b"") == []
    assert split_arguments(b"\0") == [b""]
    assert split_arguments(b"a\0") == [b"a"]
    assert split_arguments(b"a\0\0") == [b"a", b""]
    assert split_arguments(b"a\0b") == [b"a", b"b"]


@MODELS
def test_rss_is_exact(model: str) -> None:
    guest = Guest(model)
    made = [guest.mm(rss=(10, 20, 30, 40)), guest.mm(rss=(0, 1, 2, 3))]
    found = read_rss_pages(guest.kernel(), np.array(made, dtype=np.uint64))
    assert found.tolist() == [[10, 20, 30, 40], [0, 1, 2, 3]]


def test_the_number_of_cpus_is_bounded() -> None:
    guest = Guest("new")
    assert read_percpu_offsets(guest.kernel()) == [0, 64]
    guest.write(RODATA_GVA + AT["nr_cpu_ids"], b"\xff\xff\xff\xff")
    assert len(read_percpu_offsets(guest.kernel())) == mm.MAX_CPUS


@steady(100)
@given(
    st.dictionaries(
        st.sampled_from(["pgd", "arg_start", "arg_end", "env_start", "env_end"]), WORD_VALUES, min_size=1
    ),
    st.integers(-20, 9000),
    st.booleans(),
)
def test_mms_that_lie(values: dict[str, int], near: int, relative: bool) -> None:
    guest = Guest("new")
    honest, liar = guest.mm(b"honest\0"), guest.mm(b"a\0b", b"E=1\0")
    if relative:
        values = {name: START + near + value % 64 for name, value in values.items() if name != "pgd"}
    guest.set(liar, "mm_struct", values)
    kernel = guest.kernel(bytes_limit=32 << 20)
    both = read_mms(kernel, np.array([honest, liar], dtype=np.uint64))
    for read in (read_cmdlines, read_environ):
        answer = read(kernel, both)
        assert len(answer) == 2
    assert read_cmdlines(kernel, both)[0] == [b"honest"]
    assert read_rss_pages(kernel, np.array([liar, HEAP_GPA], dtype=np.uint64)).shape == (2, 4)
