"""The host's command line, what is laid into it, and how its commands are followed; no QEMU is started."""

import io
import json
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from vmon.core.errors import LabError, TargetGone, TargetNotFound
from vmon.lab import state
from vmon.lab.agent import Completed
from vmon.lab.host import checkout, machine
from vmon.lab.host.machine import KvmHost, Share
from vmon.lab.matrix import HOST


class FakeGuest:
    """Runs the host's jobs on this machine, or whatever a test wants to happen instead."""

    def __init__(self, folder: Path, script: str = "") -> None:
        self.folder = folder
        self.script = script
        self.commands: list[str] = []
        self.running = True
        (folder / machine.JOBS).mkdir()

    def is_running(self) -> bool:
        return self.running

    def run(self, command: str, **_: Any) -> Completed:
        self.commands.append(command)
        if "/lab/job" in command and self.script:
            job = next((self.folder / machine.JOBS).iterdir())
            line = (job / "command").read_text()
            script = self.script.replace("COMMAND", line.strip())
            threading.Thread(
                target=lambda: subprocess.run(["sh", "-c", script], cwd=job, check=False), daemon=True
            ).start()
        return Completed(0, b"", b"")


JOB = "(COMMAND) >out 2>err; echo $? >status.new; mv status.new status"


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeGuest:
    monkeypatch.setattr(checkout, "changes", lambda manifest: None)
    return FakeGuest(tmp_path, JOB)


def test_output_comes_while_it_is_written_and_the_status_at_the_end(fake: FakeGuest) -> None:
    out, err = io.BytesIO(), io.BytesIO()
    host = KvmHost(fake)  # type: ignore[arg-type]
    seen: list[bytes] = []

    def look() -> None:
        time.sleep(0.5)
        seen.append(out.getvalue())

    looker = threading.Thread(target=look)
    looker.start()
    status = host.run("echo one; echo oops >&2; sleep 1; echo two; exit 7", out, err)
    looker.join()
    assert (status, out.getvalue(), err.getvalue()) == (7, b"one\ntwo\n", b"oops\n")
    assert seen == [b"one\n"]
    assert not list((fake.folder / machine.JOBS).iterdir())


def test_arguments_stay_as_they_are(fake: FakeGuest) -> None:
    out = io.BytesIO()
    assert KvmHost(fake).run(["printf", "%s|", "a  b", "$HOME", "it's"], out, out) == 0  # type: ignore[arg-type]
    assert out.getvalue() == b"a  b|$HOME|it's|"


def test_a_host_that_ends_is_noticed(fake: FakeGuest) -> None:
    fake.script = "echo last words >out"
    threading.Timer(0.5, lambda: setattr(fake, "running", False)).start()
    out = io.BytesIO()
    with pytest.raises(TargetGone):
        KvmHost(fake).run("anything", out, out)  # type: ignore[arg-type]
    assert out.getvalue() == b"last words\n"


def test_an_interrupted_command_is_ended_in_the_host(fake: FakeGuest) -> None:
    class Interrupt(io.BytesIO):
        def write(self, _: Any) -> int:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        KvmHost(fake).run("echo something", Interrupt(), io.BytesIO())  # type: ignore[arg-type]
    assert "kill -TERM" in fake.commands[-1]
    assert not list((fake.folder / machine.JOBS).iterdir())


def test_a_changed_checkout_goes_in_first(fake: FakeGuest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkout, "changes", lambda manifest: (b"archive", ["src/vmon/old one.py"]))
    KvmHost(fake).run("true", io.BytesIO(), io.BytesIO())  # type: ignore[arg-type]
    assert (fake.folder / "checkout.tar").read_bytes() == b"archive"
    assert "tar xf" in fake.commands[0]
    assert "rm -f -- 'src/vmon/old one.py'" in fake.commands[0]


def test_shares_are_named_to_qemu_and_to_the_host(tmp_path: Path) -> None:
    shares = [Share(Path("/cache/a,b"), "/inside/a"), Share(Path("/run/x"), "/inside/x", writable=True)]
    words = machine._share_args(shares)
    assert words[0::2] == ["-virtfs", "-virtfs"]
    assert "path=/cache/a,,b," in words[1]
    assert words[1].endswith("readonly=on")
    assert "readonly" not in words[3]
    machine._write_overlay(tmp_path, shares)
    assert (tmp_path / "lab/shares").read_text() == ("share0 ro,cache=loose /inside/a\nshare1 rw /inside/x\n")
    assert (tmp_path / "lab/rc").stat().st_mode & 0o111
    assert list(tmp_path.glob("lab/site/vmon-*.dist-info/METADATA"))


def test_up_boots_the_full_kernel_without_kvm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The plan of the guest that becomes the host, and that it goes again when it has no KVM to offer."""
    asked: dict[str, Any] = {}
    ended: list[str] = []

    class Booted(FakeGuest):
        def run(self, command: str, **_: Any) -> Completed:
            return Completed(1 if "/dev/kvm" in command else 0, b"", b"")

        def down(self) -> None:
            ended.append("down")

    def boot(name: str, **options: Any) -> FakeGuest:
        asked.update(options, name=name)
        return Booted(tmp_path)

    monkeypatch.setenv("VMON_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(machine, "fetch", lambda series: series)
    monkeypatch.setattr(machine, "host_image", lambda: Path("/image"))
    monkeypatch.setattr(machine, "unpacked", lambda kernel: Path("/vmlinux"))
    monkeypatch.setattr(machine.LabGuest, "up", boot)
    with pytest.raises(LabError, match="without /dev/kvm"):
        KvmHost.up()
    assert ended == ["down"]
    assert (asked["name"], asked["accel"], asked["kernel"]) == (machine.NAME, "tcg", "/vmlinux")
    assert "+svm" in asked["cpu"]
    assert asked["root_image"] == Path("/image")
    assert f"path={state.guest_folder(machine.NAME)}," in asked["qemu_args"][3]


def test_no_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VMON_RUN_DIR", str(tmp_path))
    with pytest.raises(TargetNotFound, match="no KVM host") as caught:
        KvmHost.find()
    assert "vmon lab host up" in caught.value.hint
    assert not machine.down()


def test_which_packages_are_the_hosts_kernel() -> None:
    good = ("linux-image-6.1.0-50-amd64", "linux-image-6.1-amd64")
    bad = (
        "linux-image-6.1.0-50-cloud-amd64",
        "linux-image-6.1.0-50-rt-amd64",
        "linux-image-6.1.0-50-amd64-unsigned",
        "linux-image-6.1.0-50-amd64-dbg",
        "linux-image-6.12.1-amd64",
        "linux-image-amd64",
    )
    assert all(HOST.package.fullmatch(name) for name in good)
    assert not any(HOST.package.fullmatch(name) for name in bad)
    assert HOST.key == "6.1-amd64"


def test_the_record_of_the_host_is_a_guests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`vmon lab list` and `vmon lab down --all` know the host like any guest."""
    monkeypatch.setenv("VMON_RUN_DIR", str(tmp_path))
    folder = state.guest_folder(machine.NAME)
    folder.mkdir(parents=True)
    (folder / state.RECORD).write_text(json.dumps({}))
    assert machine.down()
    assert not folder.exists()
