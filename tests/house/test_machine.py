"""Nothing of the machine that vmon was written on is in its files: no package mirror's name, no path of a checkout.

The names are taken from this machine's own configuration when the test runs, so none stands here either.
"""

from __future__ import annotations

import configparser
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.house.sources import ROOT, tracked_files

LOCAL = {"localhost", "127.0.0.1", "::1", ""}
URL = re.compile(r"(?:https?|ftp)://[^\s\"'<>\]]+")


def apt_urls() -> list[str]:
    """Hosts that apt fetches from, proxies included."""
    found: list[str] = []
    for path in [
        Path("/etc/apt/sources.list"),
        *Path("/etc/apt").glob("sources.list.d/*"),
        *Path("/etc/apt").glob("apt.conf.d/*"),
    ]:
        try:
            text = path.read_text()
        except OSError:
            continue
        found += [
            url
            for line in text.splitlines()
            if not line.lstrip().startswith("#")
            for url in URL.findall(line)
        ]
    return found


def python_and_node_urls() -> list[str]:
    """Indexes and proxies of pip and npm, by their own configuration files and variables."""
    found = [
        value for name, value in os.environ.items() if name.upper().startswith(("PIP_", "NPM_CONFIG_", "UV_"))
    ]
    found += [
        os.environ.get(name, "")
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "GOPROXY")
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    )
    found.append(done.stdout)
    for path in (Path("/etc/npmrc"), Path.home() / ".npmrc", Path("/usr/local/etc/npmrc")):
        if path.is_file():
            found += [
                line.split("=", 1)[1]
                for line in path.read_text().splitlines()
                if "registry" in line and "=" in line
            ]
    return [url for text in found for url in URL.findall(text)]


def hosts() -> set[str]:
    names = {urlsplit(url).hostname or "" for url in (*apt_urls(), *python_and_node_urls())}
    return {name for name in names if name not in LOCAL}


def texts() -> dict[str, str]:
    found = {}
    for path in tracked_files():
        data = path.read_bytes()
        if b"\0" not in data[:4096]:
            found[str(path.relative_to(ROOT))] = data.decode("utf-8", "replace")
    return found


@pytest.fixture(scope="module")
def files() -> dict[str, str]:
    found = texts()
    assert len(found) > 50
    return found


def test_no_registry_of_this_machine_is_named(files: dict[str, str]) -> None:
    names = hosts()
    assert not [(name, path) for name in names for path, text in files.items() if name in text]


def test_no_path_of_this_machine_is_named(files: dict[str, str]) -> None:
    home = str(Path.home())
    paths = {str(ROOT), str(ROOT.parent), sys.prefix, *([home] if home != "/root" else [])}
    places = {place for place in paths if place.count("/") >= 1 and len(place) > 4}
    shown = re.compile(
        "|".join(rf"(?<![\w./-]){re.escape(place)}(?=[/\s\"'`:]|$)" for place in sorted(places)), re.MULTILINE
    )
    assert not [(match.group(), path) for path, text in files.items() for match in shown.finditer(text)]


def test_the_names_are_looked_for_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above can fail: a variable that names a mirror is seen, in the file that holds the name."""
    monkeypatch.setenv("PIP_INDEX_URL", "https://user:secret@mirror.example.net:8080/simple")
    assert "mirror.example.net" in hosts()
    assert "localhost" not in hosts()
    settings = configparser.ConfigParser()
    settings.read_string("[global]\nindex-url = http://localhost:1/simple\n")
    assert urlsplit(settings["global"]["index-url"]).hostname in LOCAL
