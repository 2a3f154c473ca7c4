from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kernel.fuzz import steady
from vmon.core.errors import UsageError
from vmon.core.target import Target, parse_target


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("web1", "lab", "web1"),
        ("lab:web1", "lab", "web1"),
        ("a.b_c-d", "lab", "a.b_c-d"),
        ("qmp:/run/vm/qmp.sock", "qmp", "/run/vm/qmp.sock"),
        ("qmp:a:b", "qmp", "a:b"),
        ("dump:/tmp/x.lime", "dump", "/tmp/x.lime"),
        ("dump: ", "dump", " "),
        ("pid:0042", "pid", "42"),
    ],
)
def test_spellings(text: str, kind: str, value: str) -> None:
    target = parse_target(text)
    assert (target.kind, target.value) == (kind, value)
    assert parse_target(str(target)) == target


@pytest.mark.parametrize(
    "text",
    [
        "", ":", "lab:", "qmp:", "dump:", "pid:", "pid:0", "pid:-1", "pid:1x", "pid:٣", "pid:" + "9" * 5000,
        "../x", "-x", ".x", "a/b", "a b", "a" * 64, "http://x", "xen:3", "web1\n", "lab:a:b",
    ],
)  # fmt: skip
def test_what_is_no_target_is_refused_with_the_spellings(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_target(text)
    assert "qmp:SOCKET-PATH" in caught.value.hint
    assert "pid:QEMU-PID" in caught.value.hint


@steady(200)
@given(st.one_of(st.text(), st.from_regex(r"(lab|qmp|pid|dump|x)?:?[a-z0-9./]{0,8}", fullmatch=True)))
def test_any_text(text: str) -> None:
    try:
        target = parse_target(text)
    except UsageError:
        return
    assert isinstance(target, Target)
    assert target.value
    assert parse_target(str(target)) == target
