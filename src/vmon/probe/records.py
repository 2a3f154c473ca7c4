"""Records of the ring become events: numbers by kind, texts by their lengths, all of it checked.

Pure: a batch in, events out. The guest can write what it likes into the ring: an unknown kind is left out, lengths are
cut to the record's slots, text keeps its bytes.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np

from vmon.core.events import Event, Verdict
from vmon.core.text import guest_text
from vmon.linux.inet import AF_INET, AF_INET6
from vmon.linux.socket import FAMILY_NAMES, PROTOCOL_NAMES
from vmon.linux.unix import AF_UNIX
from vmon.probe.abi import Abi
from vmon.probe.ring import Batch

Fields = dict[str, Any]
Row = dict[str, Any]
"""struct vmon_record, flattened."""


def offset_of(dtype: np.dtype[np.void], name: str) -> int:
    """Where a field lies in its row."""
    assert dtype.fields is not None
    return int(dtype.fields[name][1])


@cache
def flattened(dtype: np.dtype[np.void]) -> np.dtype[np.void]:
    """The same rows without arrays in them: bytes as one text, other elements one by one, so that all are plain."""
    names, formats, offsets = [], [], []
    for name in dtype.names or ():
        field = dtype[name]
        base, shape, offset = field.base, field.shape, offset_of(dtype, name)
        if shape and base.itemsize > 1:
            for number in range(shape[0]):
                names.append(f"{name}{number}")
                formats.append(base.str)
                offsets.append(offset + number * base.itemsize)
        else:
            names.append(name)
            formats.append(f"S{shape[0]}" if shape else field.str)
            offsets.append(offset)
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": dtype.itemsize})


class Decoder:
    """Makes events of one ABI. `exe_of` knows the programs of processes by their keys, `container_of` the containers of
    cgroups by their ids."""

    def __init__(
        self,
        abi: Abi,
        exe_of: Callable[[str], str | None] = lambda _: None,
        container_of: Callable[[int], str | None] = lambda _: None,
    ) -> None:
        self._names = {number: name for name, number in abi.events.items()}
        self._head_bytes = abi.size("record")
        self._slot_bytes = abi.sizes["SLOT"]
        self._flags = abi.record_flags
        self._exe_of = exe_of
        self._container_of = container_of

    def iter_events(self, batch: Batch) -> Iterator[Event]:
        """Events in the order in which their places were taken, each made when it is asked for."""
        flat = flattened(batch.rows.dtype)
        names = flat.names or ()
        for row, start in zip(batch.rows.view(flat).tolist(), batch.starts.tolist(), strict=True):
            record = dict(zip(names, row, strict=True))
            name = self._names.get(record["kind"])
            if name is not None:
                yield self._event(name, record, batch.data, start * self._slot_bytes)

    def _event(self, name: str, record: Row, data: bytes, at: int) -> Event:
        end = at + record["slots"] * self._slot_bytes
        at += self._head_bytes
        texts = []
        for length in (record["text_len0"], record["text_len1"]):
            texts.append(data[at : min(at + length, end)])
            at += length
        key = f"{record['pid']}@{record['start_ns']}"
        more = FIELDS[name](record, texts)
        return Event(
            event=name,
            sequence=record["seq"] - 1,
            time_ns=record["time_ns"],
            key=key,
            pid=record["pid"],
            tid=record["tid"],
            ppid=record["ppid"],
            uid=record["uid"],
            euid=record["euid"],
            gid=record["gid"],
            name=guest_text(record["comm"].split(b"\0", 1)[0]),
            cpu=record["cpu"],
            cgroup_id=record["cgroup"],
            container_id=self._container_of(record["cgroup"]),
            exe=more.pop("exe", None) or self._exe_of(key),
            verdict=self._verdict(record),
            errno=-record["verdict"],
            rule=record["rule"],
            ask=record["ask"],
            cut=bool(record["flags"] & self._flags["CUT"]),
            **more,
        )

    def _verdict(self, record: Row) -> Verdict:
        names = self._flags
        flags = record["flags"]
        would = flags & names["WOULD"]
        if flags & names["KILLED"]:
            return "would kill" if would else "killed"
        if flags & names["ASKED"] and (would or record["ask"]):
            return "would ask" if would else "asked"
        if not record["verdict"]:
            return "allowed"
        return "would deny" if would else "denied"


def _path(record: Row, texts: list[bytes]) -> Fields:
    return {"path": guest_text(texts[0])} if texts[0] else {}


def _opened(record: Row, texts: list[bytes]) -> Fields:
    return {**_path(record, texts), "flags": record["number0"]}


def _with_mode(record: Row, texts: list[bytes]) -> Fields:
    return {**_path(record, texts), "mode": record["number0"]}


def _two_paths(record: Row, texts: list[bytes]) -> Fields:
    return {"path": guest_text(texts[0]), "new_path": guest_text(texts[1])}


def _owned(record: Row, texts: list[bytes]) -> Fields:
    return {**_path(record, texts), "new_uid": record["number0"], "new_gid": record["number1"]}


def _executed(record: Row, texts: list[bytes]) -> Fields:
    if not texts[1]:
        # Asked before the act: the process still runs its old program.
        return _path(record, texts)
    words = texts[1].removesuffix(b"\0").split(b"\0")
    return {
        **_path(record, texts),
        "exe": guest_text(texts[0]),
        "cmdline": [guest_text(word) for word in words],
    }


def _forked(record: Row, texts: list[bytes]) -> Fields:
    child, start = record["number0"], record["number1"]
    return {"target_pid": child, "target_key": f"{child}@{start}"}


def _exited(record: Row, texts: list[bytes]) -> Fields:
    return {"exit_code": record["number0"]}


def _became(record: Row, texts: list[bytes]) -> Fields:
    return {"new_uid": record["number0"], "new_euid": record["number1"]}


def _signalled(record: Row, texts: list[bytes]) -> Fields:
    number, target, start = record["number0"], record["number1"], record["number2"]
    return {"signal": number, "target_pid": target, "target_key": f"{target}@{start}"}


def _traced(record: Row, texts: list[bytes]) -> Fields:
    mode, target, start = record["number0"], record["number1"], record["number2"]
    return {"mode": mode, "target_pid": target, "target_key": f"{target}@{start}"}


def _address(record: Row, texts: list[bytes]) -> Fields:
    family = record["family"]
    found: Fields = {"family": FAMILY_NAMES.get(family, str(family))}
    if family == AF_UNIX:
        name = texts[0]
        found["path"] = (
            "@" + guest_text(name[1:]) if name[:1] == b"\0" else guest_text(name.split(b"\0", 1)[0])
        )
    if family in (AF_INET, AF_INET6):
        packed = record["address"].ljust(16, b"\0")[: 4 if family == AF_INET else 16]
        protocol = record["number0"]
        found["protocol"] = PROTOCOL_NAMES.get(protocol, str(protocol))
        found["address"] = str(ipaddress.ip_address(packed))
        found["port"] = record["port"]
    return found


FIELDS: dict[str, Callable[[Row, list[bytes]], Fields]] = {
    "process.fork": _forked,
    "process.exec": _executed,
    "process.exit": _exited,
    "process.setuid": _became,
    "process.signal": _signalled,
    "process.ptrace": _traced,
    "file.open": _opened,
    "file.unlink": _path,
    "file.rename": _two_paths,
    "file.link": _two_paths,
    "file.create": _with_mode,
    "file.symlink": _path,
    "file.mkdir": _with_mode,
    "file.rmdir": _path,
    "file.chmod": _with_mode,
    "file.chown": _owned,
    "file.truncate": _path,
    "file.mmap_exec": _opened,
    "file.mount": _opened,
    "net.connect": _address,
    "net.bind": _address,
    "net.listen": _address,
    "net.accept": _address,
    "module.load": _path,
    "bpf.load": _path,
}
