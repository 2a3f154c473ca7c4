from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kernel.fuzz import steady
from tests.unit.probe.native import NativeGuest, put
from vmon.core.rules import Rule
from vmon.probe.rules import RuleTable

OPEN = ("file.open",)


def test_a_table_that_the_guest_wrote_itself(native: NativeGuest) -> None:
    table = RuleTable(native.probe())
    put(table, Rule(events=OPEN, path="/kept", address="10.0.0.0/8"))

    @steady(60)
    @given(st.binary(min_size=16, max_size=400))
    def lie(data: bytes) -> None:
        native.window.write(native.abi.sizes["RULES_AT"], data)
        try:
            assert len(table.read()) <= 1024
        except ValueError as error:
            raise AssertionError("an error without a type of vmon's") from error

    lie()
