from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kernel.fuzz import BoundedRam, steady
from vmon.core.address import Gpa
from vmon.kernel import image
from vmon.kernel.image import MAX_CANDIDATES, find_images, read_image, sample_ram

MIB2 = 2 << 20
BANNER = b"Linux version 6.1.0-13-amd64 (debian-kernel) (gcc) #1 SMP"


def block(at: int, text: bytes = BANNER) -> bytes:
    return bytes(at) + text + bytes(4096 - at - len(text))


def test_banners_in_the_first_kilobyte_of_a_2_mib_boundary() -> None:
    ram = BoundedRam({MIB2: block(0xE0), 3 * MIB2: block(0x200, BANNER.replace(b"6.1.0", b"7.2.1"))})
    assert [(c.rodata_gpa, c.release) for c in find_images(ram)] == [
        (MIB2, "6.1.0-13-amd64"), (3 * MIB2, "7.2.1-13-amd64"),
    ]  # fmt: skip


def test_banners_elsewhere_are_no_images() -> None:
    places = {MIB2 + 0x1000: block(0xE0), 2 * MIB2: block(1020), 3 * MIB2: block(0, b"Linux version six")}
    assert find_images(BoundedRam(places)) == []


def test_one_candidate_for_two_banners_at_one_place() -> None:
    assert len(find_images(BoundedRam({MIB2: block(0x10, BANNER + b"\n" + BANNER)}))) == 1


def test_ram_that_ends_within_the_probe_is_not_read() -> None:
    assert find_images(BoundedRam({MIB2: block(0x10)[:1000]})) == []


def test_planted_banners_are_bounded() -> None:
    ram = BoundedRam({number * MIB2: block(0x10) for number in range(1, 2 * MAX_CANDIDATES)})
    assert len(find_images(ram)) == MAX_CANDIDATES


def test_an_image_is_read_to_its_limit_and_to_the_end_of_ram() -> None:
    ram = BoundedRam({0x1000: b"\1" * 0x2000, 0x8000: b"\2" * 0x1000})
    assert read_image(ram, Gpa(0x1800), 0x100) == b"\1" * 0x100
    assert read_image(ram, Gpa(0x1800), 1 << 30) == b"\1" * 0x1800
    assert read_image(ram, Gpa(0x4000), 0x100) == b""


def test_a_sample_tells_noise_from_zeros_from_data() -> None:
    noise = sample_ram(BoundedRam({0: random.Random(1).randbytes(64 << 12)}))
    assert (noise.noise_share, noise.nonzero_pages, noise.banner_gpa) == (1.0, 64, None)
    plain = sample_ram(BoundedRam({0: b"text and more text. " * 8192}))
    assert plain.noise_share == 0.0
    assert plain.nonzero_pages == 40
    empty = sample_ram(BoundedRam({0: bytes(1 << 20)}))
    assert (empty.populated_bytes, empty.nonzero_pages, empty.noise_share) == (0, 0, 0.0)


def test_a_sample_finds_a_banner_anywhere() -> None:
    assert sample_ram(BoundedRam({0x3000: b"x" * 4096 + BANNER + bytes(4096)})).banner_gpa == 0x4000


def test_a_search_for_a_banner_is_bounded() -> None:
    ram = BoundedRam({0: b"x" * 0x40_0000 + BANNER})
    assert sample_ram(ram, pages=4, search_limit_bytes=0x10_0000).banner_gpa is None
    assert ram.bytes_read < 0x20_0000


def test_a_sample_of_scattered_pages_is_bounded() -> None:
    """A guest that touches every second page has as many runs of RAM as it wants."""
    ram = BoundedRam({number << 13: b"x" * 4096 for number in range(400)})
    sample = sample_ram(ram, pages=20, search_limit_bytes=0)
    assert sample.populated_bytes == 400 << 12
    assert 20 <= sample.sampled_pages <= 40


@steady(60)
@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 1100), st.sampled_from([BANNER, BANNER[:20], b"\xff"])),
        max_size=4,
        unique_by=lambda item: item[0],
    ),
    st.binary(max_size=64),
)  # fmt: skip
def test_any_ram(places: list[tuple[int, int, bytes]], noise: bytes) -> None:
    ram = BoundedRam({number * MIB2: block(at, text + noise) for number, at, text in places})
    found = find_images(ram)
    assert {c.rodata_gpa % MIB2 for c in found} <= {0}
    assert all(0 < len(c.release) < 80 and c.release == c.release.split()[0] for c in found)
    assert {number * MIB2 for number, at, text in places if text == BANNER and at + len(text) < 1024} <= {
        c.rodata_gpa for c in found
    }
    sample_ram(ram, pages=8)
    assert image.BANNER.pattern
