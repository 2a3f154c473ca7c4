from __future__ import annotations

from vmon.core.coverage import Answer, Gaps, said


def test_the_same_gap_is_counted() -> None:
    gaps = Gaps()
    for reason in ("not resident", "swapped", "not resident"):
        gaps.add("cmdline", reason)
    gaps.add("modules", "bounded", "20,000 are the most", count=0)
    assert [said(gap) for gap in gaps.records()] == [
        "cmdline: not resident in 2",
        "cmdline: swapped",
        "modules: bounded (20,000 are the most)",
    ]
    assert [gap.count for gap in gaps.records()] == [2, 1, 0]


def test_an_answer_is_a_list_that_says_what_it_lacks() -> None:
    gaps = Gaps()
    answer = Answer([1, 2], gaps)
    assert answer == [1, 2]
    assert answer.coverage == Answer().coverage == []
    gaps.add("size", "torn")
    assert [gap.what for gap in Answer([3], gaps).coverage] == ["size"]
