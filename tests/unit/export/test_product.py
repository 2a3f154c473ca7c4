from __future__ import annotations

from importlib import metadata

import pytest

from vmon.export import product


def test_the_version_is_that_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    assert product.version() == metadata.version("vmon")
    product.version.cache_clear()

    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert product.version() == "0"
    product.version.cache_clear()
