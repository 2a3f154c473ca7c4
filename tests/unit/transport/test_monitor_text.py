"""What QEMU 7.2 really prints, captured, and what vmon makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmon.core.errors import TargetError
from vmon.transport.qemu.monitor_text import RamPiece, host_address, memory_tree, registers

CAPTURED = Path(__file__).parent / "captured"
MIB, GIB = 1 << 20, 1 << 30


def runs(pieces: list[RamPiece]) -> list[tuple[int, int, str, int]]:
    """(start, end, block, offset), neighbours joined."""
    joined: list[tuple[int, int, str, int]] = []
    for piece in pieces:
        end = piece.gpa + piece.size_bytes
        if joined and joined[-1][1] == piece.gpa and joined[-1][2] == piece.block:
            start, last_end, block, offset = joined[-1]
            if offset + last_end - start == piece.offset_bytes:
                joined[-1] = start, end, block, offset
                continue
        joined.append((piece.gpa, end, piece.block, piece.offset_bytes))
    return joined


# Firmware had run in all of them: the BIOS area below 1 MiB is shadowed in RAM.
LAYOUTS = {
    "pc-512m": (["pc.ram"], [(0, 0xA0000, "pc.ram", 0), (0xC0000, 512 * MIB, "pc.ram", 0xC0000)]),
    "pc-6g": (
        ["pc.ram"],
        [
            (0, 0xA0000, "pc.ram", 0),
            (0xC0000, 3 * GIB, "pc.ram", 0xC0000),
            (4 * GIB, 7 * GIB, "pc.ram", 3 * GIB),
        ],
    ),
    "q35-6g": (
        ["pc.ram"],
        [
            (0, 0xA0000, "pc.ram", 0),
            (0xC0000, 2 * GIB, "pc.ram", 0xC0000),
            (4 * GIB, 8 * GIB, "pc.ram", 2 * GIB),
        ],
    ),
    "microvm-512m": (
        ["microvm.ram"],
        [(0, 0xF0000, "microvm.ram", 0), (MIB, 512 * MIB, "microvm.ram", MIB)],
    ),
    "pc-6g-memfd": (
        ["mem0"],
        [(0, 0xA0000, "mem0", 0), (0xC0000, 3 * GIB, "mem0", 0xC0000), (4 * GIB, 7 * GIB, "mem0", 3 * GIB)],
    ),
    "q35-6g-dimm": (
        ["plug", "dimmback", "mem0"],
        [
            (0, 0xA0000, "mem0", 0),
            (0xC0000, 2 * GIB, "mem0", 0xC0000),
            (4 * GIB, 6 * GIB, "mem0", 2 * GIB),
            (6 * GIB, 7 * GIB, "dimmback", 0),
            (7 * GIB, 8 * GIB, "plug", 0),
        ],
    ),
    "pc-6g-numa": (
        ["n1", "n0"],
        [
            (0, 0xA0000, "n0", 0),
            (0xC0000, 2 * GIB, "n0", 0xC0000),
            (2 * GIB, 3 * GIB, "n1", 0),
            (4 * GIB, 7 * GIB, "n1", GIB),
        ],
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_captured_memory_trees(name: str, ending: str) -> None:
    memdevs, expected = LAYOUTS[name]
    text = (CAPTURED / f"{name}.mtree.txt").read_text().replace("\n", ending)
    found = runs(memory_tree(text, memdevs))
    assert found == expected


def test_only_the_view_of_the_cpus_counts() -> None:
    text = (
        "FlatView #0\n"
        ' AS "cpu-smm-0", root: memory\n'
        " Root memory region: memory\n"
        "  0000000000000000-00000000000fffff (prio 0, ram): pc.ram\n"
        "\nFlatView #1\n"
        ' AS "vga", root: bus master container\n'
        ' AS "memory", root: system\n'
        " Root memory region: system\n"
        "  0000000000000000-000000000000ffff (prio 0, ram): pc.ram KVM\n"
        "  0000000000010000-000000000001ffff (prio -1, rom): pc.ram @0000000000010000 KVM\n"
        "  0000000000020000-000000000002ffff (prio 0, ram): /objects/a (b) @c @0000000000000000\n"
        "  0000000000030000-000000000003ffff (prio 0, i/o): pc.ram\n"
        "  0000000000040000-000000000004ffff (prio 0, ramd): pc.ram\n"
        "  0000000000050000-000000000005ffff (prio 0, ram): vga.vram\n"
        "\nFlatView #2\n"
        ' AS "memory", root: elsewhere\n'
        "  0000000000090000-000000000009ffff (prio 0, ram): pc.ram\n"
    )
    assert memory_tree(text, ["a (b) @c"]) == [
        RamPiece(0, 0x10000, "pc.ram", 0),
        RamPiece(0x10000, 0x10000, "pc.ram", 0x10000),
        RamPiece(0x20000, 0x10000, "a (b) @c", 0),
    ]


def test_no_ram_in_nonsense() -> None:
    assert memory_tree("", []) == []
    assert memory_tree("unknown command: 'info mtree'\n", ["pc.ram"]) == []


@given(st.text(alphabet='0123456789abcdef-@(): \nFlatViewASmemoryrampc."', max_size=300))
def test_any_text_is_survived(text: str) -> None:
    memory_tree('FlatView #0\n AS "memory", root: system\n' + text, ["pc.ram"])


def test_host_address() -> None:
    assert host_address("Host virtual address for 0x100000 (pc.ram) is 0x7f9147f00000\r\n") == 0x7F9147F00000
    with pytest.raises(TargetError, match="Memory at address"):
        host_address("Memory at address 0x0 is not RAM\r\n")


def test_registers_of_firmware_and_of_linux() -> None:
    early = registers((CAPTURED / "registers-firmware.txt").read_text(), 0)
    assert (early.rip, early.cr3, early.efer, early.cpl) == (0xB7B9, 0, 0, 0)
    linux = registers((CAPTURED / "registers-linux.txt").read_text(), 3)
    assert linux.cpu == 3 and linux.cpl == 0
    assert (linux.rip, linux.cr3) == (0xFFFFFFFFA1417A0B, 0x17804000)
    assert (linux.rsp, early.rsp) == (0xFFFFFFFFA2403E98, 0x6F94)
    assert (linux.cr4, linux.efer) == (0x751EB0, 0xD01)
    assert linux.idt_base == 0xFFFFFE0000000000
    assert registers("CR3=0 CR4=0 EFER=0 RIP=0 RSP=0 CPL=0", 0).idt_base == 0


def test_registers_that_are_not_there() -> None:
    with pytest.raises(TargetError, match="lacks CR3"):
        registers("RIP=0 CPL=0", 0)
