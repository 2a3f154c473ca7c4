"""Which mirror, which suite, which version: decided from text, without a network."""

import functools
import random
import re

import pytest

from vmon.core.errors import LabError
from vmon.lab.apt import (
    Package,
    Source,
    Suite,
    choose_archives,
    compare_versions,
    newest,
    parse_deb822,
    parse_madison,
    parse_one_line,
    read_sources,
    run_quiet,
)
from vmon.lab.matrix import MATRIX, find_series

ONE_LINE = """\
# deb http://mirror.example/debian stretch main
deb http://mirror.example/debian bookworm main contrib # comment
deb-src http://mirror.example/debian bookworm main
deb [arch=amd64 signed-by=/usr/share/k/a.gpg] http://mirror.example/debian-security bookworm-security main
deb http://vendor.example/apt bookworm stable
"""

DEB822 = """\
Types: deb deb-src
# a comment in the middle
URIs: http://one.example/debian http://two.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb
URIs: http://one.example/debian-security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian.gpg

Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main
Enabled: no

Types: deb-src
URIs: http://src.example/debian
Suites: bookworm
Components: main
"""


def test_one_line_entries():
    assert parse_one_line(ONE_LINE) == [
        Source("http://mirror.example/debian", ("bookworm",), ("main", "contrib")),
        Source(
            "http://mirror.example/debian-security",
            ("bookworm-security",),
            ("main",),
            "/usr/share/k/a.gpg",
        ),
        Source("http://vendor.example/apt", ("bookworm",), ("stable",)),
    ]


def test_deb822_entries():
    found = parse_deb822(DEB822)
    assert [source.uri for source in found] == [
        "http://one.example/debian",
        "http://two.example/debian",
        "http://one.example/debian-security",
    ]
    assert found[0].suites == ("bookworm", "bookworm-updates")
    assert found[0].signed_by.startswith("\n -----BEGIN PGP")
    assert found[2].signed_by == "/usr/share/keyrings/debian.gpg"


@pytest.mark.parametrize("text", [ONE_LINE, DEB822])
def test_the_archives_of_debian_are_told_from_others(text):
    sources = parse_deb822(text) if text is DEB822 else parse_one_line(text)
    # Another vendor's entry with a Debian codename, listed first, must not win.
    other = Source("http://vendor.example/apt", ("bookworm",), ("main",))
    archives = choose_archives([other, *sources])
    assert archives.main.uri.endswith(".example/debian")
    assert archives.security is not None
    assert archives.security.uri.endswith("/debian-security")


def test_a_mirror_list_and_an_alias_will_do():
    source = Source("mirror+file:/etc/apt/mirrors/debian.list", ("stable", "stable-updates"), ("main",))
    assert choose_archives([source]).main is source


def test_no_debian_archive_is_said():
    with pytest.raises(LabError, match="no archive of Debian"):
        choose_archives([Source("http://x.example/ubuntu", ("jammy",), ("main",))])


def test_sources_are_read_from_all_files(tmp_path):
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text("deb http://a.example/debian sid main\n")
    (tmp_path / "sources.list.d/b.list").write_text("deb http://b.example/debian sid main\n")
    (tmp_path / "sources.list.d/c.sources").write_text(DEB822)
    (tmp_path / "sources.list.d/d.list.disabled").write_text("deb http://d.example/debian sid main\n")
    hosts = {re.split("/+", source.uri)[1] for source in read_sources(tmp_path)}
    assert hosts == {"a.example", "b.example", "one.example", "two.example"}


def test_versions_go_by_debians_order():
    ordered = ["6.1~rc1-1", "6.1.9-1", "6.1.119-1", "6.1.119-1+b1", "6.12.3-1~bpo12+1", "6.12.3-1", "1:5.0-1"]
    shuffled = ordered.copy()
    random.Random(1).shuffle(shuffled)
    assert sorted(shuffled, key=functools.cmp_to_key(compare_versions)) == ordered


def test_the_newest_across_suites():
    old = Package("linux-image-6.1.0-9-cloud-amd64", "6.1.99-1", "bookworm")
    new = Package("linux-image-6.1.0-10-cloud-amd64", "6.1.100-1", "bookworm-security")
    assert newest([new, old]) is new
    assert newest([]) is None


def test_madison():
    text = (
        "linux-image-6.1.0-50-cloud-amd64 |  6.1.176-1 | http://m.example bookworm/main amd64 Packages\n"
        "linux-image-6.1.0-50-cloud-amd64 |  6.1.176-1 | http://m.example/debian bookworm/main Sources\n"
    )
    assert parse_madison(text, "bookworm") == [Package("linux-image-6.1.0-50-cloud-amd64", "6.1.176-1")]


@pytest.mark.parametrize(
    ("series", "name", "matches"),
    [
        ("5.10", "linux-image-5.10.0-32-cloud-amd64", True),
        ("6.1", "linux-image-6.1.0-50-cloud-amd64", True),
        ("6.1", "linux-image-6.12.107+deb13-cloud-amd64", False),
        ("6.1", "linux-image-6.1.0-50-amd64", False),
        ("6.1", "linux-image-6.1.0-50-rt-amd64", False),
        ("6.12", "linux-image-6.12.107+deb13-cloud-amd64-dbg", False),
        ("6.12", "linux-image-6.12.107+deb13-cloud-amd64-unsigned", False),
        ("7.3", "linux-image-7.3-cloud-amd64", True),
        ("7.3", "linux-image-7.3.4+deb13-cloud-amd64", True),
    ],
)
def test_package_names_of_a_series(series, name, matches):
    line = find_series(series)
    assert line is not None
    assert bool(line.package.fullmatch(name)) == matches


def test_each_line_of_the_matrix_says_why():
    assert [series.name for series in MATRIX if not series.extra] == ["5.10", "6.1", "6.12", "6.18", "7.2"]
    for series in MATRIX:
        assert len(series.reason) > 20
        assert series.suites
    line = find_series("6.12")
    assert line is not None
    assert line.tcg_cpu == "max,-cx16"


def test_a_suite_keeps_to_its_own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("VMON_CACHE_DIR", str(tmp_path))
    archives = choose_archives(parse_deb822(DEB822))
    suite = Suite("trixie-security", archives)
    suite._write_configuration()
    assert suite.folder == tmp_path / "apt/trixie-security"
    text = (suite.folder / "lab.sources").read_text()
    assert "URIs: http://one.example/debian-security\n" in text
    assert "Suites: trixie-security\n" in text
    # apt itself must understand the private configuration.
    dump = run_quiet(["apt-config", "-c", str(suite.folder / "apt.conf"), "dump"], "asking apt")
    assert f'Dir::State::lists "{suite.folder}/lists";' in dump
    assert "Post-Invoke::" not in dump


def test_a_failing_command_tells_its_words():
    with pytest.raises(LabError, match=r"trying failed: sh says: oh no"):
        run_quiet(["sh", "-c", "echo oh no >&2; exit 3"], "trying")
    with pytest.raises(LabError, match="is not installed"):
        run_quiet(["/nonexistent/tool"], "trying")
