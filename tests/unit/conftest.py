"""Unit tests write to no folder that vmon uses: their run folder is their own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def own_run_folder() -> Iterator[None]:
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
