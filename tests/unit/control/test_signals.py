from __future__ import annotations

import ctypes

import msgspec
import pytest

from tests.unit.linux.scene import scene
from tests.unit.probe.native import NativeGuest, build
from vmon.control.signals import send_signal
from vmon.core.errors import UsageError
from vmon.core.records.process import ProcessRecord
from vmon.linux.snapshot import Snapshot

TEMPLATE = Snapshot.of_all(scene("new").guest.kernel()).record(1)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    return build(tmp_path_factory.mktemp("probe"))


def process(**changes: object) -> ProcessRecord:
    values = {
        "pid": 42,
        "start_boottime_ns": 7,
        "key": "42@7",
        "kernel_thread": False,
        "state": "S",
        **changes,
    }
    return msgspec.structs.replace(TEMPLATE, **values)


def test_what_came_of_it(library: ctypes.CDLL) -> None:
    guest = NativeGuest(library)
    act = send_signal(guest.probe(), process(), 15)
    assert (act.done, act.outcome, act.signal, act.key) == (True, "sent", 15, "42@7")
    assert guest.word("native_killed", 1) == 15
    assert act.took_ms > 0
    reused = send_signal(guest.probe(), process(start_boottime_ns=8, key="42@8"), 9)
    assert (reused.done, reused.outcome) == (False, "gone already")
    assert guest.word("native_killed", 1) == 15


def test_a_zombie_has_ended(library: ctypes.CDLL) -> None:
    act = send_signal(NativeGuest(library).probe(), process(state="Z"), 9)
    assert (act.done, act.outcome) == (False, "gone already")


@pytest.mark.parametrize("changes", [{"kernel_thread": True}, {"pid": 1, "key": "1@7"}])
def test_who_is_spared_unless_forced(library: ctypes.CDLL, changes: dict[str, object]) -> None:
    guest = NativeGuest(library)
    with pytest.raises(UsageError):
        send_signal(guest.probe(), process(**changes), 9)
    assert send_signal(guest.probe(), process(**changes), 9, force=True).done
