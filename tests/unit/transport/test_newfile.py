from __future__ import annotations

from pathlib import Path

import pytest

from vmon.core.errors import UsageError
from vmon.transport.newfile import new_file


def test_a_file_for_its_owner_alone(tmp_path: Path) -> None:
    with new_file(tmp_path / "x", overwrite=False) as stream:
        stream.write(b"secret")
        assert not (tmp_path / "x").exists()
    assert (tmp_path / "x").read_bytes() == b"secret"
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_what_is_there_stays_unless_it_is_to_be_overwritten(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"old")
    with pytest.raises(UsageError, match="there already"), new_file(tmp_path / "x", overwrite=False):
        pass
    assert (tmp_path / "x").read_bytes() == b"old"
    with new_file(tmp_path / "x", overwrite=True) as stream:
        stream.write(b"new")
    assert (tmp_path / "x").read_bytes() == b"new"


def test_a_file_that_came_in_between_stays(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there already"), new_file(tmp_path / "x", overwrite=False):
        (tmp_path / "x").write_bytes(b"another's")
    assert (tmp_path / "x").read_bytes() == b"another's"


@pytest.mark.parametrize("overwrite", [False, True])
def test_when_it_fails_nothing_is_kept(tmp_path: Path, overwrite: bool) -> None:
    for error in (ValueError("mine"), KeyboardInterrupt()):
        with pytest.raises(type(error)), new_file(tmp_path / "x", overwrite=overwrite) as stream:
            stream.write(b"half")
            raise error
    assert list(tmp_path.iterdir()) == []


def test_what_can_not_be_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"), new_file(tmp_path / "no" / "x", overwrite=True):
        pass
    with pytest.raises(UsageError, match="no space left"), new_file(tmp_path / "x", overwrite=False):
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []
