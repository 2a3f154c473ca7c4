"""Where records go, as one word of a command line: [FORMAT=]URL. Reads the word, and opens what it names.

file:PATH                       a line each; jsonl if no format is said
journal:PATH[?key=FILE&sync=always|second|never]
                                a hash-chained journal of jsonl
syslog+unix:///dev/log          RFC 5424 with structured data; another format becomes its message
syslog+udp://HOST[:514]
syslog+tcp://HOST[:601]
syslog+tls://HOST[:6514][?ca=FILE]
https://HOST/PATH               POST of many lines, tried again until it arrives
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from vmon.core.errors import OutputError, UsageError
from vmon.core.text import printable
from vmon.export.formats import FORMATS, encoder
from vmon.export.syslog import around
from vmon.sinks.file import FileWriter
from vmon.sinks.journal import JournalWriter, Sync
from vmon.sinks.queue import Queue
from vmon.sinks.writer import Writer

SCHEMES = {
    "file": frozenset[str](),
    "journal": frozenset({"key", "sync"}),
    "syslog+unix": frozenset[str](),
    "syslog+udp": frozenset[str](),
    "syslog+tcp": frozenset[str](),
    "syslog+tls": frozenset({"ca"}),
}
"""Kinds of places, and the words that may follow a question mark. What follows that of a webhook is the server's."""
WEB = ("http", "https")
PORTS = {"syslog+udp": 514, "syslog+tcp": 601, "syslog+tls": 6514}
SYNCS = ("always", "second", "never")
SHORTEST_KEY_BYTES = 16
SHAPE = re.compile(r"(?:(?P<form>[a-z]+)=)?(?P<url>[a-z+]+:.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Place:
    """One place and the format that it gets."""

    url: str
    scheme: str
    form: str

    @property
    def name(self) -> str:
        """The URL as it may be shown: of a webhook without what may be a secret."""
        if self.scheme not in WEB:
            return printable(self.url)
        parts = urlsplit(self.url)
        if parts.password is not None or parts.username is not None:
            parts = parts._replace(netloc=f"...@{parts.netloc.rpartition('@')[2]}")
        if parts.query:
            parts = parts._replace(query="...")
        return printable(parts.geturl())


def read_place(text: str) -> Place:
    """What one word says. UsageError with what is wrong; nothing is opened."""
    match = SHAPE.fullmatch(text)
    if match is None:
        raise UsageError(
            f"{text!r} names no place", hint="[FORMAT=]URL, as file:events.jsonl or ecs=https://HOST/PATH"
        )
    url, scheme = match["url"], match["url"].split(":", 1)[0]
    if scheme not in SCHEMES and scheme not in WEB:
        raise UsageError(
            f"{text!r}: there is no place {scheme}:", hint=f"places are {', '.join((*SCHEMES, *WEB))}"
        )
    form = match["form"] or ("syslog" if scheme.startswith("syslog") else "jsonl")
    if form not in FORMATS:
        raise UsageError(
            f"{text!r}: there is no format {form!r}", hint=f"the formats are {', '.join(FORMATS)}"
        )
    if scheme == "journal" and form in ("cef", "syslog"):
        raise UsageError(f"{text!r}: a journal holds JSON", hint="jsonl, ecs, ocsf or falco")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise UsageError(f"{text!r}: {error}") from error
    if scheme in PORTS or scheme in WEB:
        if not parts.hostname:
            raise UsageError(f"{text!r} names no host", hint=f"{scheme}://HOST")
    elif not unquote(parts.path):
        raise UsageError(f"{text!r} names no file", hint=f"{scheme}:PATH")
    if scheme in SCHEMES and (
        unknown := set(parse_qs(parts.query, keep_blank_values=True)) - SCHEMES[scheme]
    ):
        known = ", ".join(sorted(SCHEMES[scheme])) or "nothing"
        raise UsageError(f"{text!r}: {scheme}: knows no {sorted(unknown)[0]!r}", hint=f"it knows {known}")
    return Place(url, scheme, form)


def open_place(place: Place, say: Callable[[str], None] = lambda _: None) -> Queue:
    """Open a place and start its queue. OutputError where it can't be reached, NotSupported without its package.

    A web server is not asked anything before the first record. `say` hears when it fails, and when it works again.
    """
    encode = encoder(place.form)
    if place.scheme.startswith("syslog") and place.form != "syslog":
        encode = around(encode)
    return Queue(place.name, place.form, encode, _writer(place), say=say)


def _writer(place: Place) -> Writer:
    parts = urlsplit(place.url)
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    path = Path(unquote(parts.path))
    if place.scheme == "file":
        return FileWriter(path)
    if place.scheme == "journal":
        sync = query.get("sync", "second")
        if sync not in SYNCS:
            raise UsageError(f"{place.name}: sync is one of {', '.join(SYNCS)}")
        key = read_key(Path(query["key"])) if "key" in query else None
        return JournalWriter(path, key=key, sync=cast("Sync", sync))
    if place.scheme.startswith("syslog"):
        return _syslog(place, parts, query)
    from vmon.sinks.webhook import WebhookWriter  # noqa: PLC0415 - its package is an extra

    return WebhookWriter(place.url, place.name, content_type(place.form))


def _syslog(place: Place, parts: SplitResult, query: dict[str, str]) -> Writer:
    from vmon.sinks import syslog  # noqa: PLC0415 - ssl takes its time

    if place.scheme == "syslog+unix":
        return syslog.SyslogWriter(place.name, syslog.unix(unquote(parts.path)), framed=False)
    host, port = parts.hostname or "", parts.port or PORTS[place.scheme]
    if place.scheme == "syslog+udp":
        return syslog.SyslogWriter(place.name, syslog.udp(host, port), framed=False)
    if place.scheme == "syslog+tcp":
        return syslog.SyslogWriter(place.name, syslog.tcp(host, port), framed=True)
    connect = syslog.tls(host, port, Path(query["ca"]) if "ca" in query else None)
    return syslog.SyslogWriter(place.name, connect, framed=True)


def content_type(form: str) -> str:
    """Of many records, one a line."""
    return "text/plain; charset=utf-8" if form in ("cef", "syslog") else "application/x-ndjson"


def read_key(path: Path) -> bytes:
    """The key of a journal: what a file holds, without blanks around it. OutputError where there is none."""
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise OutputError(f"{path} can't be read: {error.strerror}") from error
    if len(key) < SHORTEST_KEY_BYTES:
        raise OutputError(
            f"{path}: a key has {SHORTEST_KEY_BYTES} bytes or more",
            hint="head -c 32 /dev/urandom | base64 > KEY",
        )
    return key
