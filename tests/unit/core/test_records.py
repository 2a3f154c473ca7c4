from __future__ import annotations

import msgspec
import pytest
from docs.generate import record_types

from vmon.core.records.process import EnvRecord, FileRecord, SocketRecord

ALL = record_types()


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_records_cannot_be_changed(kind: type[msgspec.Struct]) -> None:
    assert kind.__struct_config__.frozen


@pytest.mark.parametrize(
    "kind", [kind for kind in ALL if kind not in (FileRecord, SocketRecord)], ids=lambda kind: kind.__name__
)
def test_records_are_made_by_name_but_those_that_come_by_the_thousand(kind: type[msgspec.Struct]) -> None:
    with pytest.raises(TypeError):
        kind(*range(len(kind.__struct_fields__)))


def test_a_record_reads_back() -> None:
    record = EnvRecord(pid=1, name="A", value="1")
    assert msgspec.json.decode(msgspec.json.encode(record), type=EnvRecord) == record
    assert len(ALL) >= 9
