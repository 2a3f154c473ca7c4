"""Rules become a table in the guest: each field of a rule is a condition of its record.

Pure. A rule that can't be judged is refused, with what is wrong about it.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence

import numpy as np

from vmon.core.errors import UsageError
from vmon.core.rules import Rule, RuleRecord
from vmon.probe.abi import Abi
from vmon.probe.hooks import ASKABLE
from vmon.probe.index import Key, exe_key, folder_key, leaf_key, words_key, write_index

FAMILIES = {4: int(socket.AF_INET), 6: int(socket.AF_INET6)}
PATHS = ("path", "path_prefix", "path_suffix", "path_glob")
OPPOSITES = (
    ("exe", "unless_exe", "EXE"),
    ("name", "unless_name", "COMM"),
    ("uid", "unless_uid", "UID"),
    ("tree", "unless_tree", "TAG"),
)
"""A field, the one that says the contrary, and their condition."""
MAX_TEXT_BYTES = 4096
MAX_ERRNO = 4096
MAX_TIMEOUT_MS = 60_000
"""The kernel speaks of hung tasks after 120 s."""


class RuleEncoder:
    """Makes tables of one ABI."""

    def __init__(self, abi: Abi) -> None:
        self._abi = abi
        self._dtype = abi.dtype("table")

    def encode(self, records: Sequence[RuleRecord], tags: dict[str, int]) -> bytes:
        """A whole table; `tags` are the numbers of the tags of all trees. UsageError."""
        table = np.zeros(1, self._dtype)[0]
        room = len(table["rules"])
        if len(records) > room:
            raise UsageError(f"{len(records):,} rules, and a table holds {room:,}")
        strings = bytearray()
        keys = []
        for row, record in enumerate(records):
            packed = _Packed(self._abi, table["rules"][row], strings, tags)
            packed.fill(record.rule)
            packed.record["id"] = record.number
            keys.append(packed.key())
        space = self._abi.member("table", "strings")[1] - 8
        if len(strings) > space:
            raise UsageError(
                f"the paths of all rules take {len(strings):,} bytes, and a table holds {space:,}"
            )
        table["count"], table["strings_size"] = len(records), len(strings)
        table["kinds"] = np.bitwise_or.reduce(table["rules"]["kinds"])
        write_index(self._abi, table, keys)
        data = bytearray(table.tobytes())
        at = self._abi.offset("table", "strings")
        data[at : at + len(strings)] = strings
        return bytes(data)


class _Packed:
    """One record being filled."""

    def __init__(self, abi: Abi, record: np.void, strings: bytearray, tags: dict[str, int]) -> None:
        self._abi = abi
        self.record = record
        self._strings = strings
        self._tags = tags
        self._texts: dict[str, bytes] = {}

    def _hold(self, name: str, side: str = "match") -> None:
        self.record[side] |= np.uint32(self._abi.matches[name])

    def _holds(self, name: str) -> bool:
        return bool(int(self.record["match"]) & self._abi.matches[name])

    def _keep(self, field: str, text: str) -> None:
        data = text.encode("utf-8", "surrogateescape")
        if not data or len(data) > MAX_TEXT_BYTES or b"\0" in data:
            raise UsageError(f"a path of {len(data):,} bytes, or with a NUL in it")
        self.record[f"{field}_at"], self.record[f"{field}_len"] = len(self._strings), len(data)
        self._strings += data
        self._texts[field] = data

    def fill(self, rule: Rule) -> None:
        record, abi = self.record, self._abi
        for event in rule.events:
            number = abi.events.get(event, 0)
            if not number:
                raise UsageError(f"there is no event {event!r}", hint="`vmon doctor TARGET` lists them")
            record["kinds"] |= np.uint64(1 << number)
            if rule.action == "ask" and event not in ASKABLE:
                raise UsageError(
                    f"nobody can be asked about {event}: the kernel can't wait there",
                    hint=f"it can at {', '.join(ASKABLE)}",
                )
        if not rule.events:
            raise UsageError("a rule names the events that it is about")
        if not 0 < rule.errno < MAX_ERRNO:
            raise UsageError(f"{rule.errno} is no errno")
        if not 0 < rule.timeout_ms <= MAX_TIMEOUT_MS:
            raise UsageError(f"a call can wait 1 to {MAX_TIMEOUT_MS:,} ms, not {rule.timeout_ms:,}")
        record["action"] = abi.actions[rule.action.upper()]
        record["observe"] = rule.observe
        record["timeout_ms"] = rule.timeout_ms
        record["error"] = -rule.errno if rule.action in ("deny", "kill", "ask") else 0
        record["open"] = rule.fallback == "allow"
        try:
            self._who(rule)
            self._what(rule)
        except OverflowError as error:
            raise UsageError("a number of this rule is too large, or negative") from error

    def _who(self, rule: Rule) -> None:
        record = self.record
        for field, opposite, name in OPPOSITES:
            value = getattr(rule, field)
            contrary = getattr(rule, opposite)
            if value is not None and contrary is not None:
                raise UsageError(f"a rule has one of {field} and {opposite}")
            if value is None and contrary is None:
                continue
            self._hold(name, "match" if contrary is None else "unless")
            self._put(name, contrary if value is None else value)
        if rule.key is not None:
            if rule.tree is not None or rule.unless_tree is not None:
                raise UsageError("a rule has one of key and tree")
            self._hold("TGID")
            record["tgid"], record["start_ns"] = split_key(rule.key)
        if rule.cgroup_id is not None:
            self._hold("CGROUP")
            record["cgroup"] = rule.cgroup_id

    def _put(self, name: str, value: str | int) -> None:
        """The value of a condition of OPPOSITES."""
        record = self.record
        if name == "UID":
            record["uid"] = value
        elif name == "EXE":
            self._keep("exe", str(value))
        elif name == "COMM":
            record["comm"] = str(value).encode("utf-8", "surrogateescape")[:15]
        else:
            record["tgid"], record["start_ns"] = split_key(str(value))
            record["tags"] = 1 << self._tags[str(value)]

    def _what(self, rule: Rule) -> None:
        record = self.record
        given = [field for field in PATHS if getattr(rule, field) is not None]
        if len(given) > 1:
            raise UsageError(f"a rule has one of {' and '.join(given)}")
        if rule.path is not None:
            self._hold("PATH")
            self._keep("path", rule.path)
        first, star, last = split_glob(rule.path_glob) if rule.path_glob is not None else ("", "", "")
        if prefix := rule.path_prefix if rule.path_prefix is not None else first:
            self._hold("PREFIX")
            self._keep("path", prefix)
        if suffix := rule.path_suffix if rule.path_suffix is not None else last:
            self._hold("SUFFIX")
            self._keep("suffix", suffix)
        if star == "*":
            self._hold("FLAT")
            record["slashes"] = (first + last).count("/")
        for field, name in (("port", "PORT"), ("flags", "FLAGS")):
            value = getattr(rule, field)
            if value is not None:
                self._hold(name)
                record[field] = value
        if rule.address is not None:
            self._hold("ADDRESS")
            try:
                network = ipaddress.ip_network(rule.address, strict=False)
            except ValueError as error:
                raise UsageError(f"{rule.address!r} is no address and no network") from error
            record["address_family"], record["address_bits"] = FAMILIES[network.version], network.prefixlen
            record["address"] = np.frombuffer(network.network_address.packed.ljust(16, b"\0"), np.uint8)

    def key(self) -> Key | None:
        """By what the rule is found, the rarest of what it names; None for one that is looked at in turn."""
        record, texts = self.record, self._texts
        whole = int(record["address_bits"]) == (32 if int(record["address_family"]) == FAMILIES[4] else 128)
        choices: tuple[tuple[str, Callable[[], Key | None]], ...] = (
            ("TGID", lambda: ("TGID", int(record["tgid"]))),
            ("PATH", lambda: leaf_key(texts["path"])),
            ("SUFFIX", lambda: leaf_key(texts["suffix"]) if b"/" in texts["suffix"] else None),
            ("ADDRESS", lambda: words_key("ADDRESS", bytes(record["address"])) if whole else None),
            ("EXE", lambda: exe_key(texts["exe"])),
            ("PREFIX", lambda: folder_key(texts["path"])),
            ("COMM", lambda: words_key("COMM", bytes(record["comm"]).ljust(16, b"\0"))),
            ("PORT", lambda: ("PORT", int(record["port"]))),
            ("UID", lambda: ("UID", int(record["uid"]))),
        )
        keys = (make() for name, make in choices if self._holds(name))
        return next((key for key in keys if key is not None), None)


def split_glob(pattern: str) -> tuple[str, str, str]:
    """What is before the star, the star, what is behind it. UsageError for other patterns."""
    first, _, rest = pattern.partition("*")
    star, last = ("**", rest[1:]) if rest.startswith("*") else ("*", rest)
    if "*" not in pattern or "*" in last or any(c in pattern for c in "?[") or (star == "*" and not first):
        raise UsageError(
            f"{pattern!r} is no pattern that the probe can judge",
            hint="it has one * (no slash) or one ** (anything), as in /etc/*.conf or /home/**",
        )
    return first, star, last


def split_key(key: str) -> tuple[int, int]:
    """pid and start time of a process key. UsageError."""
    pid, _, start = key.partition("@")
    if not (pid.isdecimal() and start.isdecimal()):
        raise UsageError(f"{key!r} is no process key", hint="it is pid@start, as `vmon ps -o json` gives it")
    return int(pid), int(start)
