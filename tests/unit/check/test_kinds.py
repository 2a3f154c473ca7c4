from __future__ import annotations

import pytest

from vmon.check.kinds import KINDS, finding


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_says_what_it_is_and_what_else_it_could_be(kind: str) -> None:
    record = finding(kind, "SUBJECT", ["seen"], pid=7, address=8)
    assert record.said.count("SUBJECT") == 1
    assert record.could_be and record.attack
    assert all(technique[0] == "T" and technique[1:5].isdigit() for technique in record.attack)
    assert (record.check, record.pid, record.address) == (kind, 7, 8)
