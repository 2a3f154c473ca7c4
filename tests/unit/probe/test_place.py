from __future__ import annotations

import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kernel.fuzz import WORD_VALUES, steady
from tests.unit.linux.build import (
    AT,
    RESERVED_BIT,
    RODATA_GPA,
    RODATA_GVA,
    Guest,
)
from vmon.arch.x86_64.paging import Translation, translate
from vmon.core.address import Gpa, Gva
from vmon.core.errors import BadStructure, GuestDataError, NotSupported, UsageError
from vmon.core.ports import Patch
from vmon.probe.place import (
    ENTRIES,
    SLOT_GVA,
    LowPages,
    MappedPage,
    PageRun,
    encode_entries,
    encode_table_entry,
    find_low_pages,
    find_slot,
    mapping,
    maps_globally,
)

MODELS = pytest.mark.parametrize(
    ("model", "la57"), [("new", False), ("new", True), ("old", False), ("old", True)]
)


def guest_of(model: str = "new", la57: bool = False) -> Guest:
    return Guest(model, la57, code=True)


def set_reserved(guest: Guest, page: int, reserved: bool) -> None:
    at = AT["pages"] + 64 * page
    guest.image[at : at + 8] = struct.pack("<Q", (0x17FF << 48) | reserved << RESERVED_BIT)


def refused(found: LowPages, why: str) -> list[PageRun]:
    return [run for run, reason in found.refused if reason == why]


@MODELS
def test_all_low_pages_up_to_the_trampoline(model: str, la57: bool) -> None:
    found = find_low_pages(guest_of(model, la57).kernel())
    assert found == LowPages((PageRun(Gpa(0x1000), 0x97),), ())
    assert found.pages == 0x97


def test_what_may_be_handed_out_is_left_alone() -> None:
    """5.10: the first 64 KiB alone are reserved."""
    guest = guest_of()
    for page in range(0x10, 0x98):
        set_reserved(guest, page, False)
    found = find_low_pages(guest.kernel())
    assert found.usable == (PageRun(Gpa(0x1000), 15),)
    assert refused(found, "the guest may hand it out") == [PageRun(Gpa(0x10000), 0x88)]


def test_what_is_not_empty_is_left_alone() -> None:
    guest = guest_of()
    guest.low[0x6FFF] = guest.low[0x10000] = guest.low[0x11800] = 1
    found = find_low_pages(guest.kernel())
    assert refused(found, "not empty") == [PageRun(Gpa(0x6000), 1), PageRun(Gpa(0x10000), 2)]
    assert found.usable == (
        PageRun(Gpa(0x1000), 5),
        PageRun(Gpa(0x7000), 9),
        PageRun(Gpa(0x12000), 0x86),
    )


@pytest.mark.parametrize("header", [0x1F000, 0x1F800, 0x20FFF])
def test_the_trampoline_is_left_alone_wherever_it_is(header: int) -> None:
    guest = guest_of()
    guest.put64(RODATA_GVA + AT["real_mode_header"], guest.page_offset + header)
    (run,) = refused(find_low_pages(guest.kernel()), "real-mode trampoline")
    assert run.gpa == header & ~0xFFF
    assert run.pages == 7 if header & 0xFFF < 0xD00 else 8


def test_ram_is_what_e820_says() -> None:
    """Firmware's own memory is reserved too; a page that is RAM in part is not RAM."""
    guest = guest_of()
    stretches = (
        (0x8_0000, 0x1_0000, 1),
        (0x1000, 0x3800, 1),
        (0x4800, 0x800, 1),
        (0x9000, 0x1FFF, 1),
        (0, 0, 1),
    )
    stride = guest.size("e820_entry")
    data = b"".join(struct.pack("<QQI", *words).ljust(stride, b"\0") for words in stretches)
    guest.put64(RODATA_GVA + AT["e820_table"], guest.data(struct.pack("<I", len(stretches)) + data))
    found = find_low_pages(guest.kernel())
    assert found.usable == (
        PageRun(Gpa(0x1000), 4),  # two stretches that touch in the middle of a page
        PageRun(Gpa(0x9000), 1),
        PageRun(Gpa(0x80000), 0x10),
    )


def test_pages_that_the_machine_does_not_have() -> None:
    guest = guest_of()
    del guest.low[0x50000:]
    found = find_low_pages(guest.kernel())
    assert found.usable == (PageRun(Gpa(0x1000), 0x4F),)
    assert refused(found, "not RAM of the machine") == [PageRun(Gpa(0x50000), 0x48)]


@pytest.mark.parametrize("count", [0, 4097, 0xFFFF_FFFF])
def test_an_e820_of_impossible_size_is_refused(count: int) -> None:
    guest = guest_of()
    guest.put64(RODATA_GVA + AT["e820_table"], guest.data(struct.pack("<I", count)))
    with pytest.raises(BadStructure, match="e820"):
        find_low_pages(guest.kernel())


@pytest.mark.parametrize("name", ["e820_table", "real_mode_header", "real_mode_blob_end"])
def test_a_kernel_that_cannot_be_asked_is_refused(name: str) -> None:
    guest = guest_of()
    symbols = {known: at for known, at in guest.profile.symbols.items() if known != name}
    guest.profile = msgspec.structs.replace(guest.profile, symbols=symbols)
    with pytest.raises(BadStructure, match=name):
        find_low_pages(guest.kernel())


@pytest.mark.parametrize("enums", [{}, {"pageflags": {}}, {"pageflags": {"PG_reserved": 64}}])
def test_a_flag_that_is_not_there_is_refused(enums: dict[str, dict[str, int]]) -> None:
    guest = guest_of()
    guest.profile = msgspec.structs.replace(guest.profile, enums=enums)
    with pytest.raises(BadStructure):
        find_low_pages(guest.kernel())


def test_a_trampoline_of_impossible_size_is_refused() -> None:
    guest = guest_of()
    symbols = {**guest.profile.symbols, "real_mode_blob_end": guest.profile.symbols["real_mode_blob"]}
    guest.profile = msgspec.structs.replace(guest.profile, symbols=symbols)
    with pytest.raises(BadStructure, match="trampoline of 0 bytes"):
        find_low_pages(guest.kernel())


@MODELS
def test_the_slot(model: str, la57: bool) -> None:
    guest = guest_of(model, la57)
    slot = find_slot(guest.kernel())
    assert (slot.gva, slot.entry, slot.free) == (SLOT_GVA, 0, True)
    assert slot.entry_gpa == guest.gpa(guest.kernel().symbol("level2_kernel_pgt"))
    guest.write_phys(slot.entry_gpa, struct.pack("<Q", 0x1000))
    taken = find_slot(guest.kernel())
    assert (taken.entry, taken.free) == (0x1000, False), "not present, but not nothing either"


@MODELS
def test_what_is_encoded_appears_in_the_slot(model: str, la57: bool) -> None:
    """The pages as the guest's own tables then show them."""
    guest = guest_of(model, la57)
    slot = find_slot(guest.kernel())
    pages = [
        MappedPage(Gpa(0x2000), executable=True),
        MappedPage(Gpa(0x3000), writable=True),
        None,
        MappedPage(Gpa(0x9000)),
    ]
    guest.write_phys(0x1000, encode_entries(pages, globally=True))
    guest.write_phys(slot.entry_gpa, struct.pack("<Q", encode_table_entry(Gpa(0x1000))))
    kernel = guest.kernel()

    def at(page: int) -> Translation | None:
        bases = kernel.memory.bases
        return translate(kernel.memory.phys, bases.page_table_root, Gva(SLOT_GVA + page * 4096), bases.la57)

    assert at(0) == Translation(Gpa(0x2000), 4096, False, False, True)
    assert at(1) == Translation(Gpa(0x3000), 4096, True, False, False)
    assert at(3) == Translation(Gpa(0x9000), 4096, False, False, False)
    assert [at(page) for page in (2, 4, 511)] == [None] * 3


@pytest.mark.parametrize("level", range(2))
def test_tables_that_end_before_the_slot_are_refused(level: int) -> None:
    guest = guest_of()
    table = RODATA_GPA + AT["init_top_pgt"]
    for shift in (39, 30)[: level + 1]:
        place = table + 8 * (SLOT_GVA >> shift & 511)
        table = guest.u64(guest.gva(place)) & ~0xFFF
    for entry in (0, 0x83):
        if (level, entry) == (0, 0x83):
            continue  # a page bit means nothing in the root
        guest.write_phys(place, struct.pack("<Q", entry))
        with pytest.raises(BadStructure, match="behind the slot"):
            find_slot_of(guest)


def find_slot_of(guest: Guest) -> None:
    """Without the checks of identify, which would have refused such tables before."""
    kernel = guest_of().kernel()
    kernel.memory.phys = guest.ram()
    find_slot(kernel)


def test_a_symbol_that_contradicts_the_tables_is_refused() -> None:
    guest = guest_of()
    symbols = {**guest.profile.symbols, "level2_kernel_pgt": guest.profile.symbols["init_top_pgt"]}
    guest.profile = msgspec.structs.replace(guest.profile, symbols=symbols)
    with pytest.raises(BadStructure, match="level2_kernel_pgt"):
        find_slot(guest.kernel())


@pytest.mark.parametrize(("globally", "bit"), [(True, 0x100), (False, 0)])
def test_bits_of_the_entries(globally: bool, bit: int) -> None:
    """As Linux has them: 0x161 and 0x163 with no-execute; dirty and read-only would be a shadow stack."""
    pages = [
        MappedPage(Gpa(0x2000), False, True),
        MappedPage(Gpa(0x3000), True),
        None,
        MappedPage(Gpa(0x4000)),
    ]
    words = struct.unpack("<4Q", encode_entries(pages, globally=globally))
    no_execute = 1 << 63
    assert words == (0x2021 | bit, no_execute | 0x3063 | bit, 0, no_execute | 0x4021 | bit)
    assert encode_table_entry(Gpa(0x5000)) == 0x5063


@MODELS
def test_entries_are_global_where_the_kernels_own_are(model: str, la57: bool) -> None:
    guest = guest_of(model, la57)
    mask = RODATA_GVA + AT["__default_kernel_pte_mask"]
    guest.put64(mask, 0xFFFF_FFFF_FFFF_FFFF)
    assert maps_globally(guest.kernel())
    guest.put64(mask, 0xFFFF_FFFF_FFFF_FEFF)
    assert not maps_globally(guest.kernel())
    guest.put64(mask, 0xFFFF_FFFF_FFFF_FFFF)
    symbols = {name: at for name, at in guest.profile.symbols.items() if name != "__default_kernel_pte_mask"}
    guest.profile = msgspec.structs.replace(guest.profile, symbols=symbols)
    assert not maps_globally(guest.kernel()), "what is not known is taken for the worse"


@pytest.mark.parametrize("gpa", [0, 0x1001, 1 << 52, -4096])
def test_no_page_is_there(gpa: int) -> None:
    with pytest.raises(UsageError):
        encode_entries([MappedPage(Gpa(gpa))], globally=False)
    with pytest.raises(UsageError):
        encode_table_entry(Gpa(gpa))


def test_the_slot_leads_to_one_table_only() -> None:
    guest = guest_of()
    slot = find_slot(guest.kernel())
    entry = encode_table_entry(Gpa(0x5000)).to_bytes(8, "little")
    assert mapping(slot, Gpa(0x5000)) == Patch(slot.entry_gpa, bytes(8), entry)
    guest.write_phys(slot.entry_gpa, entry)
    assert mapping(find_slot(guest.kernel()), Gpa(0x5000)) == Patch(slot.entry_gpa, entry, entry)
    with pytest.raises(NotSupported, match="somebody else's"):
        mapping(find_slot(guest.kernel()), Gpa(0x6000))


def test_nothing_is_writable_and_executable() -> None:
    with pytest.raises(UsageError, match="writable and executable"):
        encode_entries([MappedPage(Gpa(0x1000), True, True)], globally=False)
    with pytest.raises(UsageError, match="512 entries"):
        encode_entries([None] * (ENTRIES + 1), globally=False)


LIES = st.tuples(
    st.sampled_from(["real_mode_header", "e820_table", "entry", "page"]), st.integers(0, 300), WORD_VALUES
)


@steady(150)
@given(st.lists(LIES, max_size=5))
def test_a_kernel_that_lies_about_its_memory(lies: list[tuple[str, int, int]]) -> None:
    guest = guest_of()
    e820 = guest.u64(RODATA_GVA + AT["e820_table"])
    for what, at, value in lies:
        if what == "entry":
            guest.put64(e820 + 4 + at % 96, value)
        elif what == "page":
            guest.put64(RODATA_GVA + AT["pages"] + 8 * at, value)
        else:
            guest.put64(RODATA_GVA + AT[what], value)
    try:
        found = find_low_pages(guest.kernel())
    except GuestDataError:
        return
    pages = [run.gpa // 4096 + number for run in found.usable for number in range(run.pages)]
    assert all(1 <= page < 0x98 for page in pages)
    assert len(pages) == len(set(pages)) == found.pages
