from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given

from tests.unit.kernel.fuzz import damaged, steady
from tests.unit.linux.build import BUILD_ID, profile_of
from vmon.kernel.profile import Wants
from vmon.linux.snapshot import WANTS
from vmon.monitor.shelf import ProfileShelf


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VMON_CACHE_DIR", str(tmp_path))
    return tmp_path


def only_file(cache: Path) -> Path:
    (path,) = cache.rglob("*.msgpack")
    return path


def test_a_profile_comes_back(cache: Path) -> None:
    shelf, profile = ProfileShelf(WANTS), profile_of("new")
    assert list(shelf.build_ids()) == []
    assert shelf.load(profile.build_id) is None
    shelf.save(profile)
    again = ProfileShelf(WANTS)
    assert list(again.build_ids()) == [(profile.build_id_offset, BUILD_ID.hex())]
    assert again.load(BUILD_ID.hex()) == profile
    assert again.load("00" * 20) is None
    assert [path.name for path in only_file(cache).parent.iterdir()] == [only_file(cache).name]


def test_a_profile_that_answers_other_wants_is_not_taken() -> None:
    ProfileShelf(WANTS).save(profile_of("new"))
    more = WANTS | Wants(symbols=("another",))
    assert list(ProfileShelf(more).build_ids()) == []
    assert ProfileShelf(more).load(BUILD_ID.hex()) is None


def test_saving_again_replaces(cache: Path) -> None:
    shelf = ProfileShelf(WANTS)
    shelf.save(profile_of("new"))
    shelf.save(msgspec.structs.replace(profile_of("new"), release="other"))
    loaded = shelf.load(BUILD_ID.hex())
    assert loaded is not None
    assert loaded.release == "other"
    assert only_file(cache).exists()


def test_a_file_of_another_kernel_under_this_name_is_not_believed(cache: Path) -> None:
    shelf = ProfileShelf(WANTS)
    shelf.save(profile_of("new"))
    foreign = msgspec.structs.replace(profile_of("new"), build_id="11" * 20)
    only_file(cache).write_bytes(msgspec.msgpack.encode(foreign))
    assert shelf.load(BUILD_ID.hex()) is None


def test_what_else_lies_in_the_folder_is_ignored(cache: Path) -> None:
    shelf = ProfileShelf(WANTS)
    shelf.save(profile_of("new"))
    folder = only_file(cache).parent
    for name in ("README", "tmp123", "zz@10.msgpack", f"{BUILD_ID.hex()}@xyz.msgpack", ".msgpack"):
        (folder / name).write_bytes(b"")
    (folder / f"{'22' * 20}@20.msgpack").mkdir()
    assert (profile_of("new").build_id_offset, BUILD_ID.hex()) in set(shelf.build_ids())
    assert shelf.load("22" * 20) is None
    assert shelf.load(BUILD_ID.hex()) == profile_of("new")


def test_a_folder_that_cannot_be_written_is_no_error(cache: Path) -> None:
    (cache / "profiles").write_text("a file in the way")
    shelf = ProfileShelf(WANTS)
    shelf.save(profile_of("new"))
    assert list(shelf.build_ids()) == []
    assert shelf.load(BUILD_ID.hex()) is None


DATA = msgspec.msgpack.encode(profile_of("new"))


def test_a_file_with_damaged_text_is_ignored(cache: Path) -> None:
    shelf = ProfileShelf(WANTS)
    shelf.save(profile_of("new"))
    only_file(cache).write_bytes(DATA.replace(b"fake-amd64", b"fake\xffamd64"))
    assert shelf.load(BUILD_ID.hex()) is None


@steady(60)
@given(damaged(DATA))
def test_a_damaged_file_is_ignored_or_whole(data: bytes) -> None:
    shelf = ProfileShelf(WANTS)
    shelf.save(profile_of("new"))
    folder = shelf._folder
    path = folder / f"{BUILD_ID.hex()}@{profile_of('new').build_id_offset:x}.msgpack"
    path.write_bytes(data)
    loaded = shelf.load(BUILD_ID.hex())
    if data == DATA:
        assert loaded == profile_of("new")
    elif loaded is not None:
        assert loaded.build_id == BUILD_ID.hex()
