"""Unit tests write to no folder that vmon uses: their run folder is their own. The probe's C code is built once."""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Iterator

import pytest

from tests.unit.probe.native import NativeGuest, build


@pytest.fixture(scope="module", autouse=True)
def own_run_folder() -> Iterator[None]:
    """For these modules alone: the guest tests that the same process runs have another."""
    # Short, because a socket's path has 107 bytes.
    folder = f"/tmp/vmon-u{os.getpid()}"
    old = os.environ.get("VMON_RUN_DIR")
    os.environ["VMON_RUN_DIR"] = folder
    yield
    shutil.rmtree(folder, ignore_errors=True)
    if old is None:
        del os.environ["VMON_RUN_DIR"]
    else:
        os.environ["VMON_RUN_DIR"] = old


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    return build(tmp_path_factory.mktemp("probe"))


@pytest.fixture
def native(library: ctypes.CDLL) -> NativeGuest:
    return NativeGuest(library)
