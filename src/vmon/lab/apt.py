"""Debian packages come by apt's own client from the mirror that this machine already uses.

Reads /etc/apt; runs apt-get, apt-cache and dpkg with a private configuration and state under the cache
folder, so the system's own package lists stay as they are. One folder a suite: each is updated by itself,
and only when wanted.
No host name is written here: which mirror serves Debian is worked out from the sources that exist.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from vmon.core.errors import LabError
from vmon.core.folders import cache_folder
from vmon.lab.lock import file_lock
from vmon.lab.progress import Progress

CODENAMES = ("buster", "bullseye", "bookworm", "trixie", "forky", "duke", "sid")
ALIASES = ("oldoldstable", "oldstable", "stable", "testing", "unstable")
FRESH_S = 24 * 3600
POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Source:
    """One entry of apt's sources: an archive and the suites asked of it."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...] = ()
    signed_by: str = ""
    """Path of a keyring, or the key itself over several lines; empty: apt's trusted keys."""


@dataclass(frozen=True, slots=True)
class Archives:
    """Where Debian's packages are had on this machine."""

    main: Source
    security: Source | None


@dataclass(frozen=True, slots=True, order=False)
class Package:
    """A package at a version in a suite."""

    name: str
    version: str
    suite: str = field(compare=False, default="")


def parse_one_line(text: str) -> list[Source]:
    """Entries of a .list file: `deb [options] URI SUITE COMPONENT...`."""
    found = []
    for raw in text.splitlines():
        line = raw.split("#", 1)[0].strip()
        match = re.fullmatch(r"deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)((?:\s+\S+)*)", line)
        if not match:
            continue
        options = dict(word.split("=", 1) for word in (match[1] or "").split() if "=" in word)
        found.append(
            Source(match[2], (match[3],), tuple(match[4].split()), options.get("signed-by", "").split(",")[0])
        )
    return found


def parse_deb822(text: str) -> list[Source]:
    """Entries of a .sources file: paragraphs of fields, as in a Debian control file."""
    found = []
    for paragraph in re.split(r"\n[ \t]*\n", text):
        fields = _fields(paragraph)
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() == "no":
            continue
        for uri in fields.get("uris", "").split():
            found.append(
                Source(
                    uri,
                    tuple(fields.get("suites", "").split()),
                    tuple(fields.get("components", "").split()),
                    fields.get("signed-by", ""),
                )
            )
    return found


def _fields(paragraph: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    name = ""
    for line in paragraph.splitlines():
        if line.startswith("#"):
            continue
        if line[:1] in " \t" and name:
            fields[name] += "\n" + line
        elif ":" in line:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            fields[name] = value.strip()
    return fields


def choose_archives(sources: Iterable[Source]) -> Archives:
    """Pick the entries that serve Debian's archives, main and security; LabError where none does."""
    main: list[Source] = []
    security: list[Source] = []
    for source in sources:
        for suite in source.suites:
            base, _, pocket = suite.replace("/", "-").partition("-")
            if base not in CODENAMES and base not in ALIASES:
                continue
            if pocket in ("security", "updates") and _is_security(source.uri):
                security.append(source)
            elif not pocket and "main" in source.components:
                main.append(source)
    # Others publish for a Debian release under its codename too; Debian's own archive is called debian.
    main.sort(key=lambda source: not urlsplit(source.uri).path.rstrip("/").endswith("/debian"))
    if not main:
        raise LabError(
            "apt's sources on this machine name no archive of Debian",
            hint="add an entry for a Debian release to /etc/apt, or give --kernel the path of a vmlinuz",
        )
    return Archives(main[0], security[0] if security else None)


def _is_security(uri: str) -> bool:
    return "security" in uri


def read_sources(folder: Path = Path("/etc/apt")) -> list[Source]:
    """All entries of this machine's apt configuration."""
    found: list[Source] = []
    parts = folder / "sources.list.d"
    for path in [folder / "sources.list", *sorted(parts.glob("*.list")), *sorted(parts.glob("*.sources"))]:
        try:
            text = path.read_text(errors="replace")
        except OSError:
            continue
        found += parse_deb822(text) if path.suffix == ".sources" else parse_one_line(text)
    return found


def compare_versions(left: str, right: str) -> int:
    """-1, 0 or 1 by Debian's order, as dpkg has it."""
    if left == right:
        return 0
    less = subprocess.run(["dpkg", "--compare-versions", left, "lt", right], check=False)
    return -1 if less.returncode == 0 else 1


def newest(packages: Iterable[Package]) -> Package | None:
    """The package of the highest version, None of nothing."""
    by_version = functools.cmp_to_key(_compare)
    return max(packages, key=by_version, default=None)


def parse_madison(text: str, suite: str) -> list[Package]:
    """Packages of `apt-cache madison`: lines of `NAME | VERSION | SOURCE`."""
    found = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) == 3 and cells[2].endswith("Packages"):
            found.append(Package(cells[0], cells[1], suite))
    return found


def _compare(left: Package, right: Package) -> int:
    return compare_versions(left.version, right.version)


class Suite:
    """A Debian suite with apt state of its own; nothing is fetched until `refresh`."""

    def __init__(self, name: str, archives: Archives) -> None:
        source = archives.security if name.endswith("-security") else archives.main
        if source is None:
            raise LabError(f"apt's sources on this machine name no archive for {name}")
        self.name = name
        self.source = source
        self.folder = cache_folder() / "apt" / name

    @property
    def stamp(self) -> Path:
        """Its modification time is the time of the last update."""
        return self.folder / "updated"

    def refresh(self) -> None:
        """Fetch the index if it is older than a day; LabError with apt's words when that fails."""
        with file_lock(self.folder.with_suffix(".lock"), f"waiting for the index of {self.name}"):
            try:
                if time.time() - self.stamp.stat().st_mtime < FRESH_S:
                    return
            except OSError:
                pass
            self._write_configuration()
            run_quiet(self.command("apt-get", "update", "-q"), f"fetching the package index of {self.name}")
            self.stamp.touch()

    def _write_configuration(self) -> None:
        for part in ("lists/partial", "cache/archives/partial", "state"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        (self.folder / "state/status").touch()
        signed = f"Signed-By: {self.source.signed_by}\n" if self.source.signed_by else ""
        (self.folder / "lab.sources").write_text(
            f"Types: deb\nURIs: {self.source.uri}\nSuites: {self.name}\n"
            f"Components: main\nArchitectures: amd64\n{signed}"
        )
        # Given by -c, which apt reads last: APT_CONFIG would lose against the files in /etc/apt/apt.conf.d.
        (self.folder / "apt.conf").write_text(
            f'Dir::Etc::sourcelist "{self.folder}/lab.sources";\n'
            'Dir::Etc::sourceparts "-";\n'
            'Dir::Etc::preferences "-";\n'
            'Dir::Etc::preferencesparts "-";\n'
            f'Dir::State "{self.folder}/state";\n'
            f'Dir::State::lists "{self.folder}/lists";\n'
            f'Dir::State::status "{self.folder}/state/status";\n'
            f'Dir::Cache "{self.folder}/cache";\n'
            'Dir::Cache::pkgcache "pkgcache.bin";\n'
            'Dir::Cache::srcpkgcache "";\n'
            'Acquire::Languages "none";\n'
            'Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";\n'
            'Acquire::Retries "3";\n'
            # A suite out of support stays useful here: its last kernel is wanted, not its updates.
            'Acquire::Check-Valid-Until "false";\n'
            'APT::Architecture "amd64";\n'
            'APT::Sandbox::User "root";\n'
            "#clear APT::Update::Post-Invoke;\n"
            "#clear APT::Update::Post-Invoke-Success;\n"
            "#clear DPkg::Post-Invoke;\n"
        )

    def command(self, *words: str) -> list[str]:
        """An apt command under this suite's configuration."""
        return [words[0], "-c", str(self.folder / "apt.conf"), *words[1:]]

    def packages(self, pattern: re.Pattern[str], prefix: str) -> list[Package]:
        """Packages whose whole name matches; `prefix` is how all those names begin."""
        names = run_quiet(self.command("apt-cache", "pkgnames", prefix), f"reading the index of {self.name}")
        wanted = sorted(name for name in names.split() if pattern.fullmatch(name))
        if not wanted:
            return []
        text = run_quiet(self.command("apt-cache", "madison", *wanted), f"reading the index of {self.name}")
        return parse_madison(text, self.name)

    def depends(self, package: Package) -> list[str]:
        """Names in the package's Depends, of each choice the first."""
        text = run_quiet(
            self.command("apt-cache", "show", f"{package.name}={package.version}"), f"reading {package.name}"
        )
        line = _fields(text.split("\n\n", 1)[0]).get("depends", "")
        return [match[0] for item in line.split(",") if (match := re.match(r"[^\s(|:]+", item.strip()))]

    def download(self, packages: Iterable[Package], into: Path) -> list[Path]:
        """Fetch packages as files into a folder, checked against the signed index."""
        wanted = [f"{package.name}={package.version}" for package in packages]
        run_quiet(
            self.command("apt-get", "download", "-q", *wanted),
            f"fetching {', '.join(wanted)}",
            cwd=into,
            watch=into,
        )
        return sorted(into.glob("*.deb"))


def run_quiet(
    command: list[str],
    what: str,
    *,
    cwd: Path | None = None,
    watch: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run a command and return its stdout; LabError with its words on failure.

    Progress is shown on stderr when it takes long; `watch` is a folder whose growing size is part of that.
    """
    full = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive", **(env or {})}
    try:
        with (
            Progress(what) as progress,
            subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd=cwd,
                env=full,
                start_new_session=True,
            ) as child,
        ):
            while True:
                try:
                    out, err = child.communicate(timeout=POLL_S)
                    break
                except subprocess.TimeoutExpired:
                    progress.tick(_size(watch) if watch else "")
                except BaseException:
                    os.killpg(child.pid, signal.SIGTERM)
                    raise
    except FileNotFoundError as error:
        raise LabError(
            f"{command[0]} is not installed", hint="run ./dev setup on a Debian machine"
        ) from error
    if child.returncode:
        words = (err.strip() or out.strip()).splitlines()[-8:]
        raise LabError(f"{what} failed: {command[0]} says: " + "; ".join(words))
    return out


def _size(folder: Path) -> str:
    total = 0
    for parent, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(OSError):
                total += (Path(parent) / name).lstat().st_size
    return f"{total / 1e6:.0f} MB"
