from __future__ import annotations

import random
import struct
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kernel.build import LAYOUTS, TEXT_GVA, Layout, filler_symbols, kallsyms
from tests.unit.kernel.fuzz import WORD_VALUES, damaged, steady
from vmon.core.errors import BadStructure
from vmon.kernel import kallsyms as decoder
from vmon.kernel.kallsyms import DIGITS, locate_kallsyms

AT = 0x1_0000
IMAGE_GVA = 0xFFFF_FFFF_8220_0000
LONG = "t" + "".join(random.Random(5).choices("XYZQ", k=300))


@cache
def symbols_of(layout: Layout, count: int = 4700) -> tuple[tuple[str, int], ...]:
    symbols = filler_symbols(count)
    symbols[300] = ("Tvfs_read_lock", TEXT_GVA + 0x1234)
    symbols[301] = ("t__x64_sys_openat", TEXT_GVA + 0x2345)
    symbols[302] = ("dinit_task", 0xFFFF_FFFF_8280_0000)
    if layout.seqs:  # two-byte lengths came with 6.1, as seqs_of_names did
        symbols[303] = (LONG, TEXT_GVA + 0x3456)
    if layout.rule == "absolute-percpu":
        symbols[0] = ("Afixed_percpu_data", 0)
        symbols[1] = ("Acpu_info", 0x1B000)
    return tuple(symbols)


@cache
def image_of(layout: Layout, symbols: tuple[tuple[str, int], ...]) -> bytes:
    table, _ = kallsyms(symbols, layout, AT, IMAGE_GVA)
    before = bytearray(random.Random(1).randbytes(AT))
    before[0x400 : 0x400 + len(DIGITS)] = DIGITS  # a decoy, as real rodata has several
    return bytes(before) + table + random.Random(2).randbytes(4096)


@pytest.fixture(scope="module", params=LAYOUTS, ids=lambda layout: layout.name)
def layout(request: pytest.FixtureRequest) -> Layout:
    return request.param


def test_every_symbol_comes_back(layout: Layout) -> None:
    symbols = symbols_of(layout)
    table = locate_kallsyms(image_of(layout, symbols))
    assert table.rule == layout.rule
    assert table.expand() == [text for text, _ in symbols]
    assert table.addresses(IMAGE_GVA).tolist() == [address for _, address in symbols]


@pytest.mark.parametrize("count", [4352 + 1, 4352 + 255, 4608])
def test_a_last_block_that_is_not_full_or_just_full(layout: Layout, count: int) -> None:
    symbols = symbols_of(layout, count)
    table = locate_kallsyms(image_of(layout, symbols))
    assert table.count == count
    assert table.name(count - 1) == symbols[-1][0]
    assert int(table.addresses(IMAGE_GVA)[-1]) == symbols[-1][1]


def test_find_gives_the_index_of_wanted_names_only(layout: Layout) -> None:
    symbols = symbols_of(layout)
    table = locate_kallsyms(image_of(layout, symbols))
    assert table.find(["init_task", "__x64_sys_openat", "vfs_read_lock", "vfs_reed_lock", "nothing"]) == {
        "init_task": 302,
        "__x64_sys_openat": 301,
        "vfs_read_lock": 300,
    }
    assert table.find([]) == {}
    if layout.seqs:
        assert table.find([LONG[1:]]) == {LONG[1:]: 303}


def test_find_gives_the_first_of_equal_names() -> None:
    symbols = list(symbols_of(LAYOUTS[2]))
    symbols[4000] = symbols[302][0], TEXT_GVA
    assert locate_kallsyms(image_of(LAYOUTS[2], tuple(symbols))).find(["init_task"]) == {"init_task": 302}


def test_place_relative_addresses_do_not_need_to_know_the_slide() -> None:
    """identify() decodes with image_gva 0: every address counts from the image, also what lies before it."""
    layout = LAYOUTS[4]
    table = locate_kallsyms(image_of(layout, symbols_of(layout)))
    here = table.addresses()
    assert int(here[302]) == (0xFFFF_FFFF_8280_0000 - IMAGE_GVA)
    assert int(here[300]) == (TEXT_GVA + 0x1234 - IMAGE_GVA) % (1 << 64)


def test_an_image_without_a_table_says_so() -> None:
    for image in (b"", b"\0" * 8192, random.Random(3).randbytes(1 << 16)):
        with pytest.raises(BadStructure, match="kallsyms: no token table") as caught:
            locate_kallsyms(image)
        assert caught.value.field == "kallsyms"


def test_an_image_cut_in_the_middle_of_its_table_is_refused(layout: Layout) -> None:
    image = image_of(layout, symbols_of(layout))
    whole = locate_kallsyms(image)
    for end in range(AT, whole.offsets_at + 4 * whole.count, 9973):
        with pytest.raises(BadStructure):
            locate_kallsyms(image[:end])


def test_a_name_that_is_one_byte_longer_than_it_says_is_refused() -> None:
    layout = LAYOUTS[2]
    image = bytearray(image_of(layout, symbols_of(layout)))
    start = int(locate_kallsyms(bytes(image)).starts[700]) - 1
    image[start] += 1
    with pytest.raises(BadStructure, match="names"):
        locate_kallsyms(bytes(image))


def test_a_symbol_count_beyond_the_limit_sizes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "MAX_SYMBOLS", 4000)
    with pytest.raises(BadStructure):
        locate_kallsyms(image_of(LAYOUTS[3], symbols_of(LAYOUTS[3])))


def test_an_image_full_of_digit_tokens_ends_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = count_calls(monkeypatch, "_read_tokens")
    with pytest.raises(BadStructure):
        locate_kallsyms(DIGITS * 20_000)
    assert 0 < len(tries) <= 64 * 16


def test_thousands_of_plausible_markers_and_counts_end_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = count_calls(monkeypatch, "_positions")
    layout = LAYOUTS[3]
    table, _ = kallsyms(symbols_of(layout), layout)
    tokens_at = next(decoder._token_tables(table)).start
    run = struct.pack("<20I", *(1000 * number for number in range(20)))
    # Before every run of markers lies a field of numbers that are all a fitting count of symbols.
    hostile = (struct.pack("<I", 20 * 256) * 6000 + run) * 200
    image = hostile + table[tokens_at:]
    with pytest.raises(BadStructure):
        locate_kallsyms(image)
    assert 0 < len(tries) <= 1000


def count_calls(monkeypatch: pytest.MonkeyPatch, name: str) -> list[None]:
    calls: list[None] = []
    inner = getattr(decoder, name)

    def counting(*arguments: object) -> object:
        calls.append(None)
        return inner(*arguments)

    monkeypatch.setattr(decoder, name, counting)
    return calls


SMALL_IMAGES = {
    layout.name: b"\0" * 64 + kallsyms(symbols_of(layout, 4360), layout, 64, IMAGE_GVA)[0] + b"\0" * 64
    for layout in LAYOUTS
}


def check(image: bytes) -> None:
    """Either a table whose every part can be used, or BadStructure."""
    try:
        table = locate_kallsyms(image)
    except BadStructure:
        return
    assert table.addresses().shape == (table.count,) == table.starts.shape
    assert np.all(table.starts + table.lengths <= len(image))
    assert len(table.expand()) == table.count
    table.find(["init_task", "x"])


@steady(120)
@given(st.sampled_from(sorted(SMALL_IMAGES)).flatmap(lambda name: damaged(SMALL_IMAGES[name])))
def test_damaged_tables(image: bytes) -> None:
    check(image)


@steady(60)
@given(
    st.sampled_from(sorted(SMALL_IMAGES)),
    st.sampled_from(["count", "markers", "tokens", "index", "offsets", "names"]),
    st.data(),
)
def test_tables_damaged_where_it_hurts(name: str, part: str, data: st.DataObject) -> None:
    image = bytearray(SMALL_IMAGES[name])
    table = locate_kallsyms(bytes(image))
    names_end = int(table.starts[-1] + table.lengths[-1])
    tokens_at = image.index(DIGITS, names_end)
    low, high = {
        "count": (max(0, int(table.starts[0]) - 24), int(table.starts[0])),
        "names": (int(table.starts[0]) - 1, names_end),
        "markers": (names_end, names_end + 80),
        "tokens": (tokens_at - 200, tokens_at + 600),
        "index": (tokens_at + 300, tokens_at + 1300),
        "offsets": (table.offsets_at, table.offsets_at + 4 * table.count),
    }[part]
    for _ in range(data.draw(st.integers(1, 4))):
        size = data.draw(st.sampled_from([1, 2, 4]))
        at = data.draw(st.integers(low, min(high, len(image) - size)))
        image[at : at + size] = (data.draw(WORD_VALUES) % (1 << 8 * size)).to_bytes(size, "little")
    check(bytes(image))


@steady(60)
@given(st.lists(st.one_of(st.binary(max_size=64), st.just(DIGITS), st.just(b"\0" * 64)), max_size=40))
def test_random_bytes(pieces: list[bytes]) -> None:
    check(b"".join(pieces))


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_where_the_parts_lie(layout: Layout) -> None:
    symbols = filler_symbols(4400)
    data, base = kallsyms(symbols, layout, 4096, TEXT_GVA)
    image = bytes(4096) + data + bytes(4096)
    found = locate_kallsyms(image)
    parts = found.parts()

    def number(name: str, size: int) -> int:
        return int.from_bytes(image[parts[name] : parts[name] + size], "little")

    assert number("kallsyms_num_syms", 4) == 4400
    assert (
        number("kallsyms_markers", 4)
        == 0
        < int.from_bytes(image[parts["kallsyms_markers"] + 4 :][:4], "little")
    )
    assert image[parts["kallsyms_names"]] == found.lengths[0]
    assert image[parts["kallsyms_token_index"] :][:2] == bytes(2)
    assert image[parts["kallsyms_token_table"] :].startswith(b"\0".join(found.tokens[:3]))
    assert parts["kallsyms_offsets"] == found.offsets_at
    if layout.rule == "place-relative":
        assert "kallsyms_relative_base" not in parts
    else:
        assert number("kallsyms_relative_base", 8) == base
