"""A kernel that carries no types or no symbols is learnt with a file, if the file is of this very build."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from tests.unit.kernel.test_identify import Known, booted, machine
from tests.unit.linux.build import (
    AT,
    BANNER,
    BUILD_ID,
    RODATA_GPA,
    TEXT_GVA,
    WANTS,
    Guest,
    btf_blob,
    profile_of,
)
from vmon.core.errors import BadStructure, NoKernelYet, NoTypeInformation
from vmon.kernel.btf import Btf
from vmon.kernel.identify import Identity, identify, profile_at
from vmon.kernel.learn import GivenTypes, signed64
from vmon.kernel.profile import Wants

LINKED_TEXT = 0xFFFF_FFFF_8100_0000


def linked() -> dict[str, int]:
    """Every symbol of the fake kernel, as it is linked."""
    profile = profile_of("new")
    return {name: LINKED_TEXT + at for name, at in profile.symbols.items()} | dict(profile.absolute)


def file(symbols: Mapping[str, int] | None = None, **changes: str | None) -> GivenTypes:
    known = linked() if symbols is None else symbols
    found = GivenTypes(
        name="/some/file",
        source="isf",
        types=Btf(btf_blob("new")),
        find_symbols=lambda names: {name: known[name] for name in names if name in known},
        banner=BANNER.decode(),
        build_id=None,
    )
    return replace(found, **changes)  # type: ignore[arg-type]


def without_types() -> Guest:
    guest = booted()
    guest.image[AT["__start_BTF"]] = 0
    return guest


def without_both() -> Guest:
    guest = without_types()
    place = guest.image.index(b"0\0" + b"1\0" + b"2\0", AT["kallsyms"])
    guest.image[place : place + 8] = bytes(8)
    return guest


def ask(guest: Guest, given: GivenTypes, known: Known | None = None) -> Identity:
    return identify(guest.ram(), machine(), WANTS, known or Known(), lambda: given)


def test_what_to_do_is_said() -> None:
    with pytest.raises(NoTypeInformation) as caught:
        identify(without_types().ram(), machine(), WANTS, Known())
    assert "--symbols FILE" in caught.value.hint


def test_types_of_a_file() -> None:
    found = ask(without_types(), file())
    learnt, expected = found.profile, profile_of("new")
    assert learnt.sources == {"symbols": "kallsyms", "structs": "isf"}
    assert learnt.structs.keys() == expected.structs.keys()
    for name, layout in learnt.structs.items():
        for field, place in layout.fields.items():
            assert place.source == "isf"
            assert place.offset == expected.structs[name].fields[field].offset
    assert learnt.symbols == {name: expected.symbols[name] for name in learnt.symbols}
    assert (learnt.banner, learnt.build_id) == (expected.banner, expected.build_id)
    assert any(item.check == "symbol file" and "by its banner" in item.detail for item in found.evidence)


def test_symbols_of_a_file_too() -> None:
    with pytest.raises(Exception, match="kallsyms"):
        identify(without_both().ram(), machine(), WANTS, Known())
    learnt = ask(without_both(), file()).profile
    assert learnt.sources == {"symbols": "isf", "structs": "isf"}
    expected = profile_of("new")
    assert learnt.symbols == {name: expected.symbols[name] for name in learnt.symbols}
    assert learnt.symbols.keys() >= {"init_task", "phys_base", "init_top_pgt"}
    assert learnt.symbol_count > 0


def test_a_build_id_goes_before_a_banner() -> None:
    found = ask(without_types(), file(build_id=BUILD_ID.hex(), banner="whatever"))
    assert any("by its build id" in item.detail for item in found.evidence)
    with pytest.raises(NoTypeInformation, match="another kernel"):
        ask(without_types(), file(build_id="00" * 20))


@pytest.mark.parametrize("guest", [without_types, without_both])
def test_the_file_of_another_kernel(guest: object) -> None:
    with pytest.raises(
        NoTypeInformation, match=r"another kernel: 'Linux version 1'.*6\.66\.0-fake"
    ) as caught:
        ask(guest(), file(banner="Linux version 1"))  # type: ignore[operator]
    assert "very kernel build" in caught.value.hint


def test_a_file_whose_symbols_lead_nowhere() -> None:
    with pytest.raises(NoTypeInformation, match="another kernel"):
        ask(without_both(), file({**linked(), "linux_banner": LINKED_TEXT}))
    with pytest.raises(NoKernelYet, match="page tables"):
        ask(without_both(), file({**linked(), "init_top_pgt": LINKED_TEXT}))
    with pytest.raises(NoTypeInformation, match="lacks"):
        ask(without_both(), file({}))


def test_a_file_that_does_not_say_of_which_kernel_it_is() -> None:
    with pytest.raises(NoTypeInformation, match="neither by a banner nor by a build id"):
        ask(without_types(), file(banner=None))


def test_what_was_learnt_is_recalled_without_the_file() -> None:
    guest = without_types()
    learnt = ask(guest, file()).profile

    def never() -> GivenTypes:
        raise AssertionError("it is known already")

    again = identify(guest.ram(), machine(), WANTS, Known(learnt), never)
    assert again.from_cache and again.profile == learnt
    guest.image[AT["linux_banner"] + 20] ^= 1
    with pytest.raises((NoTypeInformation, BadStructure)):
        ask(guest, file(), Known(learnt))


def test_other_wants_of_an_identified_kernel() -> None:
    wants = Wants(structs={"task_struct": "comm"})

    class Keeping(Known):
        def save(self, profile: object) -> None:
            self.kept = profile

    shelf = Keeping()
    profile = profile_at(without_types().ram(), RODATA_GPA, wants, shelf, file)  # type: ignore[arg-type]
    assert profile["task_struct"]["comm"].source == "isf"
    assert shelf.kept == profile


def test_signed() -> None:
    assert signed64(TEXT_GVA) == TEXT_GVA - (1 << 64)
    assert signed64(5) == 5
