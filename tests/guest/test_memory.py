"""The memory of processes, against the guest's own word: /proc/PID/mem, pagemap, auxv, stack, syscall, on every kernel.

inside/memory.c makes a process whose memory holds known patterns in every kind of page.
"""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import vmon
from tests.guest.compare import settles
from tests.guest.conftest import PATIENCE_S, say
from vmon.core.errors import NoSuchProcess, NotMapped, RulesError, UsageError
from vmon.lab.guest import LabGuest
from vmon.linux.usermem import UserMemory

PAGE = 4096
NEEDLE, WIDE = "vmon-needle-7f3a", "wide-needle!"
PREPARE = """
modprobe loop
modprobe tun
mkdir -p /dev/net
[ -e /dev/net/tun ] || mknod /dev/net/tun c 10 200
dd if=/dev/zero of=/tmp/swap bs=1M count=8 2>/dev/null
losetup /dev/loop0 /tmp/swap
mkswap /dev/loop0 >/dev/null
swapon /dev/loop0
cat /sys/kernel/mm/transparent_hugepage/enabled >/tmp/thp
echo madvise >/sys/kernel/mm/transparent_hugepage/enabled
sync; echo 3 >/proc/sys/vm/drop_caches; echo 1 >/proc/sys/vm/compact_memory
/lab/memory spin
"""
CLEAN = """
end {pid}
swapoff /dev/loop0
losetup -d /dev/loop0
rmmod tun
rm /tmp/swap
sed -n 's/.*\\[\\(.*\\)\\].*/\\1/p' /tmp/thp >/sys/kernel/mm/transparent_hugepage/enabled
rm /tmp/thp
"""


@dataclass(frozen=True)
class Prepared:
    """What inside/memory.c told of itself."""

    guest: LabGuest
    pid: int
    blocked: int
    guarded: bool
    request: int
    areas: dict[str, tuple[int, int]]

    def mem(self, start: int, size: int) -> bytes:
        """/proc/PID/mem, which touches the pages that it reads: ask vmon first."""
        page, count = start // PAGE, size // PAGE
        return self.guest.run(
            f"dd if=/proc/{self.pid}/mem bs={PAGE} skip={page} count={count} 2>/dev/null"
        ).out

    def pagemap(self, start: int, size: int) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
        page, count = start // PAGE, size // PAGE
        data = self.guest.run(
            f"dd if=/proc/{self.pid}/pagemap bs=8 skip={page} count={count} 2>/dev/null"
        ).out
        assert len(data) == 8 * count
        return np.frombuffer(data, dtype="<u8")


@pytest.fixture(scope="module")
def prepared(guest: LabGuest) -> Iterator[Prepared]:
    lines = [line.split() for line in say(guest, PREPARE).splitlines()]
    told = {name: (int(first), int(second)) for name, first, second in lines}
    areas = {name: place for name, place in told.items() if place[1] >= PAGE}
    pid = told["pid"][0]
    assert "nopageout" not in told
    yield Prepared(guest, pid, told["blocked"][0], bool(told["guarded"][0]), told["request"][0], areas)
    say(guest, CLEAN.format(pid=pid))


def filled(name: str, page: int) -> bytes:
    """What memory.c writes into a page."""
    data = bytearray((i * 7 + page * 13 + (i >> 8)) & 0xFF for i in range(PAGE))
    text = f"page {page} of {name}".encode() + b"\0"
    data[: len(text)] = text
    return bytes(data)


def test_every_kind_of_page(prepared: Prepared, vm: vmon.VirtualMachine) -> None:
    process = vm.process(prepared.pid)
    assert process.name == "m-memory"

    start, size = prepared.areas["anon"]
    read = process.read_memory(start, size)
    assert (len(read), read.coverage, read.missing) == (size, [], [])
    for page in range(0, 64, 2):
        own = read[page * PAGE : (page + 1) * PAGE]
        # The page with the text that crosses into it, the end of the one before it, and that with the wide text.
        if page not in (8, 10, 20):
            assert own == filled("anon", page), page
    assert read[9 * PAGE - 6 : 9 * PAGE + 10] == NEEDLE.encode()
    # Never touched, so they read as zeros: the guest agrees, by what it would give.
    assert read[PAGE : 2 * PAGE] == bytes(PAGE)
    assert read == prepared.mem(start, size)

    start, size = prepared.areas["large"]
    present = int((prepared.pagemap(start, size) >> np.uint64(63)).sum())
    assert present == 1024
    read = process.read_memory(start, size)
    assert read.coverage == []
    aligned = -start % (2 << 20)
    for page in (0, 1, 511, 512, 1023):
        assert read[aligned + page * PAGE :][:PAGE] == filled("large", page)
    assert read == prepared.mem(start, size)

    start, size = prepared.areas["none"]
    read = process.read_memory(start, size)
    assert read == b"".join(filled("none", page) for page in range(8))
    assert read.coverage == []

    start, size = prepared.areas["zero"]
    assert process.read_memory(start, size) == bytes(size)


def test_large_pages_are_large(prepared: Prepared, vm: vmon.VirtualMachine) -> None:
    start, size = prepared.areas["large"]
    smaps = say(prepared.guest, f"cat /proc/{prepared.pid}/smaps")
    huge = sum(int(found) for found in re.findall(r"AnonHugePages:\s+(\d+) kB", smaps)) * 1024
    if not huge:
        pytest.skip("the memory of this guest is in pieces: it has no page of 2 MiB for a process")
    snapshot = vm.snapshot()
    memory = snapshot.memory(snapshot.pid.index(prepared.pid))
    sizes = [
        int(span)
        for area in memory.areas
        for spans in memory.spans(area, start, start + size)
        for span, state in zip(spans.sizes, spans.states, strict=True)
        if state == 0 and span >= 2 << 20
    ]
    # Two pages of 2 MiB in RAM, in one span where they are neighbours there.
    assert sum(sizes) == huge
    assert len(sizes) <= 2


def test_pages_on_swap_are_told(prepared: Prepared, vm: vmon.VirtualMachine) -> None:
    start, size = prepared.areas["swapped"]
    process = vm.process(prepared.pid)
    read = process.read_memory(start, size)
    swapped = (prepared.pagemap(start, size) >> np.uint64(62)) & np.uint64(1)
    count = int(swapped.sum())
    assert count > 0
    assert [(gap.reason, gap.count) for gap in read.coverage] == [("swapped", count)]
    told = {
        (part.address - start) // PAGE + page for part in read.missing for page in range(part.size // PAGE)
    }
    assert told == set(np.flatnonzero(swapped).tolist())
    for page in range(64):
        expected = bytes(PAGE) if page in told else filled("swapped", page)
        assert read[page * PAGE : (page + 1) * PAGE] == expected


def test_shared_memory_that_nobody_maps_is_found_in_the_page_cache(
    prepared: Prepared, vm: vmon.VirtualMachine
) -> None:
    start, size = prepared.areas["shared"]
    read = vm.process(prepared.pid).read_memory(start, size)
    present = prepared.pagemap(start, size) >> np.uint64(63)
    assert present.tolist() == [0] * 4 + [1] * 4
    assert read == b"".join(filled("shared", page) for page in range(8))
    assert read.missing == []


def test_a_program_is_there_whole_though_it_touched_a_part(
    prepared: Prepared, vm: vmon.VirtualMachine, overlay: Path
) -> None:
    process = vm.process(prepared.pid)
    file = (overlay / "lab" / "memory").read_bytes()
    unmapped = 0
    for area in process.maps():
        if area.path != "/lab/memory":
            continue
        read = process.read_memory(area.start, area.end - area.start)
        assert read.missing == []
        for page, entry in enumerate(prepared.pagemap(area.start, len(read)).tolist()):
            present, of_file = entry >> 63 & 1, entry >> 61 & 1
            unmapped += not present
            part = file[area.offset + page * PAGE :][:PAGE]
            if of_file or not present:
                assert read[page * PAGE :][: len(part)] == part, (area, page)
    assert unmapped > 0


def test_guard_pages_are_told(prepared: Prepared, vm: vmon.VirtualMachine) -> None:
    start, size = prepared.areas["guard"]
    read = vm.process(prepared.pid).read_memory(start, size)
    expected = [filled("guard", page) for page in range(8)]
    if prepared.guarded:
        expected[2:4] = [bytes(PAGE)] * 2
        assert [(part.address, part.size, part.detail) for part in read.missing] == [
            (start + 2 * PAGE, 2 * PAGE, "guard pages")
        ]
    else:
        # Up to 6.12 there are none.
        assert prepared.guest.record.series in ("5.10", "6.1", "6.12")
        assert read.missing == []
    assert read == b"".join(expected)


def test_reads_at_odd_places(prepared: Prepared, vm: vmon.VirtualMachine) -> None:
    process = vm.process(prepared.pid)
    start, _ = prepared.areas["none"]
    whole = b"".join(filled("none", page) for page in range(8))
    for offset, size in ((1, 1), (4095, 2), (17, 8000), (0, 0), (5, 3 * PAGE)):
        assert process.read_memory(start + offset, size) == whole[offset : offset + size]
    first = min(area.start for area in process.maps())
    read = process.read_memory(first - 16, 32)
    assert (read.missing[0].address, read.missing[0].size) == (first - 16, 16)
    assert read.missing[0].detail == "no memory area there"
    with pytest.raises(NotMapped, match="no memory area"):
        process.read_memory(PAGE, 16)
    with pytest.raises(UsageError):
        process.read_memory(first, (1 << 30) + 1)
    with pytest.raises(NotMapped, match="no memory of its own"):
        vm.process(2).read_memory(0, 16)


def test_all_present_pages_of_a_whole_process(prepared: Prepared, vm: vmon.VirtualMachine) -> None:
    process = vm.process(prepared.pid)
    snapshot = vm.snapshot()
    mm = snapshot.mm(snapshot.pid.index(prepared.pid))
    assert mm is not None
    memory = UserMemory(snapshot.kernel, mm)
    for area, record in zip(memory.areas, process.maps(), strict=True):
        assert (area.start, area.end) == (record.start, record.end)
        seen = np.zeros((area.end - area.start) // PAGE, dtype=bool)
        for spans in memory.spans(area):
            for gva, size, state in zip(
                spans.gvas.tolist(), spans.sizes.tolist(), spans.states.tolist(), strict=True
            ):
                seen[(gva - area.start) // PAGE : (gva + size - area.start) // PAGE] = state == 0
        told = (prepared.pagemap(area.start, area.end - area.start) >> np.uint64(63)).astype(bool)
        # Pages of [vvar] have no struct page that pagemap would tell of.
        if record.path not in ("[vvar]", "[vvar_vclock]"):
            assert (seen == told).all(), record


def test_auxv(prepared: Prepared, vm: vmon.VirtualMachine) -> None:
    told = prepared.guest.run(f"cat /proc/{prepared.pid}/auxv").out
    pairs = list(struct.iter_unpack("<QQ", told))
    assert pairs[-1][0] == 0
    seen = vm.auxv(prepared.pid)
    assert [(record.type, record.value) for record in seen] == pairs[:-1]
    texts = {record.name: record.text for record in seen if record.text is not None}
    assert texts == {"AT_EXECFN": "/lab/memory", "AT_PLATFORM": "x86_64"}
    assert seen.coverage == []
    with pytest.raises(NotMapped):
        vm.auxv(2)


def oracle_stack(guest: LabGuest, path: str) -> list[str]:
    """Functions of /proc/.../stack with their offsets, innermost first."""
    return re.findall(r"\[<0>\] (\S+?)/0x[0-9a-f]+", say(guest, f"cat {path}/stack"))


def test_registers_and_stacks(prepared: Prepared, vm: vmon.VirtualMachine) -> None:
    pid = prepared.pid
    seen = {record.name: record for record in vm.stack(pid)}
    assert list(seen) == ["m-memory", "m-blocked", "m-module", "m-spinning"]
    for name in ("m-memory", "m-blocked", "m-module"):
        record = seen[name]
        task = f"/proc/{pid}/task/{record.tid}"
        number, *arguments, rsp, rip = say(prepared.guest, f"cat {task}/syscall").split()
        registers = record.registers
        assert registers is not None
        assert record.syscall == int(number)
        names = ("rdi", "rsi", "rdx", "r10", "r8", "r9")
        assert [registers[name] for name in names] == [int(word, 16) for word in arguments]
        assert (registers["rsp"], registers["rip"]) == (int(rsp, 16), int(rip, 16))
        told = oracle_stack(prepared.guest, task)
        mine = [f"{frame.symbol}+{frame.offset:#x}" for frame in record.frames]
        assert told
        # The guest leaves out the scheduler's own functions.
        assert mine[-len(told) :] == told
        assert all("schedule" in name or "nanosleep" in name for name in mine[: -len(told)])
        assert all(frame.sure for frame in record.frames)
    # Through the code of a module, by its own tables and names.
    assert {frame.module for frame in seen["m-module"].frames} == {"", "tun"}
    registers = seen["m-blocked"].registers
    assert registers is not None
    known = {"r12": 0x12, "r13": 0x13, "r14": 0x14, "r15": 0x15, "rbx": 0x0B}
    assert {name: registers[name] for name in known} == {
        name: int.from_bytes(bytes([byte]) * 8, "little") for name, byte in known.items()
    }
    assert (registers["rdi"], registers["cs"], registers["ss"]) == (prepared.request, 0x33, 0x2B)
    assert seen["m-blocked"].tid == prepared.blocked
    assert [record.tid for record in vm.stack(pid, prepared.blocked)] == [prepared.blocked]
    with pytest.raises(NoSuchProcess, match="no thread 1"):
        vm.stack(pid, 1)


def test_a_thread_on_a_cpu_is_said_to_be(prepared: Prepared, vm: vmon.VirtualMachine) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while (answer := vm.stack(prepared.pid))[-1].on_cpu is None:
        assert time.monotonic() < deadline, "m-spinning has a CPU nearly always"
    record = answer[-1]
    assert (record.name, record.registers, record.frames) == ("m-spinning", None, [])
    assert "on a CPU right now" in [gap.detail for gap in answer.coverage]


def test_stacks_of_every_sleeping_thread(prepared: Prepared, vm: vmon.VirtualMachine) -> None:
    """Those that sleep before and after must be what the guest says, kernel threads too."""
    compared = sum(
        same_stack(prepared, vm, process.pid)
        for process in vm.processes()
        if process.state in ("S", "I") and process.pid != prepared.pid
    )
    assert compared >= 20


def same_stack(prepared: Prepared, vm: vmon.VirtualMachine, pid: int) -> bool:
    """Whether it could be compared: it slept at one place, before and after, and did not end."""
    could = False

    def compare() -> None:
        nonlocal could
        path = f"/proc/{pid}/stack"
        before = prepared.guest.run(f"cat {path}").out
        try:
            record = vm.stack(pid, pid)[0]
        except NoSuchProcess:
            return
        after = prepared.guest.run(f"cat {path}").out
        told = re.findall(r"\[<0>\] (\S+?)/0x[0-9a-f]+", before.decode())
        if before != after or not told or record.on_cpu is not None:
            return
        mine = [f"{frame.symbol}+{frame.offset:#x}" for frame in record.frames]
        assert mine[-len(told) :] == told, (pid, mine, told)
        assert all(frame.sure for frame in record.frames), (pid, record.frames)
        could = True

    # It may have slept elsewhere in between, for a moment.
    settles(compare)
    return could


def test_strings(prepared: Prepared, vm: vmon.VirtualMachine) -> None:
    seen = vm.strings(prepared.pid, 10)
    start, _ = prepared.areas["anon"]
    ascii_texts = [record for record in seen if NEEDLE in record.text]
    assert [record.address + record.text.index(NEEDLE) for record in ascii_texts] == [start + 9 * PAGE - 6]
    wide = [record for record in seen if record.encoding == "utf-16-le" and WIDE in record.text]
    assert [record.address for record in wide] == [start + 20 * PAGE + 256]
    reasons = {gap.reason for gap in seen.coverage}
    assert reasons == {"swapped", "not resident"} | ({"unreadable"} if prepared.guarded else set())
    every = "\n".join(record.text for record in seen)
    found = set(re.findall(r"page (\d+) of large", every))
    assert set(map(str, range(1024))) <= found
    assert "page 7 of none" in every
    assert "of swapped" not in every


def rules(folder: Path, text: str) -> Path:
    file = folder / "lab.yar"
    file.write_text(text)
    return file


def test_scan(prepared: Prepared, vm: vmon.VirtualMachine, tmp_path: Path) -> None:
    pytest.importorskip("yara_x")
    file = rules(
        tmp_path,
        f"""
        rule needle : test memory {{
            meta: attack = "T1055.001" score = 7
            strings: $text = "{NEEDLE}" $wide = "{WIDE}" wide
            condition: all of them
        }}
        rule of_none {{ strings: $a = "page 7 of none" condition: $a }}
        rule program {{ condition: uint32(0) == 0x464c457f }}
        rule of_nobody {{ strings: $a = "nobody has this text 91c2" condition: $a }}
        """,
    )
    start, _ = prepared.areas["anon"]
    seen = vm.scan([file])
    own = [record for record in seen if record.rule == "needle"]
    assert [(record.pattern, record.address, record.size) for record in own] == [
        ("$text", start + 9 * PAGE - 6, 16),
        ("$wide", start + 20 * PAGE + 256, 24),
    ]
    first = own[0]
    assert (first.pid, first.process, first.permissions) == (prepared.pid, "m-memory", "rw-p")
    assert (first.data, first.tags, first.meta) == (
        NEEDLE, ["test", "memory"], {"attack": "T1055.001", "score": 7},
    )  # fmt: skip
    assert (first.technique, first.namespace) == ("T1055.001", "lab")
    assert own[1].data.startswith("w\\x00i\\x00")
    hidden = [record for record in seen if record.rule == "of_none"]
    assert [(record.address, record.permissions) for record in hidden] == [
        (prepared.areas["none"][0] + 7 * PAGE, "---p")
    ]
    assert not [record for record in seen if record.rule == "of_nobody"]
    # A page that nobody touched since the program was started: out of the page cache.
    programs = {
        record.address: record.area
        for record in seen
        if (record.rule, record.pid) == ("program", prepared.pid)
    }
    assert programs[0x400000] == "/lab/memory"
    assert "swapped" in {gap.reason for gap in seen.coverage}
    assert len(vm.scan([file], pids=[prepared.pid])) == len(own) + len(hidden) + len(programs)
    assert {record.rule for record in vm.scan([file], pids=[1])} <= {"program"}


def test_scan_of_files_that_nobody_has_open(guest: LabGuest, vm: vmon.VirtualMachine, tmp_path: Path) -> None:
    pytest.importorskip("yara_x")
    text = "a file that nobody has open 5e01"
    file = rules(tmp_path, f'rule left {{ strings: $a = "{text}" condition: $a }}')
    say(guest, f"mkdir /tmp/s; dd if=/dev/zero of=/tmp/s/left bs=4096 count=3; echo '{text}' >> /tmp/s/left")
    try:
        (record,) = vm.scan([file], parts=["files"])
        assert (record.pid, record.process, record.address) == (0, "", 3 * PAGE)
        assert record.area.startswith("tmpfs (") and record.area.endswith(":/s/left")
    finally:
        say(guest, "rm -r /tmp/s")
    assert vm.scan([file], parts=["files"]) == []


def test_scan_of_the_kernel(prepared: Prepared, vm: vmon.VirtualMachine, tmp_path: Path) -> None:
    pytest.importorskip("yara_x")
    file = rules(
        tmp_path,
        'rule banner { strings: $a = "Linux version " condition: $a }\n'
        'rule loop { strings: $a = "loop%d" condition: $a }',
    )
    seen = vm.scan([file], parts=["kernel"])
    banner = vm.kernel.symbol("linux_banner")
    assert banner in {record.address for record in seen if record.rule == "banner"}
    assert {record.pid for record in seen} == {0}
    assert "module loop" in {record.area for record in seen if record.rule == "loop"}


def test_rules_that_make_no_sense(prepared: Prepared, vm: vmon.VirtualMachine, tmp_path: Path) -> None:
    pytest.importorskip("yara_x")
    file = rules(tmp_path, "rule a {\n  condition:\n    $missing\n}")
    with pytest.raises(RulesError, match=rf"{file}:3:5: unknown pattern"):
        vm.scan([file])


GDB = """
set pagination off
set debuginfod enabled off
printf "threads\\n"
info threads
thread find m-blocked
thread 2
printf "r12=%lx r13=%lx rbx=%lx rip=%lx rsp=%lx\\n", $r12, $r13, $rbx, $rip, $rsp
backtrace
x/s {text:#x}
x/s {none:#x}
info auxv
info proc mappings
x/8bx {swapped:#x}
"""


def test_core_file(prepared: Prepared, vm: vmon.VirtualMachine, tmp_path: Path, overlay: Path) -> None:
    file = tmp_path / "core"
    written = vm.core(prepared.pid, file)
    assert (written.threads, written.size) == (4, file.stat().st_size)
    assert file.stat().st_blocks * 512 < written.size, "it is sparse"
    with pytest.raises(UsageError, match="there already"):
        vm.core(prepared.pid, file)
    segments = load_segments(file.read_bytes())
    process = vm.process(prepared.pid)
    data = file.read_bytes()
    for name in ("anon", "large", "none"):
        start, size = prepared.areas[name]
        assert read_segments(data, segments, start, size) == process.read_memory(start, size)
    start, _ = prepared.areas["swapped"]
    assert read_segments(data, segments, start, PAGE) is None
    if shutil.which("gdb") is None:
        pytest.skip("no gdb here; ./dev setup installs it")
    script = tmp_path / "script"
    anon, none = prepared.areas["anon"][0], prepared.areas["none"][0]
    script.write_text(GDB.format(text=anon + 9 * PAGE - 6, none=none, swapped=start))
    done = subprocess.run(
        ["gdb", "-nx", "-batch", "-x", script, overlay / "lab" / "memory", file],
        capture_output=True,
        text=True,
        check=False,
    )
    told = done.stdout
    record = vm.stack(prepared.pid, prepared.blocked)[0].registers
    assert record is not None
    assert (
        f"r12=1212121212121212 r13=1313131313131313 rbx=b0b0b0b0b0b0b0b "
        f"rip={record['rip']:x} rsp={record['rsp']:x}"
    ) in told
    assert re.search(r"#0 .* in blocked \(\)\n#1 .* in start_thread \(\)\n#2 .* in clone3? \(\)", told), told
    assert f'"{NEEDLE}' in told
    assert '"page 0 of none"' in told
    assert re.search(r'AT_EXECFN.*"/lab/memory"', told)
    assert re.search(r"0x401000 .* /lab/memory", told)
    assert "Cannot access memory" in told + done.stderr, "swapped pages are not zeros"


Segments = list[tuple[int, int, int, int]]


def load_segments(data: bytes) -> Segments:
    """(address, memory size, file offset, file size) of each PT_LOAD."""
    assert data[:4] == b"\x7fELF"
    assert struct.unpack_from("<HH", data, 16) == (4, 62)
    at, count = struct.unpack_from("<Q", data, 32)[0], struct.unpack_from("<H", data, 56)[0]
    found = []
    for number in range(count):
        kind, _, offset, address, _, stored, size, _ = struct.unpack_from("<IIQQQQQQ", data, at + 56 * number)
        if kind == 1:
            found.append((address, size, offset, stored))
    assert found == sorted(found)
    return found


def read_segments(data: bytes, segments: Segments, start: int, size: int) -> bytes | None:
    """What a core has at an address; None where it has no bytes."""
    pieces, at = [], start
    for address, length, offset, stored in segments:
        if address <= at < address + length:
            step = min(start + size, address + length) - at
            if at - address + step > stored:
                return None
            pieces.append(data[offset + at - address :][:step])
            at += step
    return b"".join(pieces) if at >= start + size else None
