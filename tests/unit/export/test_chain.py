"""A chain that anybody changed is not whole: any byte, a removal, an insertion, another order, a cut."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmon.core.errors import JournalBroken
from vmon.export.chain import START, digest, make_line, read_line, verify

KEY = b"0123456789abcdef"


def chain(count: int = 5, key: bytes | None = None) -> list[bytes]:
    lines, head = [], START
    for seq in range(1, count + 1):
        entry = (
            b'{"journal":"begun","keyed":%b}' % (b"true" if key else b"false")
            if seq == 1
            else b'{"n":%d}' % seq
        )
        line, head = make_line(seq, seq * 10**9, head, entry, key)
        lines.append(line + b"\n")
    return lines


@pytest.mark.parametrize("key", [None, KEY])
def test_a_whole_one(key: bytes | None) -> None:
    lines = chain(5, key)
    found = verify(lines, key)
    assert (found.lines, found.records, found.closed, found.keyed) == (5, 4, False, key is not None)
    line = read_line(lines[-1].strip(), key)
    assert line is not None and found.head == line.hash
    assert verify(lines, key, found.head).head_at == 5
    assert verify([]).lines == 0


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_no_byte_can_be_changed(data: st.DataObject) -> None:
    whole = b"".join(chain())
    at = data.draw(st.integers(0, len(whole) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != whole[at]))
    changed = whole[:at] + bytes([other]) + whole[at + 1 :]
    lines = changed.splitlines(keepends=True) if b"\r" not in changed else changed.split(b"\n")
    if at == len(whole) - 1:
        # Without its end the last line reads as one that was cut off, which is told.
        assert verify(lines).torn
        return
    with pytest.raises(JournalBroken, match=r"line \d"):
        verify(lines)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: lines[1:], "line 1: this is no beginning"),
        (lambda lines: lines[:2] + lines[3:], "line 3: number 4 follows 2: lines between them are missing"),
        (lambda lines: [*lines[:2], lines[3], lines[2], lines[4]], "line 3: number 4 follows 2"),
        (
            lambda lines: [*lines[:3], lines[2], *lines[3:]],
            "line 4: number 3 follows 3: lines were moved or repeated",
        ),
        (lambda lines: [*lines[:2], b"{}\n", *lines[2:]], "line 3: it is not as it was written"),
        (lambda lines: [*lines[:2], b"\n", *lines[2:]], "line 3: it is not as it was written"),
        (lambda lines: [*lines[:4], lines[4][:20] + b"\n"], "line 5: it is not as it was written"),
        (lambda lines: [*lines[:2], *chain(5, KEY)[2:]], "line 3: it is not as it was written"),
    ],
)
def test_what_was_done_is_said_with_its_line(change: object, said: str) -> None:
    with pytest.raises(JournalBroken) as caught:
        verify(change(chain()))  # type: ignore[operator]
    assert caught.value.message.startswith(said)


def test_a_line_of_another_chain() -> None:
    other, head = [], START
    for seq in range(1, 6):
        line, head = make_line(seq, 7, head, b'{"journal":"begun"}' if seq == 1 else b'{"x":1}', None)
        other.append(line + b"\n")
    with pytest.raises(JournalBroken, match="line 3: it does not follow"):
        verify(chain()[:2] + other[2:])


def test_a_cut_at_the_end_is_found_by_a_head_alone() -> None:
    lines = chain()
    head = verify(lines).head
    assert verify(lines[:3]).lines == 3
    with pytest.raises(JournalBroken, match="cut off after line 3"):
        verify(lines[:3], None, head)
    middle = verify(lines[:3]).head
    assert verify(lines, None, middle).head_at == 3


def test_without_the_key_no_line_can_be_made() -> None:
    with pytest.raises(JournalBroken, match="line 3"):
        verify([*chain(2, KEY), *chain(5)[2:]], KEY)
    with pytest.raises(JournalBroken, match="written with a key") as caught:
        verify(chain(3, KEY))
    assert "--key" in caught.value.hint
    with pytest.raises(JournalBroken, match="written without a key"):
        verify(chain(3), KEY)
    with pytest.raises(JournalBroken):
        verify(chain(3, KEY), b"another key that is long")


def test_what_a_crash_cut_off_is_told_by_the_next_line() -> None:
    lines = chain(2)
    head = verify(lines).head
    torn = b'{"seq":3,"at":"20'
    entry = b'{"journal":"continued","torn":"%b"}' % digest(torn, None).encode()
    after, _ = make_line(3, 0, head, entry, None)
    assert verify([*lines, torn]).torn == [3]
    found = verify([*lines, torn + b"\n", after + b"\n"])
    assert (found.torn, found.lines) == ([3], 3)
    with pytest.raises(JournalBroken, match="line 3: it is not as it was written"):
        verify([*lines, torn + b"x\n", after + b"\n"])


@pytest.mark.parametrize("data", [b"", b"{}", b"null", b"\xff" * 200, b'{"seq":1}' + b" " * 100])
def test_what_is_no_line(data: bytes) -> None:
    assert read_line(data, None) is None
