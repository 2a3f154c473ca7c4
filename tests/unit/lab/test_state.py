"""A guest's state on disk: believed only as far as /proc bears it out."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from vmon.core.errors import LabError, TargetNotFound, UsageError
from vmon.lab import guest, state
from vmon.lab.guest import LabGuest
from vmon.lab.lock import file_lock


@pytest.fixture(autouse=True)
def run_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("VMON_RUN_DIR", str(tmp_path))


def record(**changed):
    fields = {
        "name": "g", "pid": os.getpid(), "pid_start": state.process_start(os.getpid()), "release": "6.1.0",
        "series": "6.1", "package": "p=1", "ram_bytes": 1 << 29, "cpus": 1, "cpu": "max", "accel": "tcg",
        "machine": "pc", "ram_backend": "memfd", "ram_file": "", "rootfs": "busybox",
        "qmp_sockets": ("/a/qmp0.sock",), "command": ("qemu", "-m"), "created": 1.0,
    }  # fmt: skip
    return state.Record(**{**fields, **changed})


def make(name, **changed):
    folder = state.guest_folder(name)
    folder.mkdir(parents=True)
    state.save(folder, record(name=name, **changed))
    return folder


def test_a_record_comes_back():
    folder = make("one")
    assert state.load(folder) == record(name="one")
    assert LabGuest.find("one").pid == os.getpid()
    assert [found.name for found in LabGuest.list()] == ["one"]
    assert LabGuest.list()[0].describe()["qmp_sockets"] == ("/a/qmp0.sock",)


def test_a_reused_pid_is_not_the_guest():
    folder = make("old", pid_start=1)
    assert LabGuest.list() == []
    with pytest.raises(TargetNotFound):
        LabGuest.find("old")
    assert state.find_qemu(folder) is None
    # And is certainly not killed.
    assert guest.down("old")
    assert not folder.exists()


def test_not_found_says_which_there_are():
    make("here")
    with pytest.raises(TargetNotFound) as caught:
        LabGuest.find("there")
    assert caught.value.hint == "running: here"
    with pytest.raises(UsageError):
        LabGuest.find("../etc")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"name": 1}', "null"])
def test_a_broken_record_is_none(text):
    folder = make("broken")
    (folder / "guest.json").write_text(text)
    assert state.load(folder) is None
    assert LabGuest.list() == []
    assert guest.down("broken")


def test_a_taken_name():
    make("taken")
    with pytest.raises(LabError, match="is up already"):
        guest._claim(state.guest_folder("taken"))


def test_what_a_dead_guest_left_is_cleared_with_its_ram(tmp_path):
    folder = make("dead", pid_start=1)
    ram = tmp_path / "ram-file"
    ram.touch()
    (folder / "ram").symlink_to(ram)
    guest._claim(folder)
    assert list(folder.iterdir()) == []
    assert not ram.exists()


def test_a_half_made_guest_is_found_by_its_pid_file():
    folder = state.guest_folder("half")
    folder.mkdir(parents=True)
    with subprocess.Popen(["sleep", "100"]) as other:
        # A pid that is somebody else's.
        (folder / "qemu.pid").write_text(f"{other.pid}\n")
        assert state.find_qemu(folder) is None
        other.kill()
    own = ["sh", "-c", "sleep 100 & wait", str(folder / "qemu.pid")]
    with subprocess.Popen(own, start_new_session=True) as ours:
        # Popen returns while exec is still at work: for a moment the new program has no arguments yet.
        while not Path(f"/proc/{ours.pid}/cmdline").read_bytes():
            time.sleep(0.001)
        (folder / "qemu.pid").write_text(f"{ours.pid}\n")
        assert state.find_qemu(folder) == (ours.pid, state.process_start(ours.pid))
        os.killpg(ours.pid, 9)
    assert state.find_qemu(folder) is None
    assert guest.down("half")
    assert not guest.down("half")


def test_a_zombie_is_not_alive():
    with subprocess.Popen(["true"]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert state.process_start(child.pid) is None


def test_names_and_paths_that_no_socket_can_have(monkeypatch):
    for name in ("", ".hidden", "a/b", "-x", "ä"):
        with pytest.raises(UsageError):
            state.guest_folder(name)
    monkeypatch.setenv("VMON_RUN_DIR", "/" + "x" * 100)
    with pytest.raises(UsageError, match="too long"):
        state.guest_folder("a")


def test_a_lock_lets_one_in(tmp_path):
    with (
        file_lock(tmp_path / "l", "waiting"),
        pytest.raises(LabError, match="not free"),
        file_lock(tmp_path / "l", "waiting", 0.05),
    ):
        pass
    with file_lock(tmp_path / "l", "waiting", 0.05):
        pass
