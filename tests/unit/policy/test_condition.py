from __future__ import annotations

import fnmatch
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmon.core.errors import UsageError
from vmon.policy import condition as c
from vmon.policy.normal import TooMany, alternatives

TEXTS = st.text(alphabet="aA/b.*?\\\n\udc80", max_size=8)


def fits(field: str, modifier: c.Modifier, *values: c.Word, of: Any, **more: bool) -> bool:
    fields = {} if of is None else {field: of}
    return c.compiled(c.Test(field, modifier, values, **more))(fields)


@pytest.mark.parametrize(
    ("modifier", "value", "of", "answer"),
    [
        ("equals", "/bin/sh", "/bin/sh", True),
        ("equals", "/bin/sh", "/bin/SH", False),
        ("equals", 0, "0", True),
        ("equals", "22", 22, True),
        ("contains", "etc", "/etc/passwd", True),
        ("startswith", "/etc/", "/etc/passwd", True),
        ("endswith", "/passwd", "/etc/passwd", True),
        ("endswith", "/passwd", None, False),
        ("re", "^/etc/.*d$", "/etc/passwd", True),
        ("re", "PASSWD", "/etc/passwd", False),
        ("glob", "/home/*/.ssh/authorized_keys", "/home/ann/.ssh/authorized_keys", True),
        ("glob", "/home/*/.ssh/authorized_keys", "/home/a/b/.ssh/authorized_keys", False),
        ("glob", "/home/**/id_*", "/home/a/b/id_rsa", True),
        ("glob", "/tmp/*", "/tmp/a\nb", True),
        ("wildcard", "*/nc?", "/usr/bin/ncx", True),
        ("wildcard", "a\\*b", "a*b", True),
        ("wildcard", "a\\*b", "axb", False),
        ("cidr", "10.0.0.0/8", "10.1.2.3", True),
        ("cidr", "10.0.0.0/8", "::ffff:10.1.2.3", True),
        ("cidr", "10.0.0.0/8", "nonsense", False),
        ("cidr", "fd00::/8", "fd12::1", True),
        ("gt", 1023, 1024, True),
        ("gte", 1024, 1024, True),
        ("lt", 5, "4", True),
        ("lte", 5, 6, False),
        ("lte", 5, "x", False),
        ("exists", 1, "x", True),
        ("exists", 0, "x", False),
        ("exists", 0, None, True),
    ],
)
def test_a_test(modifier: c.Modifier, value: c.Word, of: Any, answer: bool) -> None:
    assert fits("f", modifier, value, of=of) is answer


def test_case_is_left_out_where_that_is_asked_for() -> None:
    for modifier, value in (("equals", "/BIN/sh"), ("endswith", "SH"), ("contains", "Bin"), ("re", "^/BIN")):
        assert fits("f", modifier, value, of="/bin/sh", cased=False)  # type: ignore[arg-type]
        assert not fits("f", modifier, value, of="/bin/sh")  # type: ignore[arg-type]


def test_any_value_of_several_or_all_of_them() -> None:
    assert fits("f", "contains", "a", "z", of="abc")
    assert fits("f", "contains", "a", "b", of="abc", all=True)
    assert not fits("f", "contains", "a", "z", of="abc", all=True)
    assert fits("f", "gt", 5, 100, of=7)
    assert fits("f", "re", "^x", "c$", of="abc")


def test_a_list_fits_by_one_of_its_elements() -> None:
    assert fits("process.args", "equals", "-i", of=["sh", "-i"])
    assert fits("process.args", "equals", "-i", "sh", of=["sh", "-i"], all=True)
    assert not fits("process.args", "contains", "x", of=["sh", "-i"])


def test_trees_of_tests() -> None:
    a, b = c.Test("f", "contains", ("a",)), c.Test("f", "contains", ("b",))
    assert c.compiled(c.ALWAYS)({})
    assert not c.compiled(c.AnyOf(()))({})
    assert c.compiled(c.AllOf((a, b)))({"f": "ab"})
    assert not c.compiled(c.AllOf((a, c.Not(b))))({"f": "ab"})
    assert c.compiled(c.AnyOf((a, b)))({"f": "b"})
    assert c.compiled(c.Not(a))({})
    assert c.fields_of(c.AllOf((a, c.Not(c.Test("g", "exists", (1,)))))) == {"f", "g"}


@pytest.mark.parametrize(
    ("modifier", "value"), [("re", "("), ("cidr", "10.0.0.0/99"), ("gt", "many"), ("re", "a**")]
)
def test_values_that_make_no_sense(modifier: c.Modifier, value: c.Word) -> None:
    with pytest.raises(UsageError):
        fits("f", modifier, value, of="x")


def test_no_values() -> None:
    with pytest.raises(UsageError, match="no value"):
        fits("f", "equals", of="x")


@given(TEXTS, TEXTS)
def test_a_wildcard_is_what_fnmatch_says(pattern: str, text: str) -> None:
    plain = pattern.replace("\\", "")
    assert fits("f", "wildcard", plain, of=text) == fnmatch.fnmatchcase(text, plain)


@given(TEXTS, TEXTS, st.sampled_from(["equals", "contains", "startswith", "endswith"]))
def test_texts_are_compared_as_python_does(value: str, text: str, modifier: c.Modifier) -> None:
    expected = {
        "equals": text == value,
        "contains": value in text,
        "startswith": text.startswith(value),
        "endswith": text.endswith(value),
    }
    assert fits("f", modifier, value, of=text) == expected[modifier]
    if fits("f", modifier, value, of=text):
        assert fits("f", modifier, value, of=text, cased=False)


def test_a_function_of_the_host_s() -> None:
    condition = c.Holds("vmon.mode", lambda mode: mode == 5)
    holds = c.compiled(condition)
    assert holds({"vmon.mode": 5})
    assert not holds({"vmon.mode": 6})
    assert not holds({"vmon.mode": ["5"]})
    assert not holds({})
    assert c.fields_of(c.Not(condition)) == {"vmon.mode"}
    with pytest.raises(TooMany):
        alternatives(condition)


def test_no_text_makes_stars_slow() -> None:
    # Tried at every place, it would take years.
    assert not fits("a", "wildcard", "*a*a*a*a*a*a*b", of="a" * 8000)
    assert fits("a", "wildcard", "*ab*a?c*d", of="abab xabc abd d")
    assert not fits("a", "wildcard", "*ab*ab", of="xab")
