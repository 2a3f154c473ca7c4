from __future__ import annotations

import ctypes

import pytest

from tests.unit.probe.native import NativeGuest, build


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    return build(tmp_path_factory.mktemp("probe"))


@pytest.fixture
def native(library: ctypes.CDLL) -> NativeGuest:
    return NativeGuest(library)
