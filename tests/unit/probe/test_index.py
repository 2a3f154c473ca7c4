from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kernel.fuzz import steady
from tests.unit.probe.native import NativeGuest, put
from vmon.core.rules import Rule
from vmon.probe.encode import split_glob
from vmon.probe.rules import RuleTable

OPEN = ("file.open",)


NAMES = st.sampled_from(["a", "b", "ab", "passwd", "name-of-8", "x" * 20])
PLACES = st.lists(NAMES, min_size=1, max_size=4)


@st.composite
def any_rule(draw: st.DrawFn) -> Rule:
    names = draw(PLACES)
    path = "/" + "/".join(names)
    found = draw(
        st.sampled_from(
            [
                {"path": path},
                {"path_prefix": path},
                {"path_prefix": path + "/"},
                {"path_suffix": path},
                {"path_suffix": names[-1]},
                {"path_glob": f"/{names[0]}*"},
                {"path_glob": f"{path}**{names[-1]}"},
                {"uid": 1000},
                {"uid": 0},
                {"name": "tool"},
                {"name": "other"},
                {"exe": "/bin/tool"},
                {"exe": path},
                {"unless_exe": path, "path_suffix": names[-1]},
                {"key": "42@7"},
            ]
        )
    )
    events = draw(st.sampled_from([OPEN, ("file.open", "process.exec"), ("process.exec",)]))
    return Rule(events=events, **found)  # type: ignore[arg-type]


def expected(rules: list[Rule], path: str) -> int | None:
    """The first rule that fits, by reading them in turn."""

    def fits(rule: Rule) -> bool:
        first, star, last = split_glob(rule.path_glob) if rule.path_glob else ("", "", "")
        middle = path[len(first) : len(path) - len(last)]
        return (
            "file.open" in rule.events
            and rule.path in (None, path)
            and path.startswith(rule.path_prefix or first)
            and path.endswith(rule.path_suffix or last)
            and (len(path) >= len(first) + len(last) and not (star == "*" and "/" in middle))
            and rule.uid in (None, 1000)
            and rule.name in (None, "tool")
            and rule.exe in (None, "/bin/tool")
            and rule.unless_exe != "/bin/tool"
        )

    return next((row for row, rule in enumerate(rules) if fits(rule)), None)


def test_the_index_finds_what_reading_in_turn_finds(native: NativeGuest) -> None:
    table = RuleTable(native.probe())
    decided = set()

    @steady(150)
    @given(
        st.lists(any_rule(), min_size=1, max_size=30), st.lists(PLACES, min_size=1, max_size=4), st.booleans()
    )
    def compare(rules: list[Rule], places: list[list[str]], aligned: bool) -> None:
        native.aligned = aligned
        put(table, *rules)
        for names in places:
            before = [record.hits for record in table.read()]
            native.hook("FILE", native.file(*[name.encode() for name in names]))
            hits = np.array([record.hits for record in table.read()]) - before
            row = expected(rules, "/" + "/".join(names))
            assert np.flatnonzero(hits).tolist() == ([] if row is None else [row])
            decided.add(row is None)
        native.forget_files()

    compare()
    assert decided == {True, False}
