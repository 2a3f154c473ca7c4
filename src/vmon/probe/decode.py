"""A table in the guest becomes rules again: each condition of a record is a field of its rule.

Pure. A table that is read back may be anything, for the guest can write it: texts are cut, unknown numbers read as no
condition.
"""

from __future__ import annotations

import ipaddress

import numpy as np

from vmon.core.rules import Action, Rule
from vmon.core.text import guest_text
from vmon.probe.abi import Abi
from vmon.probe.encode import FAMILIES, MAX_TEXT_BYTES, OPPOSITES


class RuleDecoder:
    """Reads tables of one ABI."""

    def __init__(self, abi: Abi) -> None:
        self._abi = abi

    def decode(self, table: np.void) -> list[tuple[int, Rule]]:
        """The rules of a table that was read, by their numbers."""
        texts = table.tobytes()[self._abi.offset("table", "strings") :]
        count = min(int(table["count"]), len(table["rules"]))
        return [
            (int(table["rules"][row]["id"]), self._rule(table["rules"][row], texts)) for row in range(count)
        ]

    def trees(self, table: np.void) -> dict[str, int]:
        """The tree of each tag that the rules of a table speak of."""
        rules = table["rules"][: min(int(table["count"]), len(table["rules"]))]
        tag = np.uint32(self._abi.matches["TAG"])
        found = {}
        for record in rules[((rules["match"] | rules["unless"]) & tag) != 0]:
            found[_key_of(record)] = int(record["tags"]).bit_length() - 1
        return found

    def _rule(self, record: np.void, texts: bytes) -> Rule:
        abi = self._abi
        match, unless = int(record["match"]), int(record["unless"])
        found: dict[str, object] = {}
        values = {
            "EXE": _text(texts, record, "exe"),
            "COMM": guest_text(bytes(record["comm"])),
            "UID": int(record["uid"]),
            "TAG": _key_of(record),
        }
        for field, opposite, name in OPPOSITES:
            if match & abi.matches[name]:
                found[field] = values[name]
            elif unless & abi.matches[name]:
                found[opposite] = values[name]
        for field, name in (("port", "PORT"), ("flags", "FLAGS")):
            if match & abi.matches[name]:
                found[field] = int(record[field])
        if match & abi.matches["TGID"]:
            found["key"] = _key_of(record)
        if match & abi.matches["CGROUP"]:
            found["cgroup_id"] = int(record["cgroup"])
        if match & abi.matches["ADDRESS"]:
            size = 4 if int(record["address_family"]) == FAMILIES[4] else 16
            address = ipaddress.ip_address(bytes(record["address"])[:size])
            found["address"] = f"{address}/{int(record['address_bits'])}"
        found |= self._paths(match, _text(texts, record, "path"), _text(texts, record, "suffix"))
        action: Action = next(
            (name.lower() for name, value in abi.actions.items() if value == int(record["action"])),  # type: ignore[misc]
            "log",
        )
        if action == "ask":
            found["timeout_ms"] = int(record["timeout_ms"])
            found["fallback"] = "allow" if record["open"] else "deny"
        if record["error"]:
            found["errno"] = -int(record["error"])
        events = tuple(name for name, number in abi.events.items() if int(record["kinds"]) >> number & 1)
        return Rule(events=events, action=action, observe=bool(record["observe"]), **found)  # type: ignore[arg-type]

    def _paths(self, match: int, path: str, suffix: str) -> dict[str, str]:
        matches = self._abi.matches
        first, last = bool(match & matches["PREFIX"]), bool(match & matches["SUFFIX"])
        if match & matches["PATH"]:
            return {"path": path}
        if match & matches["FLAT"] or (first and last):
            star = "*" if match & matches["FLAT"] else "**"
            return {"path_glob": f"{path if first else ''}{star}{suffix if last else ''}"}
        return {"path_prefix": path} if first else {"path_suffix": suffix} if last else {}


def _key_of(record: np.void) -> str:
    return f"{int(record['tgid'])}@{int(record['start_ns'])}"


def _text(strings: bytes, record: np.void, field: str) -> str:
    at, length = int(record[f"{field}_at"]), int(record[f"{field}_len"])
    return guest_text(strings[at : at + min(length, MAX_TEXT_BYTES)])
