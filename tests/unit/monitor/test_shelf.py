from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given

from tests.unit.kernel.fuzz import damaged, steady
from tests.unit.linux.build import BUILD_ID, profile_of
from vmon.core.address import Gpa
from vmon.kernel.profile import Wants
from vmon.linux.snapshot import WANTS
from vmon.monitor.shelf import ProfileShelf

GUEST = "process 1 100"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VMON_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("VMON_RUN_DIR", str(tmp_path / "run"))
    return tmp_path


def only_file(cache: Path) -> Path:
    (path,) = cache.rglob("*.msgpack")
    return path


def test_a_profile_comes_back(cache: Path) -> None:
    shelf, profile = ProfileShelf(WANTS, GUEST), profile_of("new")
    assert list(shelf.build_ids()) == []
    assert list(shelf.load(profile.build_id)) == []
    shelf.save(profile)
    again = ProfileShelf(WANTS, GUEST)
    assert list(again.build_ids()) == [(profile.build_id_offset, BUILD_ID.hex())]
    assert list(again.load(BUILD_ID.hex())) == [profile]
    assert list(again.load("00" * 20)) == []
    assert [path.name for path in only_file(cache).parent.iterdir()] == [only_file(cache).name]


def test_a_profile_that_answers_other_wants_is_not_taken() -> None:
    ProfileShelf(WANTS, GUEST).save(profile_of("new"))
    more = WANTS | Wants(symbols=("another",))
    assert list(ProfileShelf(more, GUEST).build_ids()) == []
    assert list(ProfileShelf(more, GUEST).load(BUILD_ID.hex())) == []


def test_saving_again_replaces(cache: Path) -> None:
    shelf = ProfileShelf(WANTS, GUEST)
    shelf.save(profile_of("new"))
    shelf.save(msgspec.structs.replace(profile_of("new"), release="other"))
    (loaded,) = shelf.load(BUILD_ID.hex())
    assert loaded.release == "other"
    assert only_file(cache).exists()


def test_a_file_of_another_kernel_under_this_name_is_not_believed(cache: Path) -> None:
    shelf = ProfileShelf(WANTS, GUEST)
    shelf.save(profile_of("new"))
    foreign = msgspec.structs.replace(profile_of("new"), build_id="11" * 20)
    only_file(cache).write_bytes(msgspec.msgpack.encode(foreign))
    assert list(shelf.load(BUILD_ID.hex())) == []


def test_what_else_lies_in_the_folder_is_ignored(cache: Path) -> None:
    shelf = ProfileShelf(WANTS, GUEST)
    shelf.save(profile_of("new"))
    folder = only_file(cache).parent
    for name in ("README", "tmp123", "zz@10.msgpack", f"{BUILD_ID.hex()}@xyz.msgpack", ".msgpack"):
        (folder / name).write_bytes(b"")
    (folder / f"{'22' * 20}@20.msgpack").mkdir()
    assert (profile_of("new").build_id_offset, BUILD_ID.hex()) in set(shelf.build_ids())
    assert list(shelf.load("22" * 20)) == []
    assert list(shelf.load(BUILD_ID.hex())) == [profile_of("new")]


def test_a_folder_that_cannot_be_written_is_no_error(cache: Path) -> None:
    (cache / "profiles").write_text("a file in the way")
    shelf = ProfileShelf(WANTS, GUEST)
    shelf.save(profile_of("new"))
    assert list(shelf.build_ids()) == []
    assert list(shelf.load(BUILD_ID.hex())) == []


def test_a_guest_is_trusted_with_what_it_proved_and_no_other_guest_is(cache: Path) -> None:
    profile = profile_of("new")
    shelf, other = ProfileShelf(WANTS, GUEST), ProfileShelf(WANTS, "process 2 200")
    place = Gpa(0x200000)
    assert not shelf.trusts(profile, place)
    shelf.trust(profile, place)
    assert shelf.trusts(profile, place)
    assert ProfileShelf(WANTS, GUEST).trusts(profile, place)
    assert not other.trusts(profile, place)
    assert not shelf.trusts(profile, Gpa(0x400000))
    assert not shelf.trusts(msgspec.structs.replace(profile, proof="11" * 32), place)


def test_profiles_of_one_build_id_that_were_learnt_from_other_bytes_lie_side_by_side() -> None:
    shelf = ProfileShelf(WANTS, GUEST)
    shelf.save(profile_of("new"))
    shelf.save(msgspec.structs.replace(profile_of("new"), proof="11" * 32))
    assert len(list(shelf.load(BUILD_ID.hex()))) == 2


DATA = msgspec.msgpack.encode(profile_of("new"))


def test_a_file_with_damaged_text_is_ignored(cache: Path) -> None:
    shelf = ProfileShelf(WANTS, GUEST)
    shelf.save(profile_of("new"))
    only_file(cache).write_bytes(DATA.replace(b"fake-amd64", b"fake\xffamd64"))
    assert list(shelf.load(BUILD_ID.hex())) == []


@steady(60)
@given(damaged(DATA))
def test_a_damaged_file_is_ignored_or_whole(data: bytes) -> None:
    shelf = ProfileShelf(WANTS, GUEST)
    shelf.save(profile_of("new"))
    folder = shelf._folder
    (path,) = folder.glob(f"{BUILD_ID.hex()}@*.msgpack")
    path.write_bytes(data)
    loaded = next(shelf.load(BUILD_ID.hex()), None)
    if data == DATA:
        assert loaded == profile_of("new")
    elif loaded is not None:
        assert loaded.build_id == BUILD_ID.hex()
