"""A user's program passes mypy --strict against the installed package, names that are imported lazily included."""

from __future__ import annotations

import subprocess
import sys

import pytest

import vmon
from tests.house.sources import ROOT

PROGRAM = """
import asyncio
from collections.abc import Sequence

import vmon

with vmon.attach("web1", needs=("probe", "net.connect")) as vm:
    release: str = vm.guest.release
    processes: list[vmon.Process] = vm.processes()
    paths: list[str | None] = [file.path for file in vm.process(1234).files()]
    outcome: str = vm.process(1234).kill().outcome
    with vm.deny("file.open", path="/etc/shadow", unless_exe="/usr/bin/passwd") as rules:
        numbers: list[int] = rules.numbers
    for event in vm.events("process.exec", "file.open", timeout_s=1):
        seen: vmon.Event = event
        reveal_type(event.path)

    @vm.on("net.connect", port=25, timeout_ms=500, fallback="allow")
    def ask(event: vmon.Event) -> vmon.Decision:
        return vmon.KILL if event.port == 25 else vmon.DENY

    @vm.on("process.exec", path=["/a", "/b"])
    async def later(event: vmon.Event) -> vmon.Decision:
        await asyncio.sleep(0)
        return vmon.ALLOW

    reveal_type(ask)
    reveal_type(vm.process(1).children(recursive=True))
    vm.run(1.0)
    vm.off(ask)

    async def watch() -> None:
        async for event in vm.aevents("net.connect"):
            print(event.address, event.port)

    asyncio.run(watch())
    answer: vmon.Answer[vmon.Process] = vm.processes()
    gaps = [gap.reason for gap in answer.coverage]
    vm.add_rules([vmon.Rule(events=("file.open",), path="/x")])

for change in vmon.sweep(vm, timeout_s=1):
    print(change.kind, change.record.exe)
"""
FAULTS = """
import vmon

with vmon.attach("web1") as vm:
    vm.deny("file.open", pth="/x")
    vm.on("net.connect", fallback="perhaps")

    @vm.on("net.connect")
    def ask(event: vmon.Event) -> int:
        return 1

    vm.process("1").kill()
"""


CACHE = ROOT / ".mypy_cache" / "user"


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What mypy says of both, in a folder away from this repository's own configuration, as a user is."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "program.py").write_text(PROGRAM)
    (folder / "faults.py").write_text(FAULTS)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(CACHE), "program.py", "faults.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.stderr
    return done.stdout


def test_a_users_program_is_checked(said: str) -> None:
    of_program = [line for line in said.splitlines() if line.startswith("program.py")]
    assert not [line for line in of_program if ": error:" in line]
    told = "\n".join(of_program)
    assert 'Revealed type is "str | None"' in told
    assert "def (event: vmon.core.events.Event)" in told
    assert "list[vmon.monitor.process.Process]" in told


def test_a_users_faults_are_found(said: str) -> None:
    lines = [line for line in said.splitlines() if line.startswith("faults.py") and ": error:" in line]
    assert len(lines) == 4, lines
    assert [line.split(":")[1] for line in lines] == ["5", "6", "8", "12"]


def test_every_lazy_name_is_there() -> None:
    assert dir(vmon) == sorted(vmon.__all__)
    for name in vmon.__all__:
        assert getattr(vmon, name) is not None
    assert vmon.ALLOW == "allow"
