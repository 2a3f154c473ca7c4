from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.unit.cli.conftest import Run
from tests.unit.linux.build import RELEASE, Guest
from tests.unit.monitor.connection import FakeConnection
from vmon.cli import attached, cli
from vmon.core.records.probe import DoctorRecord
from vmon.monitor.machine import VirtualMachine

CHANGED_NOTHING = "nothing of the guest was changed"


@pytest.fixture
def whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The target is a guest whose text and low memory are there."""
    monkeypatch.setenv("VMON_CACHE_DIR", str(tmp_path))
    guest = Guest("new", code=True)
    guest.process(1, b"init")
    connection = FakeConnection(guest)
    monkeypatch.setattr(attached, "attach", lambda target: VirtualMachine(f"lab:{target}", connection))


def doctor(*arguments: str) -> str:
    return CliRunner().invoke(cli, ["doctor", "x", *arguments], catch_exceptions=False).stdout


@pytest.mark.usefixtures("whole")
def test_for_people() -> None:
    lines = doctor().splitlines()
    assert lines[0] == f"guest    Linux {RELEASE}, tcg, QEMU 0.0"
    assert "  yes registers" in "\n".join(lines)
    assert "  no  write      there is no way to" in lines
    assert "  memory   151 pages (604.0 KiB): 151 at 0x1000" in lines
    head = next(number for number, line in enumerate(lines) if line.startswith("EVENT"))
    table = {line.split()[0]: line.split() for line in lines[head + 1 : lines.index("", head)]}
    assert len(table) == 27
    assert table["process.fork"] == [
        "process.fork", "call", "sites", "1", "observe", "may", "sleep", "wake_up_new_task",
    ]  # fmt: skip
    assert table["file.rename"][4:6] == ["deny", "locked"]
    assert lines[-1] == CHANGED_NOTHING


@pytest.mark.usefixtures("whole")
def test_json_is_one_object() -> None:
    answer = json.loads(doctor("-o", "json"))
    assert tuple(answer) == DoctorRecord.__struct_fields__
    assert answer["changed"] is False
    assert answer["pages"] == 151


def test_a_guest_whose_text_is_not_there(run: Run) -> None:
    """Every event is listed, with the reason below, and nothing is an error."""
    answer = run("doctor", "x")
    assert answer.exit_code == 0
    lines = answer.stdout.splitlines()
    assert sum("not available" in line for line in lines) == 27
    assert any(line.startswith("file.open: ") and "not all RAM" in line for line in lines)
    assert any("the kernel's text can't be searched" in line for line in lines)
    assert "  memory   0 pages (0 B): none" in lines
    assert lines[-1] == CHANGED_NOTHING
