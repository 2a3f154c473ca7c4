from __future__ import annotations

from pathlib import Path

import pytest

from vmon.check.text import Fingerprint
from vmon.monitor.fingerprints import FingerprintShelf

ONE = Fingerprint(1 << 63, b"w" * 128, b"l" * 64, 12.5)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VMON_RUN_DIR", str(tmp_path / "run"))
    return tmp_path / "run"


def test_it_is_kept_for_this_boot_of_this_guest_alone() -> None:
    shelf = FingerprintShelf("process 7 99", 1)
    assert shelf.load() is None
    shelf.save(ONE)
    assert FingerprintShelf("process 7 99", 1).load() == ONE
    assert FingerprintShelf("process 7 99", 2).load() is None
    assert FingerprintShelf("process 8 99", 1).load() is None


def test_a_damaged_file_is_none_and_a_folder_that_cannot_be_written_no_error(folder: Path) -> None:
    shelf = FingerprintShelf("x", 1)
    shelf.save(ONE)
    next((folder / "fingerprints").iterdir()).write_bytes(b"\xc1")
    assert shelf.load() is None
    other = FingerprintShelf("y", 1)
    (folder / "fingerprints").rename(folder / "elsewhere")
    (folder / "fingerprints").write_text("in the way")
    other.save(ONE)
    assert other.load() is None
