"""What goes into the host: the checkout without what can be made again, and later only what changed."""

import io
import os
import tarfile
from pathlib import Path

import pytest

import vmon
from vmon.lab.host import checkout


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    package = tmp_path / "src/vmon"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "one.py").write_text("1")
    for junk in (
        "src/vmon/__pycache__/one.pyc",
        ".git/HEAD",
        ".venv/bin/python",
        "src/vmon.egg-info/PKG-INFO",
    ):
        (tmp_path / junk).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / junk).write_text("junk")
    monkeypatch.setattr(vmon, "__file__", str(package / "__init__.py"))
    return tmp_path


def names(archive: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        assert {member.uid for member in tar} <= {0}
        return tar.getnames()


def test_a_checkout_is_taken_whole_but_for_junk(tree: Path, tmp_path: Path) -> None:
    (tree / "pyproject.toml").write_text("")
    found = dict(checkout.iter_files())
    assert list(found) == ["pyproject.toml", "src/vmon/__init__.py", "src/vmon/one.py"]
    assert found["src/vmon/one.py"] == tree / "src/vmon/one.py"


def test_an_installed_package_is_taken_alone(tree: Path) -> None:
    (tree / "src/other.py").write_text("")
    assert [name for name, _ in checkout.iter_files()] == ["src/vmon/__init__.py", "src/vmon/one.py"]


def test_only_changes_are_brought_again(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    manifest = tmp_path_factory.mktemp("run") / "checkout.json"
    first = checkout.changes(manifest)
    assert first is not None
    assert (names(first[0]), first[1]) == (["src/vmon/__init__.py", "src/vmon/one.py"], [])
    assert checkout.changes(manifest) is None
    (tree / "src/vmon/two.py").write_text("2")
    os.utime(tree / "src/vmon/__init__.py", ns=(5, 5))
    (tree / "src/vmon/one.py").unlink()
    second = checkout.changes(manifest)
    assert second is not None
    assert (names(second[0]), second[1]) == (["src/vmon/__init__.py", "src/vmon/two.py"], ["src/vmon/one.py"])
    assert checkout.changes(manifest) is None
