from __future__ import annotations

import numpy as np

from vmon.check.text import LINE_BYTES, Masked, _sums, _targets, fingerprint
from vmon.core.address import Gpa, Gva
from vmon.linux.patching import Patchable
from vmon.probe.sites import Text

START = 0xFFFF_FFFF_8100_0000
NOTHING = np.zeros(0, dtype=np.uint64)


def masked(data: bytes) -> Masked:
    places = Patchable(*[NOTHING] * 6)
    code = np.frombuffer(data, dtype=np.uint8)
    return Masked(Text(Gva(START), Gpa(0), data), code, np.zeros(len(data), dtype=bool), places)


def test_a_fingerprint_changes_where_the_code_does_and_nowhere_else() -> None:
    data = bytes(range(256)) * 8 + b"tail"
    first = fingerprint(masked(data), 1.0)
    lines = len(first.lines) // 8
    assert lines == -(-len(data) // LINE_BYTES)
    assert fingerprint(masked(data), 2.0, first.weights).lines == first.lines
    changed = bytearray(data)
    changed[5 * LINE_BYTES + 3] ^= 1
    now = fingerprint(masked(bytes(changed)), 3.0, first.weights)
    before, after = (np.frombuffer(one.lines, dtype="<u8") for one in (first, now))
    assert np.flatnonzero(before != after).tolist() == [5]
    # Nobody in the guest can know the weights: two fingerprints of the same code have nothing in common.
    other = fingerprint(masked(data), 1.0)
    assert other.weights != first.weights
    assert other.lines != first.lines


def test_two_words_that_change_places_are_seen() -> None:
    data = np.arange(LINE_BYTES, dtype=np.uint8)
    swapped = data.reshape(-1, 4)[::-1].reshape(-1).copy()
    weights = fingerprint(masked(data.tobytes()), 0.0).weights
    assert (_sums(data, weights) != _sums(swapped, weights)).all()


def test_where_code_leads() -> None:
    target = 0xFFFF_FFFF_C000_1000
    wide = target.to_bytes(8, "little")
    ways = {
        b"\xe9" + (target - START - 5 - 0 * 32 & 0xFFFF_FFFF).to_bytes(4, "little"): True,
        b"\xe8" + (target - START - 5 - 1 * 32 & 0xFFFF_FFFF).to_bytes(4, "little"): True,
        b"\x48\xb8" + wide + b"\xff\xe0": True,
        b"\x49\xbb" + wide + b"\x41\xff\xe3": True,
        b"\x48\xb8" + wide + b"\x50\xc3": True,
        b"\x48\xb8" + wide + b"\x48\x89": False,
        b"\x0f\x1f\x44\x00\x00": False,
    }
    data = b"".join(way.ljust(32, b"\x90") for way in ways)
    text = Text(Gva(START), Gpa(0), data + bytes(64))
    spots = np.arange(len(ways), dtype=np.int64) * 32
    targets, branch = _targets(text, np.frombuffer(text.data, dtype=np.uint8), spots)
    assert branch.tolist() == list(ways.values())
    assert {int(gva) for gva in targets[branch]} == {target}
