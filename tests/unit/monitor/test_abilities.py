from __future__ import annotations

import msgspec
import pytest

from tests.unit.linux.scene import scene
from tests.unit.monitor.connection import FakeConnection
from vmon.core.errors import NotSupported, UsageError
from vmon.core.records.probe import AbilityRecord, DoctorRecord
from vmon.monitor.abilities import abilities_of, require
from vmon.monitor.doctor import examine


def examined(*, live: bool) -> DoctorRecord:
    guest = scene("new").guest
    return examine("a target", guest.kernel(), FakeConnection(guest, live=live))


def by_name(found: DoctorRecord) -> dict[str, AbilityRecord]:
    return {item.name: item for item in abilities_of(found)}


def test_a_dump_reads_and_does_nothing_else() -> None:
    abilities = by_name(examined(live=False))
    assert [name for name, item in abilities.items() if item.available] == ["read"]
    assert "dump" in abilities["probe"].detail
    assert "dump" in abilities["net.connect"].detail
    with pytest.raises(NotSupported, match=r"a dump lacks probe, live: .*dump") as caught:
        require("a dump", list(abilities.values()), ["read", "probe", "live"])
    assert "doctor" in caught.value.hint


def test_where_nothing_is_in_the_way_each_event_is_told() -> None:
    found = msgspec.structs.replace(examined(live=True), obstacles=[])
    hooks = [msgspec.structs.replace(hook, why="", deny=True) for hook in found.events]
    hooks[0] = msgspec.structs.replace(hooks[0], why="nothing calls it")
    abilities = by_name(msgspec.structs.replace(found, events=hooks))
    assert abilities["probe"].available
    assert not abilities[hooks[0].event].available
    assert abilities[hooks[0].event].detail == "nothing calls it"
    assert abilities[hooks[1].event].available
    require("x", list(abilities.values()), ["probe", hooks[1].event])


def test_a_name_that_is_none() -> None:
    with pytest.raises(UsageError, match="fly") as caught:
        require("x", abilities_of(examined(live=True)), ["fly"])
    assert "net.connect" in caught.value.hint
