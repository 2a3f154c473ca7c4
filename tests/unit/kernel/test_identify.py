from __future__ import annotations

import random
import struct
from collections.abc import Iterable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kernel.build import BtfBuilder
from tests.unit.kernel.fuzz import WORD_VALUES, BoundedRam, steady
from tests.unit.linux.build import (
    AT,
    BANNER,
    BUILD_ID,
    HEAP_GPA,
    PAGE_OFFSET,
    RELEASE,
    RODATA_GPA,
    RODATA_GVA,
    TEXT_GPA,
    TEXT_GVA,
    VMALLOC,
    VMEMMAP,
    WANTS,
    Guest,
    profile_of,
    registers,
)
from vmon.core.address import Gpa
from vmon.core.errors import (
    GuestDataError,
    GuestEncrypted,
    IdentifyError,
    NoKernelYet,
    NotLinux,
    NoTypeInformation,
    VmonError,
)
from vmon.core.ports import Registers
from vmon.kernel.identify import Identity, identify
from vmon.kernel.image import find_images
from vmon.kernel.memory import KernelBases
from vmon.kernel.profile import KernelProfile
from vmon.transport.fake import FakeMachine, FakeRam

BOTH = pytest.mark.parametrize("model", ["new", "old"])
LA57 = pytest.mark.parametrize("la57", [False, True])


class Known:
    """A shelf of profiles in a dict; counts what is taken from it."""

    def __init__(self, *profiles: KernelProfile) -> None:
        self.profiles = {profile.build_id: profile for profile in profiles}
        self.loaded: list[str] = []
        self.trusted: set[tuple[str, Gpa]] = set()

    def build_ids(self) -> Iterable[tuple[int, str]]:
        return [(profile.build_id_offset, build_id) for build_id, profile in self.profiles.items()]

    def load(self, build_id: str) -> Iterable[KernelProfile]:
        self.loaded.append(build_id)
        return [self.profiles[build_id]]

    def trusts(self, profile: KernelProfile, rodata: Gpa) -> bool:
        return (profile.proof, rodata) in self.trusted

    def trust(self, profile: KernelProfile, rodata: Gpa) -> None:
        self.trusted.add((profile.proof, rodata))


def booted(model: str = "new", la57: bool = False) -> Guest:
    guest = Guest(model, la57)
    guest.process(1, b"init")
    guest.process(2, b"kthreadd", flags=0x0020_0000)
    return guest


def machine(la57: bool = False, **changes: int) -> FakeMachine:
    values = registers(la57)
    return FakeMachine([Registers(**{**{f: getattr(values, f) for f in values.__slots__}, **changes})])


def ask(guest: Guest, regs: FakeMachine | None = None, known: Known | None = None) -> Identity:
    return identify(guest.ram(), regs, WANTS, known or Known())


@BOTH
@LA57
def test_a_kernel_never_met_is_learnt(model: str, la57: bool) -> None:
    found = ask(booted(model, la57), machine(la57))
    learnt, expected = found.profile, profile_of(model)
    assert learnt.structs == expected.structs
    assert learnt.enums == expected.enums
    assert {name: learnt.symbols[name] for name in learnt.symbols} == {
        name: at for name, at in expected.symbols.items() if name in learnt.symbols
    }
    assert (learnt.release, learnt.banner, learnt.build_id) == (RELEASE, BANNER.decode(), BUILD_ID.hex())
    assert learnt.build_id_offset == expected.build_id_offset
    assert found.bases == KernelBases(
        text_gpa=TEXT_GPA,
        text_gva=TEXT_GVA,
        image_size_bytes=0x8_0000 + (2 << 20),
        kaslr_slide=TEXT_GVA - 0xFFFF_FFFF_8100_0000,
        page_offset_base=PAGE_OFFSET[la57],
        vmalloc_base=VMALLOC[la57],
        vmemmap_base=VMEMMAP[la57],
        page_table_root=RODATA_GPA + AT["init_top_pgt"],
        la57=la57,
    )
    assert (found.alive, found.from_cache, found.candidates) == (True, False, 1)
    checks = "banner kallsyms linux_banner BTF|build id|image map|direct map|first tasks|cr3"
    assert [item.check for item in found.evidence] == checks.replace(" ", "|", 3).replace(
        " BTF", "|BTF"
    ).split("|")
    assert all(item.passed and item.detail for item in found.evidence)


def test_what_a_kernel_lacks_is_listed() -> None:
    missing = ask(booted("old")).profile.missing
    assert "mm_struct.mm_mt" in missing
    assert "timekeeper_data" in missing
    assert "mm_struct.mmap" not in missing


def test_a_build_met_before_is_recalled_and_still_checked() -> None:
    known = Known(profile_of("new"))
    found = ask(booted(), machine(), known)
    assert found.from_cache
    assert found.profile is profile_of("new")
    assert known.loaded == [BUILD_ID.hex()]
    assert [item.check for item in found.evidence][1:] == [
        "build id",
        "image map",
        "direct map",
        "first tasks",
        "cr3",
    ]
    broken = booted()
    broken.set(broken.init_task, "task_struct", {"comm": b"imposter"})
    with pytest.raises(NoKernelYet, match="not the swapper"):
        ask(broken, machine(), known)


def test_a_profile_that_a_liar_left_is_not_used_for_an_honest_guest() -> None:
    """Same build id, other types: what the profile was learnt from is not in this guest."""
    learnt = profile_of("new")
    lie = msgspec.structs.replace(learnt, proof_spans=((0, 64),), proof="00" * 32)
    found = ask(booted(), machine(), Known(lie))
    assert not found.from_cache
    assert found.profile.proof != lie.proof
    known = Known(lie)
    ram = booted().ram()
    candidate = find_images(ram)[0]
    known.trust(lie, candidate.rodata_gpa)
    assert identify(ram, machine(), WANTS, known).from_cache, "a guest that proved it once is not asked again"


def test_a_known_build_that_is_not_here_changes_nothing() -> None:
    guest = booted()
    guest.image[AT["__start_notes"] + 16] ^= 1
    found = ask(guest, machine(), Known(profile_of("new")))
    assert not found.from_cache
    assert found.profile.build_id != BUILD_ID.hex()


def test_without_registers_one_candidate_is_taken_and_aliveness_is_not_claimed() -> None:
    found = ask(booted())
    assert found.alive is None
    assert "cr3" not in [item.check for item in found.evidence]


def test_with_kpti_the_user_half_of_the_tables_counts_too() -> None:
    guest = booted()
    # In user mode CR3 is the page after the kernel's root, which maps almost nothing: bit 12 set, with a PCID.
    half = AT["init_top_pgt"] + 4096
    assert not any(guest.image[half : half + 4096])
    assert ask(guest, machine(cr3=RODATA_GPA + half | 0x801)).alive


def test_a_whole_kernel_that_no_cpu_runs_on_is_a_leftover() -> None:
    guest = booted()
    elsewhere = guest.alloc(4096, 4096)
    with pytest.raises(NoKernelYet, match="the CPU does not run on it"):
        ask(guest, machine(cr3=guest.gpa(elsewhere)))


def two_kernels(shift: int = 64 << 20) -> tuple[FakeRam, int]:
    """A guest, and the same guest again `shift` bytes higher with page tables of its own: what a reset leaves."""
    guest = booted()
    image = bytearray(guest.image)
    for at in range(AT["init_top_pgt"], AT["kallsyms"], 8):
        entry = int.from_bytes(image[at : at + 8], "little")
        target = entry & 0x000F_FFFF_FFFF_F000
        if entry & 1 and TEXT_GPA <= target < HEAP_GPA:
            image[at : at + 8] = (entry + shift).to_bytes(8, "little")
    image[AT["phys_base"] : AT["phys_base"] + 8] = struct.pack(
        "<q", TEXT_GPA + shift + 0xFFFF_FFFF_8000_0000 - TEXT_GVA
    )
    ram = BoundedRam({RODATA_GPA: guest.image, HEAP_GPA: guest.heap, RODATA_GPA + shift: image})
    return ram, RODATA_GPA + shift + AT["init_top_pgt"]


def test_of_two_kernels_the_one_that_the_cpu_runs_on() -> None:
    ram, other = two_kernels()
    for cr3, text in ((other, TEXT_GPA + (64 << 20)), (registers().cr3, TEXT_GPA)):
        found = identify(ram, machine(cr3=cr3), WANTS, Known())
        assert found.bases.text_gpa == text
        assert found.candidates == 2
        assert found.alive


def test_two_kernels_and_no_registers_are_not_guessed() -> None:
    ram, _ = two_kernels()
    with pytest.raises(IdentifyError, match="several whole kernels"):
        identify(ram, None, WANTS, Known())


# Why there is none: a sentence and an exit code each


def test_firmware_other_systems_noise_and_stray_banners() -> None:
    cases: list[tuple[dict[int, bytes], int, type[IdentifyError], str]] = [
        ({0: bytes(1 << 20)}, 0, NoKernelYet, "the CPU is not in 64-bit mode"),
        ({0: bytes(1 << 20)}, 0x500, NoKernelYet, "almost all RAM is zero"),
        ({0: b"\x90\x91" * (26 << 19)}, 0x500, NotLinux, "not a Linux that vmon knows"),
        ({0: random.Random(1).randbytes(1 << 20)}, 0x500, GuestEncrypted, "indistinguishable from random"),
        ({0x5000: BANNER + bytes(4096)}, 0x500, NotLinux, "a Linux banner lies at 0x5000"),
    ]
    for memory, efer, kind, sentence in cases:
        with pytest.raises(kind, match=sentence) as caught:
            identify(BoundedRam(memory), machine(efer=efer), WANTS, Known())
        assert type(caught.value) is kind
        assert caught.value.hint or kind is NotLinux


def test_a_kernel_without_types() -> None:
    guest = booted()
    guest.image[AT["__start_BTF"]] = 0
    with pytest.raises(NoTypeInformation, match=r"BTF of Linux 6\.66\.0-fake-amd64 is damaged: BTF magic"):
        ask(guest)


def test_a_kernel_whose_symbols_lack_one_that_is_needed() -> None:
    guest = booted()
    place = guest.image.index(b"D", AT["kallsyms"])
    start = guest.image.index(b"Dphys_base", place)
    guest.image[start + 5] = ord("X")
    with pytest.raises(NoTypeInformation, match="lacks phys_base"):
        ask(guest)


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("phys_base", struct.pack("<Q", 0x1234_5000), "page tables do not map the image"),
        ("page_offset_base", struct.pack("<Q", 0xFFFF_8881_0000_0000), "page tables do not map"),
        ("init_top_pgt", bytes(4096), "page tables do not map"),
        ("linux_banner", b"Linux version 6.6\0", "linux_banner does not lead|6.6"),
        ("kallsyms", bytes(0x4000), "kallsyms"),
        ("__start_notes", bytes(64), "no build id"),
    ],
)
def test_a_half_written_image_is_no_kernel_yet(name: str, value: bytes, complaint: str) -> None:
    guest = booted()
    guest.image[AT[name] : AT[name] + len(value)] = value
    if name == "linux_banner":
        # The banner that is searched for stays; the symbol leads to another text.
        guest.image[AT[name] : AT[name] + 16] = b"Linus version 6."
        guest.image[0x300 : 0x300 + len(BANNER)] = BANNER
    with pytest.raises(NoKernelYet, match=complaint) as caught:
        ask(guest)
    assert "try again" in caught.value.hint


def test_a_kernel_with_the_swapper_alone_is_still_booting() -> None:
    with pytest.raises(NoKernelYet, match="only the swapper"):
        ask(Guest("new"))


def test_a_second_task_that_is_not_pid_1() -> None:
    guest = Guest("new")
    guest.process(7, b"early")
    with pytest.raises(NoKernelYet, match="the second task has pid 7"):
        ask(guest)


def test_bases_that_move_while_they_are_read() -> None:
    guest = booted()
    where = RODATA_GPA + AT["page_offset_base"]
    reads = 0

    def moving(ram: FakeRam, _row: int) -> None:
        nonlocal reads
        if ram.log and ram.log[-1].gpas == (where,):
            reads += 1
            if reads == 2:  # KASLR of memory settles after the first look
                ram.guest_writes(where, struct.pack("<Q", PAGE_OFFSET[False] + (1 << 30)))

    ram = FakeRam({RODATA_GPA: guest.image, HEAP_GPA: guest.heap}, moving=moving)
    with pytest.raises(NoKernelYet, match=r"do not map|moved"):
        identify(ram, None, WANTS, Known())
    assert reads >= 2


# Hostile


def test_a_banner_without_a_release() -> None:
    guest = booted()
    guest.image[0x300 : 0x300 + len(BANNER)] = BANNER  # what the search finds
    guest.image[AT["linux_banner"] : AT["linux_banner"] + 32] = b"Linux version ".ljust(32, b"\0")
    with pytest.raises(NoKernelYet, match="does not lead to a banner"):
        ask(guest)


def test_a_swapper_whose_name_is_not_utf_8() -> None:
    guest = booted()
    guest.set(guest.init_task, "task_struct", {"comm": b"swapper\xff\x1b[2J"})
    evidence = [item.detail for item in ask(guest).evidence if item.check == "first tasks"]
    assert "swapper" in evidence[0]


def test_types_that_lie_are_refused_with_a_sentence() -> None:
    b = BtfBuilder()
    u64 = b.integer("u64", 8)
    b.composite("list_head", 16, [("next", u64, 0, 0), ("prev", u64, 64, 0)])
    b.composite(
        "task_struct", 0xFFFF_FFF0, [("tasks", 2, 0, 0), ("comm", u64, 8 * 200, 0), ("pid", u64, 128, 0)]
    )
    guest = booted()
    blob = b.blob()
    end = AT["__start_BTF"] + len(blob)
    guest.image[AT["__start_BTF"] : end] = blob
    with pytest.raises(NoKernelYet, match="a field of"):
        ask(guest)


def check(ram: FakeRam, known: Known) -> None:
    """A judgement, or a VmonError that is an IdentifyError."""
    try:
        found = identify(ram, machine(), WANTS, known)
    except IdentifyError as error:
        assert error.exit_code in (10, 11, 12, 13, 14)
        return
    except VmonError as error:
        raise AssertionError(f"{type(error).__name__} is no judgement") from error
    assert found.alive


IMAGES = {model: booted(model) for model in ("new", "old")}
KNOWN = {model: Known(profile_of(model)) for model in IMAGES}
PARTS = [
    (0, 0x400),
    (AT["__start_notes"], AT["__start_notes"] + 0x40),
    (AT["__start_BTF"], AT["init_task"]),
    (AT["init_task"], AT["init_task"] + 0x1000),
    (AT["phys_base"], AT["phys_base"] + 0x80),
    (AT["init_top_pgt"], AT["kallsyms"]),
    (AT["kallsyms"], len(IMAGES["new"].image)),
]


@st.composite
def edits(draw: st.DrawFn, data: bytes) -> list[tuple[int, bytes]]:
    made = []
    for _ in range(draw(st.integers(1, 5))):
        low, high = draw(st.sampled_from(PARTS))
        busy = [at for at in range(low, min(high, len(data) - 8), 8) if any(data[at : at + 8])]
        at = draw(st.sampled_from(busy)) + draw(st.integers(0, 7))
        size = draw(st.sampled_from([1, 2, 4, 8]))
        made.append((at, (draw(WORD_VALUES) % (1 << 8 * size)).to_bytes(size, "little")))
    return made


@steady(80)
@given(st.sampled_from(["new", "old"]), st.booleans(), st.data())
def test_damaged_images(model: str, recalled: bool, data: st.DataObject) -> None:
    guest = IMAGES[model]
    ram = guest.ram()
    for at, value in data.draw(edits(bytes(guest.image))):
        ram.guest_writes(RODATA_GPA + at, value[: len(guest.image) - at])
    check(ram, KNOWN[model] if recalled else Known())


@steady(30)
@given(st.sampled_from(["new", "old"]), st.integers(0x1000, len(IMAGES["new"].image)), st.integers(0, 255))
def test_images_that_were_written_up_to_a_point(model: str, end: int, fill: int) -> None:
    guest = IMAGES[model]
    image = bytes(guest.image[:end]).ljust(len(guest.image), bytes([fill]))
    check(BoundedRam({RODATA_GPA: image, HEAP_GPA: guest.heap}), Known())


@steady(30)
@given(st.lists(st.tuples(st.integers(0, 0x3FF), st.binary(min_size=1, max_size=80)), max_size=3))
def test_banners_among_random_bytes(noise: list[tuple[int, bytes]]) -> None:
    page = bytearray(8192)
    page[0x100 : 0x100 + len(BANNER)] = BANNER
    for at, data in noise:
        page[at : at + len(data)] = data
    try:
        identify(BoundedRam({RODATA_GPA: page}), None, WANTS, Known())
    except IdentifyError:
        return
    except GuestDataError as error:
        raise AssertionError("not a judgement") from error
    raise AssertionError(f"identified {RODATA_GVA:#x} from a banner")
