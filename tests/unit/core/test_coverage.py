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


def test_an_answer_that_is_read_later_says_what_it_lacks_then() -> None:
    gaps = Gaps()
    answer = Answer([1], gaps.records)
    assert answer.coverage == []
    gaps.add("cmdline", "not resident", count=2)
    assert [gap.count for gap in answer.coverage] == [2]
    both = Gaps()
    both.add_all([*answer.coverage, *answer.coverage])
    assert [(gap.what, gap.reason, gap.count) for gap in both.records()] == [("cmdline", "not resident", 4)]
