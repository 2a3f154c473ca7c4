from __future__ import annotations

import numpy as np
import pytest

from tests.unit.linux.scene import Scene
from vmon.core.records.memory import ScanRecord
from vmon.linux.kernel import Kernel
from vmon.linux.snapshot import Snapshot
from vmon.monitor import scanning
from vmon.monitor.scanning import Scan
from vmon.monitor.yara import Hit, Rules

META: dict[str, str | int | float | bool] = {"score": 3, "mitre": "see T1059.004, T1055"}


class Finds(Rules):
    """In the place of compiled rules: every place of one text. `hits` of it at most."""

    def __init__(self, text: bytes, *, gives_up: bool = False, cut: bool = False, bare: bool = False) -> None:
        super().__init__(None, ValueError, ValueError)
        self.text, self.gives_up, self.cut, self.bare = text, gives_up, cut, bare
        self.scanned: list[bytes] = []

    def scan(self, data: bytes) -> list[Hit] | None:
        self.scanned.append(data)
        if self.gives_up:
            return None
        places, at = [], data.find(self.text)
        while at >= 0:
            places.append(("$a", at, len(self.text), None))
            at = data.find(self.text, at + 1)
        if not places:
            return []
        return [Hit("finds", "unit", ["t"], META, [] if self.bare else list(places), self.cut)]


def scan(rules: Finds) -> tuple[list[ScanRecord], Scan]:
    kernel = Scene("new").guest.kernel()
    made = Scan(kernel, rules)
    return list(made.processes(Snapshot.of_all(kernel))), made


def test_a_match_says_where_it_is() -> None:
    kernel = Scene("new").guest.kernel()
    snapshot = Snapshot.of_all(kernel)
    row = snapshot.pid.index(42)
    area = next(area for area in snapshot.maps(row) if area.path == "[stack]")
    found = list(Scan(kernel, Finds(b"with space")).processes(snapshot))
    assert [(record.pid, record.process, record.key) for record in found] == [
        (42, "worker", snapshot.key(row))
    ]
    record = found[0]
    assert (record.rule, record.namespace, record.tags, record.meta) == ("finds", "unit", ["t"], META)
    assert record.technique == "T1059.004"
    assert (record.pattern, record.size, record.data, record.xor_key) == ("$a", 10, "with space", None)
    inside = area.start <= record.address < area.end
    assert (record.area, record.permissions) == (("[stack]", area.permissions) if inside else ("", ""))


def test_bytes_are_escaped_and_cut() -> None:
    found, _ = scan(Finds(b"with space\0\0\xff\n"))
    assert [record.data for record in found] == ["with space\\x00\\x00\\xff\\x0a"]


def test_a_rule_without_patterns_is_one_match() -> None:
    found, _ = scan(Finds(b"with space", bare=True))
    assert [(record.pattern, record.size, record.data) for record in found] == [("", 0, "")]


def test_what_was_not_scanned_is_told() -> None:
    found, made = scan(Finds(b"with space", gives_up=True))
    assert found == []
    assert ("memory", "bounded") in [(gap.what, gap.reason) for gap in made.gaps.records()]
    _, made = scan(Finds(b"with space", cut=True))
    assert ("matches", "bounded") in [(gap.what, gap.reason) for gap in made.gaps.records()]


def test_a_process_that_cannot_be_read_does_not_spoil_the_others() -> None:
    made = Scene("new")
    kernel = made.guest.kernel()
    other = Snapshot.of_all(kernel).mm(0)
    made.guest.set(other, "mm_struct", {"pgd": 0xFFFF_FE00_0000_0000})
    kernel = made.guest.kernel()
    one = Scan(kernel, Finds(b"with space"))
    assert [record.pid for record in one.processes(Snapshot.of_all(kernel))] == [42]
    assert "unreadable" in [gap.reason for gap in one.gaps.records()]


def test_a_process_that_ran_another_program_meanwhile_is_left_out_and_told() -> None:
    made = Scene("new")
    kernel = made.guest.kernel()
    where = made.guest.gpa(made.guest.at(made.worker_process.task, "task_struct", "mm"))

    class Moves(Finds):
        def scan(self, data: bytes) -> list[Hit] | None:
            kernel.memory.phys.guest_writes(where, bytes(8))  # type: ignore[attr-defined]
            return super().scan(data)

    one = Scan(kernel, Moves(b"with space"))
    assert list(one.processes(Snapshot.of_all(kernel))) == []
    assert "torn" in [gap.reason for gap in one.gaps.records()]


def test_the_image_of_the_kernel_in_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanning, "KERNEL_WINDOW_BYTES", 1 << 20)
    monkeypatch.setattr(scanning, "RAM_TIMES", 100)
    kernel: Kernel = Scene("new").guest.kernel()
    base, size = kernel.memory.bases.text_gva, kernel.memory.bases.image_size_bytes
    banner = b"Linux version"
    pages = np.arange(base, base + size, 4096, dtype=np.uint64)
    whole = kernel.memory.gather(pages, 4096).tobytes()
    rules = Finds(banner)
    made = Scan(kernel, rules)
    found = list(made._range("kernel image", base, size))
    assert [record.address - base for record in found] == [
        at for at in range(len(whole)) if whole.startswith(banner, at)
    ]
    assert {record.area for record in found} <= {"kernel image"}
    assert sum(min(len(data), 1 << 20) for data in rules.scanned) >= size
