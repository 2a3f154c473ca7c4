"""Rules lie in the guest as a table of fixed records: written beside the one in force, then switched to in one word.

Writes pages that the guest's kernel gave, which it can only read at the probe's address. What is read back is checked:
the guest has those pages in its direct map too, and may write them there.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence

import numpy as np

from vmon.core.address import PAGE_SIZE_BYTES
from vmon.core.errors import UsageError
from vmon.core.records import guest_text
from vmon.core.rules import Action, Rule, RuleRecord
from vmon.probe.install import Probe

FAMILIES = {4: int(socket.AF_INET), 6: int(socket.AF_INET6)}
PATHS = (("path", "PATH"), ("path_prefix", "PREFIX"), ("path_suffix", "SUFFIX"))
MAX_TEXT_BYTES = 4096
MAX_ERRNO = 4096


class RuleTable:
    """The two tables of a probe."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self._abi = probe.abi
        self._dtype = self._abi.dtype("table")

    def _at(self, number: int) -> int:
        return self._abi.sizes["RULES_AT"] + (number - 1) * self._abi.sizes["TABLE"]

    def replace(self, rules: Sequence[Rule]) -> None:
        """Put other rules in force, all at once; the guest goes on. UsageError names a rule that can't be judged."""
        probe = self._probe
        if not rules:
            probe.put("table", 0)
            return
        data = self.encode(rules)
        number = 2 if probe.get("config", "table") == 1 else 1
        at = self._at(number)
        if not probe.window.entry(at):
            probe.give_pages(at, -(-self._abi.size("table") // PAGE_SIZE_BYTES), writable=False)
        probe.window.write(at, data)
        hits, size = self._abi.member("state", "hits")
        probe.window.write(self._abi.sizes["STATE_AT"] + hits, bytes(size))
        probe.put("table", number)

    def read(self) -> list[RuleRecord]:
        """The rules in force, with their hits."""
        number = self._probe.get("config", "table")
        if number not in (1, 2):
            return []
        table = np.frombuffer(
            self._probe.window.read(self._at(number), self._abi.size("table")), self._dtype
        )[0]
        hits, size = self._abi.member("state", "hits")
        counts = np.frombuffer(self._probe.window.read(self._abi.sizes["STATE_AT"] + hits, size), "<u8")
        count = min(int(table["count"]), len(table["rules"]))
        return [
            RuleRecord(number=row + 1, hits=int(counts[row]), rule=self._decode(table, table["rules"][row]))
            for row in range(count)
        ]

    # Between a rule and its record.

    def encode(self, rules: Sequence[Rule]) -> bytes:
        """A whole table."""
        table = np.zeros(1, self._dtype)[0]
        if len(rules) > len(table["rules"]):
            raise UsageError(f"{len(rules):,} rules, and a table holds {len(table['rules']):,}")
        strings = bytearray()
        kinds = 0
        for row, rule in enumerate(rules):
            record = table["rules"][row]
            self._fill(record, rule, strings)
            record["id"] = row + 1
            kinds |= int(record["kinds"])
        room = self._dtype["strings"].itemsize
        if len(strings) > room:
            raise UsageError(
                f"the paths of all rules take {len(strings):,} bytes, and a table holds {room:,}"
            )
        table["count"], table["strings_size"], table["kinds"] = len(rules), len(strings), kinds
        data = bytearray(table.tobytes())
        at = self._abi.offset("table", "strings")
        data[at : at + len(strings)] = strings
        return bytes(data)

    def _fill(self, record: np.void, rule: Rule, strings: bytearray) -> None:
        for event in rule.events:
            number = self._abi.events.get(event, 0)
            if not number:
                raise UsageError(f"there is no event {event!r}", hint="`vmon doctor TARGET` lists them")
            record["kinds"] |= np.uint64(1 << number)
        if not 0 < rule.errno < MAX_ERRNO:
            raise UsageError(f"{rule.errno} is no errno")
        record["action"] = self._abi.actions[rule.action.upper()]
        record["error"] = -rule.errno if rule.action in ("deny", "kill") else 0
        record["match"] = self._fill_who(record, rule, strings) | self._fill_what(record, rule, strings)

    def _fill_who(self, record: np.void, rule: Rule, strings: bytearray) -> int:
        """The process; which of it counts."""
        matches, match = self._abi.matches, 0
        if rule.exe is not None and rule.unless_exe is not None:
            raise UsageError("a rule has one of exe and unless_exe")
        exe = rule.exe if rule.exe is not None else rule.unless_exe
        if exe is not None:
            match |= matches["EXE" if rule.exe is not None else "NOT_EXE"]
            record["exe_at"], record["exe_len"] = _keep(strings, exe)
        if rule.name is not None:
            match |= matches["COMM"]
            record["comm"] = rule.name.encode("utf-8", "surrogateescape")[:15]
        if rule.uid is not None:
            match |= matches["UID"]
            record["uid"] = rule.uid
        if rule.key is not None:
            match |= matches["TGID"]
            record["tgid"], record["start_ns"] = _split_key(rule.key)
        return match

    def _fill_what(self, record: np.void, rule: Rule, strings: bytearray) -> int:
        """The object; which of it counts."""
        matches, match = self._abi.matches, 0
        texts = [(name, text) for field, name in PATHS if (text := getattr(rule, field)) is not None]
        if len(texts) > 1:
            raise UsageError("a rule has one of path, path_prefix and path_suffix")
        for name, text in texts:
            match |= matches[name]
            record["path_at"], record["path_len"] = _keep(strings, text)
        for field, name in (("port", "PORT"), ("flags", "FLAGS")):
            value = getattr(rule, field)
            if value is not None:
                match |= matches[name]
                record[field] = value
        if rule.address is not None:
            match |= matches["ADDRESS"]
            try:
                network = ipaddress.ip_network(rule.address, strict=False)
            except ValueError as error:
                raise UsageError(f"{rule.address!r} is no address and no network") from error
            record["address_family"], record["address_bits"] = FAMILIES[network.version], network.prefixlen
            record["address"] = np.frombuffer(network.network_address.packed.ljust(16, b"\0"), np.uint8)
        return match

    def _decode(self, table: np.void, record: np.void) -> Rule:
        abi = self._abi
        match, kinds = int(record["match"]), int(record["kinds"])
        texts = self._strings(table)
        found: dict[str, object] = {}
        for field, name in PATHS:
            if match & abi.matches[name]:
                found[field] = _text(texts, int(record["path_at"]), int(record["path_len"]))
        for field, name in (("exe", "EXE"), ("unless_exe", "NOT_EXE")):
            if match & abi.matches[name]:
                found[field] = _text(texts, int(record["exe_at"]), int(record["exe_len"]))
        if match & abi.matches["COMM"]:
            found["name"] = guest_text(bytes(record["comm"]))
        for field, name in (("uid", "UID"), ("port", "PORT"), ("flags", "FLAGS")):
            if match & abi.matches[name]:
                found[field] = int(record[field])
        if match & abi.matches["TGID"]:
            found["key"] = f"{int(record['tgid'])}@{int(record['start_ns'])}"
        if match & abi.matches["ADDRESS"]:
            size = 4 if int(record["address_family"]) == FAMILIES[4] else 16
            address = ipaddress.ip_address(bytes(record["address"])[:size])
            found["address"] = f"{address}/{int(record['address_bits'])}"
        action: Action = next(
            (name.lower() for name, value in abi.actions.items() if value == int(record["action"])),  # type: ignore[misc]
            "log",
        )
        events = tuple(name for name, number in abi.events.items() if kinds >> number & 1)
        if record["error"]:
            found["errno"] = -int(record["error"])
        return Rule(events=events, action=action, **found)  # type: ignore[arg-type]

    def _strings(self, table: np.void) -> bytes:
        at = self._abi.offset("table", "strings")
        return table.tobytes()[at:]


def _keep(strings: bytearray, text: str) -> tuple[int, int]:
    data = text.encode("utf-8", "surrogateescape")
    if not data or len(data) > MAX_TEXT_BYTES or b"\0" in data:
        raise UsageError(f"a path of {len(data):,} bytes, or with a NUL in it")
    at = len(strings)
    strings += data
    return at, len(data)


def _text(strings: bytes, at: int, length: int) -> str:
    return guest_text(strings[at : at + min(length, MAX_TEXT_BYTES)])


def _split_key(key: str) -> tuple[int, int]:
    pid, _, start = key.partition("@")
    if not (pid.isdecimal() and start.isdecimal()):
        raise UsageError(f"{key!r} is no process key", hint="it is pid@start, as `vmon ps -o json` gives it")
    return int(pid), int(start)
