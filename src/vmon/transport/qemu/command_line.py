"""A QEMU's command line says its name, its RAM, its accelerator and where its QMP sockets are.

Pure: an argument list in, values out. The list is what /proc shows of a process, which its owner may have
overwritten: anything that does not parse is left out, nothing here raises.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

SIZE = re.compile(r"(\d+(?:\.\d+)?)([bkmgtpe]?)", re.IGNORECASE)
DEFAULT_RAM_BYTES = 128 << 20
YES = ("on", "yes", "true")
WITH_VALUE = frozenset(
    {
        "M",
        "accel",
        "append",
        "chardev",
        "device",
        "gdb",
        "initrd",
        "kernel",
        "m",
        "machine",
        "mon",
        "monitor",
        "name",
    }
    | {"netdev", "numa", "object", "qmp", "qmp-pretty", "serial", "smp"}
)


@dataclass(frozen=True, slots=True)
class QmpSocket:
    """A QMP socket as the command line names it: by path, or by a descriptor handed to QEMU."""

    path: str = ""
    fd: int = -1
    waits: bool = False
    """QEMU does not start the guest before a first client came."""


@dataclass(frozen=True, slots=True)
class QemuCommand:
    """What a command line tells of a guest."""

    name: str
    machine: str
    accel: str
    """kvm, tcg, another one, or "" where the choice was left to QEMU at run time."""
    ram_bytes: int
    qmp: tuple[QmpSocket, ...]
    qmp_elsewhere: bool
    """QMP is offered, but on TCP or standard input."""
    gdbstub: bool = False
    """A gdbstub was asked for: -s or -gdb."""


def options(text: str) -> dict[str, str]:
    """`key=value,flag,...` with a doubled comma for a comma; the first flag is under ""."""
    parsed: dict[str, str] = {}
    for index, part in enumerate(text.replace(",,", "\0").split(",")):  # no argument holds a zero byte
        key, equals, value = part.replace("\0", ",").partition("=")
        if equals:
            parsed.setdefault(key, value)
        else:
            parsed.setdefault("" if index == 0 else key, key if index == 0 else "on")
    return parsed


def json_values(value: object, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Every leaf of a JSON option, with its key; QEMU nests addresses a few levels deep."""
    if isinstance(value, dict) and depth < 8:
        for key, inner in value.items():
            if isinstance(inner, (dict, list)):
                yield from json_values(inner, depth + 1)
            else:
                yield str(key), "on" if inner is True else str(inner)


def parsed_option(text: str) -> dict[str, str]:
    """An option in either spelling, JSON or key=value."""
    if text.startswith("{"):
        try:
            parsed: dict[str, str] = {}
            for key, value in json_values(json.loads(text)):
                parsed.setdefault(key, value)
        except (ValueError, RecursionError):
            return {}
        return parsed
    return options(text)


def size_bytes(text: str, unit: str) -> int:
    """A size as QEMU reads it; 0 where it is none."""
    found = SIZE.fullmatch(text)
    if not found:
        return 0
    return int(float(found[1]) * 1024 ** "bkmgtpe".index((found[2] or unit).lower()))


def _pairs(argv: Sequence[str]) -> Iterator[tuple[str, str]]:
    index = 1
    while index < len(argv):
        argument = argv[index]
        index += 1
        if not argument.startswith("-"):
            continue
        key = argument.lstrip("-")
        value = ""
        if key in WITH_VALUE and index < len(argv):
            value = argv[index]
            index += 1
        yield key, value


def _address(text: str) -> QmpSocket | None:
    """The socket of `-qmp ADDRESS` or of a chardev's options."""
    if text.startswith("unix:"):
        parsed = options(text)
        return _socket({**parsed, "path": parsed.get("", "").removeprefix("unix:")})
    return None


def _socket(chardev: dict[str, str]) -> QmpSocket | None:
    path = chardev.get("path", "")
    waits = "nowait" not in chardev and chardev.get("wait", "on") in YES
    if path:
        return QmpSocket(path="\0" + path if chardev.get("abstract") in YES else path, waits=waits)
    number = chardev.get("fd", chardev.get("str", ""))
    return QmpSocket(fd=int(number), waits=waits) if number.isascii() and number.isdigit() else None


def parse_command_line(argv: Sequence[str]) -> QemuCommand:
    """Read what vmon needs of the arguments of a QEMU."""
    name = machine = ""
    accels: list[str] = []
    ram_bytes = DEFAULT_RAM_BYTES
    elsewhere = gdbstub = False
    chardevs: dict[str, dict[str, str]] = {}
    controls: list[str] = []
    sockets: list[QmpSocket] = []
    for key, value in _pairs(argv):
        parsed = parsed_option(value)
        match key:
            case "name":
                name = parsed.get("guest") or parsed.get("", name)
            case "m":
                text = parsed.get("size") or parsed.get("", "")
                ram_bytes = size_bytes(text, "m") or ram_bytes
            case "machine" | "M":
                machine = parsed.get("type") or parsed.get("", machine)
                accels += parsed["accel"].split(":") if "accel" in parsed else []
            case "accel":
                accels.append(parsed.get("accel") or parsed.get("", ""))
            case "s" | "gdb":
                gdbstub = value != "none"
            case "enable-kvm":
                accels.append("kvm")
            case "chardev" if "id" in parsed:
                chardevs[parsed["id"]] = parsed
            case "mon" if parsed.get("mode") == "control":
                controls.append(parsed.get("chardev") or parsed.get("", ""))
            case "qmp" | "qmp-pretty" if value.startswith("chardev:"):
                controls.append(value.removeprefix("chardev:"))
            case "qmp" | "qmp-pretty" if value != "none":
                socket = _address(value)
                elsewhere |= socket is None
                sockets += [socket] if socket else []
    for chardev in controls:
        socket = _socket(chardevs.get(chardev, {}))
        elsewhere |= socket is None
        sockets += [socket] if socket else []
    chosen = set(accels)
    return QemuCommand(
        name=name,
        machine=machine,
        accel=accels[0] if len(chosen) == 1 else ("" if chosen else "tcg"),
        ram_bytes=ram_bytes,
        qmp=tuple(dict.fromkeys(sockets)),
        qmp_elsewhere=elsewhere,
        gdbstub=gdbstub,
    )
