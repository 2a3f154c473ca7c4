from __future__ import annotations

import pytest

from vmon.core.errors import PolicyError
from vmon.policy.lines import MAX_TOLD, Problems, mapping, nearest, parse


def test_problems_are_told_by_their_lines() -> None:
    problems = Problems("p")
    problems.raise_any()
    problems.add(7, "late")
    problems.add(2, "early", "so do this")
    with pytest.raises(PolicyError) as caught:
        problems.raise_any()
    assert caught.value.problems == ("p:2: early (so do this)", "p:7: late")
    for line in range(200):
        problems.add(line, "more")
    with pytest.raises(PolicyError) as caught:
        problems.raise_any()
    assert len(caught.value.problems) == MAX_TOLD


def test_what_was_meant() -> None:
    assert nearest("file.pth", ("file.path", "user.id")) == "did you mean file.path?"
    assert nearest("path", ("user.id", "file.path")) == "did you mean file.path?"
    assert nearest("xyz", ("file.path",)) == ""


def test_keys_know_their_lines() -> None:
    problems = Problems("p")
    top = parse("a: 1\nb:\n  c: 2\n", problems)
    assert top is not None
    inner = mapping(top.entries["b"], problems)
    assert inner is not None
    assert (top.line_of("b"), inner.line_of("c"), inner.line_of("none")) == (2, 3, 3)
    assert not problems.told
