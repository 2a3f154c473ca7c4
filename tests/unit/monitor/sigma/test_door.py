from __future__ import annotations

import sys

import pytest

from vmon.core.errors import NotSupported
from vmon.monitor.sigma import door


def test_without_pysigma(monkeypatch: pytest.MonkeyPatch) -> None:
    door.pysigma.cache_clear()
    monkeypatch.setitem(sys.modules, "sigma.collection", None)
    with pytest.raises(NotSupported) as caught:
        door.pysigma()
    assert caught.value.hint == "pip install 'vmon[sigma]'"
    monkeypatch.undo()
    assert door.pysigma().types.SigmaString("a").s == ["a"]


@pytest.mark.parametrize(
    ("expression", "flags", "text", "fits"),
    [
        ("b+c", "", "abbbc", True),
        ("^b", "", "ab", False),
        ("B", "", "ab", False),
        ("B", "i", "ab", True),
        ("^b$", "", "a\nb", False),
        ("^b$", "m", "a\nb", True),
        ("a.b", "", "a\nb", False),
        ("a.b", "s", "a\nb", True),
        ("ü.", "", "xüy", True),
        # A byte that is no UTF-8 is a character like others: nobody hides behind one.
        ("a.b", "", "a\udcffb", True),
        (r"\d", "", "5", True),
    ],
)
def test_expressions(expression: str, flags: str, text: str, fits: bool) -> None:
    assert door.search_of(expression, flags)(text) is fits


def test_numbers_are_looked_at_as_texts() -> None:
    assert door.search_of("^4[0-9]+$", "")(443)


@pytest.mark.parametrize("expression", ["(", "a(?=b)", r"(a)\1", "\udcff"])
def test_what_is_no_expression_of_re2(expression: str) -> None:
    with pytest.raises(ValueError):
        door.search_of(expression, "")


def test_no_text_makes_an_expression_slow() -> None:
    # Python's own expressions would take longer than the universe has.
    assert not door.search_of("^(a+)+$", "")("a" * 5000 + "b")
