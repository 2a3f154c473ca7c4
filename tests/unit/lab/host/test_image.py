"""The host's image is named by what it is made from, and made once."""

from pathlib import Path

import pytest

from vmon.lab.host import image


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMON_CACHE_DIR", str(tmp_path))


def test_it_holds_what_vmon_and_its_tests_need() -> None:
    wanted = image.requirements()
    for name in ("numpy", "msgspec", "click", "qemu", "pytest", "hypothesis"):
        assert any(line.startswith(name) for line in wanted), name
    assert not any("extra" in line for line in wanted)


def test_its_name_tells_what_it_is_made_from(monkeypatch: pytest.MonkeyPatch) -> None:
    first = image.image_path()
    assert first == image.image_path()
    monkeypatch.setattr(image, "DEBIAN", (*image.DEBIAN, "strace"))
    assert image.image_path() != first


def test_it_is_made_once_and_replaces_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def make_root(release: str, root: Path, packages: object) -> None:
        made.append(release)
        (root / "usr/share/man").mkdir(parents=True)
        (root / "usr/bin").mkdir()
        (root / "usr/bin/qemu-system-i386").write_bytes(b"not needed")

    def make_file(path: Path, size_bytes: int, content: Path) -> None:
        path.write_text(" ".join(sorted(str(file.relative_to(content)) for file in content.rglob("*"))))

    monkeypatch.setattr(image, "debootstrap", make_root)
    monkeypatch.setattr(image, "_add_python_packages", lambda root: None)
    monkeypatch.setattr(image, "make_ext4", make_file)
    image.image_path().parent.mkdir(parents=True)
    old = image.image_path().with_name("host-0123456789ab.img")
    old.write_text("")
    other = old.with_name("debian-trixie.img")
    other.write_text("")
    path = image.host_image()
    assert path.read_text() == "usr usr/bin usr/share"
    assert image.host_image() == path
    assert made == ["bookworm"]
    assert not old.exists()
    assert other.exists()
    assert not list(path.parent.glob(".host-*"))
