"""A guest without types is read with a symbol file. Its types are wiped out of its RAM from outside, and put back.

The oracle is the guest's own /proc, as for a guest that carries everything.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import vmon
from tests.guest.compare import assert_agrees
from tests.guest.conftest import say
from vmon.core.address import Gpa
from vmon.core.errors import NotSupported, NoTypeInformation, UsageError
from vmon.core.ports import WritePhys
from vmon.lab.guest import LabGuest
from vmon.monitor.machine import rodata_of

FIELDS = 34 * 40
TYPES, TOKENS = 0, 2
"""Which of a profile's proof_spans: BTF, and the tokens without which kallsyms can't be read."""


@contextmanager
def without(guest: LabGuest, *parts: int) -> Iterator[None]:
    """These parts of the guest's kernel are zeros inside."""
    with vmon.attach(guest.name) as vm:
        ram = vm.ram
        assert isinstance(ram, WritePhys)
        rodata, spans = rodata_of(vm._identity), vm.kernel.profile.proof_spans
        places = [(Gpa(rodata + spans[part][0]), spans[part][1]) for part in parts]
        kept = [(gpa, vm.ram.read(gpa, size)) for gpa, size in places]
        try:
            for gpa, size in places:
                ram.write(gpa, bytes(size))
            yield
        finally:
            for gpa, data in kept:
                ram.write(gpa, data)


@pytest.fixture
def file(guest: LabGuest, tmp_path: Path) -> Path:
    with vmon.attach(guest.name) as vm:
        vm.write_isf(tmp_path / "guest.json.gz")
    return tmp_path / "guest.json.gz"


@pytest.fixture(autouse=True)
def no_saved_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A cache folder of its own for each call."""
    numbers = iter(range(100))

    def fresh() -> None:
        monkeypatch.setenv("VMON_CACHE_DIR", str(tmp_path / f"cache{next(numbers)}"))

    return fresh


def test_a_guest_without_types(guest: LabGuest, file: Path, no_saved_profile: Callable[[], None]) -> None:
    with without(guest, TYPES):
        no_saved_profile()
        with pytest.raises(NoTypeInformation) as caught:
            vmon.attach(guest.name)
        assert "--symbols" in caught.value.hint
        with vmon.attach(guest.name, symbols=file) as vm:
            assert vm.kernel.profile.sources == {"symbols": "kallsyms", "structs": "isf"}
            assert any(item.check == "symbol file" for item in vm.guest.evidence)
            assert_agrees(guest, vm, FIELDS)
            told = [line.split()[0] for line in say(guest, "cat /proc/modules").splitlines()]
            assert [record.name for record in vm.modules()] == told
            with pytest.raises(NotSupported):
                vm.isf()
            entry = vm.wide_kernel.all_types.find("module")
            assert (
                entry and vm.wide_kernel.all_types.size_bytes(entry) == vm.wide_kernel.profile["module"].size
            )
        with vmon.attach(guest.name, symbols=file) as vm:
            assert vm.guest.profile_from_cache, "what was learnt from it is kept"
        with pytest.raises(NoTypeInformation):
            vmon.attach(guest.name)


def test_a_guest_without_types_and_symbols(
    guest: LabGuest, file: Path, no_saved_profile: Callable[[], None]
) -> None:
    with without(guest, TYPES, TOKENS):
        no_saved_profile()
        with pytest.raises(vmon.VmonError):
            vmon.attach(guest.name)
        with vmon.attach(guest.name, symbols=file) as vm:
            assert vm.kernel.profile.sources == {"symbols": "isf", "structs": "isf"}
            assert_agrees(guest, vm, FIELDS)


def test_the_layouts_are_those_of_the_types_themselves(
    guest: LabGuest, file: Path, no_saved_profile: Callable[[], None]
) -> None:
    no_saved_profile()
    with vmon.attach(guest.name) as by_types, vmon.attach(guest.name, symbols=file) as by_file:
        ours, theirs = by_types.wide_kernel.profile, by_file.wide_kernel.profile
        assert theirs.sources["structs"] == "isf"
        for name, layout in ours.structs.items():
            other = theirs.structs[name]
            assert other.size == layout.size
            for field, place in layout.fields.items():
                there = other.fields[field]
                assert (there.offset, there.size, there.bit, there.bits, there.count, there.spelling) == (
                    *(place.offset, place.size, place.bit, place.bits, place.count, place.spelling),
                ), f"{name}.{field}"
                assert there.source == "isf" and place.source == "btf"
            assert other.fields.keys() == layout.fields.keys()
        assert theirs.enums == ours.enums
        assert theirs.symbols == ours.symbols and theirs.absolute == ours.absolute
        assert theirs.missing == ours.missing


def test_files_that_do_not_fit(guest: LabGuest, tmp_path: Path, no_saved_profile: Callable[[], None]) -> None:
    with vmon.attach(guest.name) as vm:
        document = json.loads(vm.isf())
    no_saved_profile()
    other = tmp_path / "other.json"
    banner = document["symbols"]["linux_banner"]
    del document["user_types"]
    other.write_text(json.dumps(document))
    with pytest.raises(UsageError, match="user_types"):
        vmon.attach(guest.name, symbols=other)
    document["user_types"] = {}
    banner["constant_data"] = "TGludXggdmVyc2lvbiA5LjkK"  # Linux version 9.9
    other.write_text(json.dumps(document))
    with pytest.raises(NoTypeInformation, match=r"another kernel: 'Linux version 9\.9', and the guest runs"):
        vmon.attach(guest.name, symbols=other)
    del banner["constant_data"]
    other.write_text(json.dumps(document))
    with pytest.raises(NoTypeInformation, match="does not say of which kernel"):
        vmon.attach(guest.name, symbols=other)
    with pytest.raises(UsageError, match="can't be read"):
        vmon.attach(guest.name, symbols=tmp_path / "none")


def test_the_commands(guest: LabGuest, file: Path, tmp_path: Path) -> None:
    """In a process of its own, as it is typed."""

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        code = "from vmon.cli import main; main()"
        environment = {**os.environ, "VMON_CACHE_DIR": str(tmp_path / "cache")}
        return subprocess.run(
            [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False, env=environment
        )

    written = run("isf", guest.name, "-o", str(tmp_path / "again.json"))
    assert written.returncode == 0 and "symbols" in written.stdout
    assert json.loads((tmp_path / "again.json").read_bytes())["metadata"]["format"] == "6.2.0"
    assert run("isf", guest.name, "-o", str(tmp_path / "again.json")).returncode == 2
    with without(guest, TYPES):
        (tmp_path / "cache").rename(tmp_path / "old cache")
        refused = run("ps", guest.name)
        assert refused.returncode == 14 and "--symbols" in refused.stderr
        shown = run("ps", guest.name, "--symbols", str(file))
        assert shown.returncode == 0 and "kthreadd" in shown.stdout, shown.stderr
