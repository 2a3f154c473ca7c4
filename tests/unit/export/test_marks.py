from __future__ import annotations

import msgspec
import pytest

from tests.unit.export.told import DETECTIONS, NOTICES, ORIGIN, event
from vmon.export.marks import LAST_NS, iso, moment_ns, uid


def test_the_moment_of_each() -> None:
    assert moment_ns(event(), ORIGIN) == ORIGIN.boot_time_ns + 5_000_000_001
    assert moment_ns(DETECTIONS[0], ORIGIN) == moment_ns(event(), ORIGIN)
    assert moment_ns(NOTICES[0], ORIGIN) == ORIGIN.boot_time_ns


@pytest.mark.parametrize(("boot", "time", "at"), [(-(1 << 63), 0, 0), ((1 << 63) - 1, (1 << 64) - 1, None)])
def test_a_guest_that_lies_about_time(boot: int, time: int, at: int | None) -> None:
    origin = msgspec.structs.replace(ORIGIN, boot_time_ns=boot)
    moment = moment_ns(event(time_ns=time), origin)
    assert 0 <= moment <= LAST_NS
    assert at is None or moment == at
    assert len(iso(moment)) == 30


def test_iso() -> None:
    assert iso(1_764_000_000_123_456_789) == "2025-11-24T16:00:00.123456789Z"
    assert iso(1_764_000_000_123_456_789, 6) == "2025-11-24T16:00:00.123456Z"
    assert iso(LAST_NS) == "2099-12-31T23:59:59.000000000Z"


def test_an_id_is_used_once() -> None:
    ids = {uid(record, ORIGIN) for record in (event(), event(sequence=42), *DETECTIONS[:2], *NOTICES)}
    assert len(ids) == 6
    assert uid(event(), ORIGIN) == "lab:web1/1764000000123456789/5000000001/41"
