from __future__ import annotations

from pathlib import Path

from tests.unit.export.told import ORIGIN, event
from vmon.core.ecs import Origin
from vmon.core.errors import NoKernelYet
from vmon.core.records.probe import NoticeRecord
from vmon.export.metrics import Metrics
from vmon.sinks.outlet import Outlet
from vmon.sinks.places import open_place, read_place


def test_after_a_reboot_the_machine_is_looked_at_again() -> None:
    boots = iter([1, 2])

    def origin() -> Origin:
        return Origin(target="lab:a", hostname="a", release="6.1", boot_time_ns=next(boots))

    outlet = Outlet(origin)
    outlet.put(NoticeRecord(event="vmon.rebooted", said=""))
    assert outlet.origin.boot_time_ns == 1
    outlet.put(NoticeRecord(event="vmon.installed", said=""))
    assert outlet.origin.boot_time_ns == 2


def test_a_machine_that_is_not_there_yet_keeps_its_name() -> None:
    found = [ORIGIN]

    def origin() -> Origin:
        if not found:
            raise NoKernelYet("it boots")
        return found.pop()

    outlet = Outlet(origin)
    outlet.put(NoticeRecord(event="vmon.installed", said=""))
    assert outlet.origin is ORIGIN


def test_queues_are_shared_by_machines(tmp_path: Path) -> None:
    queue, metrics = open_place(read_place(f"file:{tmp_path}/a")), Metrics()
    other = Origin(target="lab:db1", hostname="db1", release="6.1", boot_time_ns=1)
    for origin in (ORIGIN, other):
        Outlet(lambda origin=origin: origin, [queue], metrics).put(event())  # type: ignore[misc]
    assert queue.close().delivered == 2
    text = (tmp_path / "a").read_text()
    assert "lab:web1" in text and "lab:db1" in text
    assert b'vm="lab:db1"' in metrics.exposition()[0]
