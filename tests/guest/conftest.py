"""Guests shared by the guest tests: one of each kernel, booted once a test process, ended whatever happens."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import vmon
from tests.guest.truth import Truth
from vmon.core.errors import LabError
from vmon.lab import matrix
from vmon.lab.guest import LabGuest

INSIDE = Path(__file__).parent / "inside"
KERNELS = matrix.names()
OVERLAY_VARIABLE = "VMON_TEST_OVERLAY"
LONG_VARIABLE = "VMON_TEST_LONG"
"""Set by `./dev guest --long`: what hopes for bad luck is repeated many times more."""


def build_overlay(folder: Path) -> Path:
    """Make a folder to lay over the guests' root: the programs of `inside`, built for any kernel."""
    (folder / "lab").mkdir(parents=True)
    for source in sorted(INSIDE.glob("*.c")):
        command = ["gcc", "-static", "-O1", "-pthread", "-Wall", "-Wno-unused-result"]
        subprocess.run([*command, "-o", folder / "lab" / source.stem, source], check=True)
    return folder


@pytest.fixture(scope="session")
def overlay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The overlay, built for this run or, where there is no compiler, before it."""
    given = os.environ.get(OVERLAY_VARIABLE)
    return Path(given) if given else build_overlay(tmp_path_factory.mktemp("overlay"))


class Guests:
    """Boots a guest of a kernel when it is first asked for, and ends the one before.

    Pytest runs the tests of one kernel after another. In the emulated host of `./dev guest --kvm` two guests at a
    time now and then ruin each other, which is the emulator's doing.
    """

    def __init__(self, overlay: Path) -> None:
        self._overlay = overlay
        self._guests: dict[str, LabGuest] = {}

    def get(self, kernel: str) -> LabGuest:
        if kernel not in self._guests:
            self.end()
            guest = self._boot(kernel)
            self._guests[kernel] = guest
            done = guest.run("/lab/workload", timeout_s=60)
            assert done.out == b"ready\n", (done.out, done.err)
        return self._guests[kernel]

    def _boot(self, kernel: str) -> LabGuest:
        name = f"t-{kernel}-{os.getpid()}"
        try:
            return LabGuest.up(name, kernel=kernel, cpus=2, overlay=self._overlay)
        except LabError:
            # A 6.18 that patches its own text as it boots now and then panics in the emulator, before we come.
            return LabGuest.up(name, kernel=kernel, cpus=2, overlay=self._overlay)

    def end(self) -> None:
        while self._guests:
            self._guests.popitem()[1].down()


@pytest.fixture(scope="session")
def guests(overlay: Path) -> Iterator[Guests]:
    found = Guests(overlay)
    yield found
    found.end()


@pytest.fixture(scope="session", autouse=True)
def own_run_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Guests of this test process have a run folder of their own; at the end nothing is left in it."""
    # Short, because a socket's path has 107 bytes.
    folder = Path(f"/tmp/vmon-t{os.getpid()}")
    old = os.environ.get("VMON_RUN_DIR")
    os.environ["VMON_RUN_DIR"] = str(folder)
    yield folder
    left = [guest.name for guest in LabGuest.list()]
    for name in left:
        LabGuest.find(name).down()
    shutil.rmtree(folder, ignore_errors=True)
    if old is None:
        del os.environ["VMON_RUN_DIR"]
    else:
        os.environ["VMON_RUN_DIR"] = old
    assert not left, f"guests left running by the tests: {left}"


@pytest.fixture(
    scope="session",
    params=KERNELS,
)
def guest(request: pytest.FixtureRequest, guests: Guests) -> LabGuest:
    """A running guest with the workload in it, once for each kernel of the matrix."""
    return guests.get(request.param)


@pytest.fixture
def vm(guest: LabGuest) -> Iterator[vmon.VirtualMachine]:
    with vmon.attach(guest.name) as machine:
        yield machine


def ask_truth(guest: LabGuest) -> Truth:
    """Read /proc inside the guest."""
    done = guest.run("/lab/oracle", timeout_s=60)
    assert done.status == 0, done.err
    return Truth.parse(done.out)


def say(guest: LabGuest, script: str) -> str:
    """What a shell in the guest prints."""
    done = guest.run(script, timeout_s=60)
    assert done.status == 0, (script, done.out, done.err)
    return done.out.decode("utf-8", "surrogateescape")
