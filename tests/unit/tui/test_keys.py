from __future__ import annotations

from vmon.tui.keys import HINTS, KEYS


def test_no_key_does_two_things() -> None:
    names = [name for keys in KEYS.values() for key in keys for name in key.keys.split(",")]
    assert len(names) == len(set(names))


def test_what_changes_the_guest_stands_together() -> None:
    assert all(key.changes == (group == "Change the guest") for group, keys in KEYS.items() for key in keys)


def test_the_line_of_hints_fits_80_columns() -> None:
    assert sum(len(key) + len(text) + 2 for key, text in HINTS) <= 80
