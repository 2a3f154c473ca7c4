"""QEMU answers some questions only in prose for people: the memory tree, host addresses, registers.

Pure: text in, values out. The text comes from QEMU (7.2 was captured for the tests); region names in it come
from whoever wrote QEMU's command line. What does not look as expected is left out of a memory tree and is a
TargetError elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from vmon.core.address import Gpa, Hva
from vmon.core.errors import TargetError
from vmon.core.ports import Registers

REGION = re.compile(
    r"^  ([0-9a-f]{16})-([0-9a-f]{16}) \(prio -?\d+, (?:ram|rom)\): "
    r"(.*?)(?: @([0-9a-f]{16})(?: .*)?)?(?: (?:KVM|Xen|HVF|NVMM|WHPX))?\s*$"
)
ADDRESS_SPACE = re.compile(r'^ AS "memory", root: ')
DEFAULT_RAM = re.compile(r"(pc|microvm|xen|mach-virt)\.ram|ram-node\d+")
"""Memory that machines make for themselves; query-memdev lists it too since QEMU 5.0."""
HOST_ADDRESS = re.compile(r"^Host virtual address for 0x[0-9a-f]+ \(.*\) is 0x([0-9a-f]+)\s*$")
INTERRUPT_TABLE = re.compile(r"^IDT= *([0-9a-f]+) ", re.M)
REGISTER = re.compile(r"\b(RIP|EIP|RSP|ESP|CR3|CR4|EFER|CPL) ?=([0-9a-f]+)\b")


@dataclass(frozen=True, slots=True)
class RamPiece:
    """A run of guest-physical addresses and where in which RAM block it lies."""

    gpa: Gpa
    size_bytes: int
    block: str
    offset_bytes: int


def memory_tree(text: str, memdev_ids: Collection[str]) -> list[RamPiece]:
    """Guest RAM in `info mtree -f`: the flat view that the vCPUs see, blocks of memory backends only.

    Read-only pieces of those blocks count (the shadowed BIOS below 1 MiB: the bytes are guest RAM's); video
    memory and firmware flash are blocks of their own and do not.
    """
    pieces: list[RamPiece] = []
    ours = in_memory_view = False
    for line in text.splitlines():
        if line.startswith("FlatView"):
            if in_memory_view:
                break
            ours = False
        elif line.startswith(" AS ") and ADDRESS_SPACE.match(line):
            ours = in_memory_view = True
        elif ours and (found := REGION.match(line)):
            first, last, name, offset = found.groups()
            # Machines up to 3.1 name a block by its backend's path in QEMU's object tree.
            name = name.removeprefix("/objects/")
            size_bytes = int(last, 16) - int(first, 16) + 1
            if size_bytes > 0 and (name in memdev_ids or DEFAULT_RAM.fullmatch(name)):
                pieces.append(RamPiece(Gpa(int(first, 16)), size_bytes, name, int(offset or "0", 16)))
    return pieces


def host_address(text: str) -> Hva:
    """The answer to `gpa2hva`."""
    found = HOST_ADDRESS.match(text)
    if not found:
        raise TargetError(f"QEMU gave no host address for guest RAM: {text.strip()[:200]!r}")
    return Hva(int(found[1], 16))


def registers(text: str, cpu: int) -> Registers:
    """The answer to `info registers` for one vCPU, in whichever mode it is."""
    values = {name: int(value, 16) for name, value in REGISTER.findall(text)}
    table = INTERRUPT_TABLE.search(text)
    try:
        return Registers(
            cpu=cpu,
            cr3=values["CR3"],
            cr4=values["CR4"],
            efer=values["EFER"],
            rip=values["RIP"] if "RIP" in values else values["EIP"],
            cpl=values["CPL"],
            rsp=values["RSP"] if "RSP" in values else values["ESP"],
            idt_base=int(table[1], 16) if table else 0,
        )
    except KeyError as error:
        raise TargetError(
            f"QEMU's answer to 'info registers' lacks {error.args[0]}: {text.strip()[:200]!r}"
        ) from None
