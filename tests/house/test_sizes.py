"""A file is read in one sitting: 500 lines at most, 300 mostly."""

from __future__ import annotations

from tests.house.sources import MODULES

MOST = 500


def test_no_module_is_longer_than_the_limit() -> None:
    long = {str(module): lines for module in MODULES if (lines := module.text.count("\n")) > MOST}
    assert not long


def test_most_modules_are_short() -> None:
    sizes = sorted(module.text.count("\n") for module in MODULES)
    assert sizes[len(sizes) * 9 // 10] <= 350
