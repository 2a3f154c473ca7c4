from __future__ import annotations

import os
from pathlib import Path

import pytest

from vmon.core.folders import cache_folder, run_folder


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VMON_CACHE_DIR", "VMON_RUN_DIR", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/somebody")


def test_what_can_be_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder() == Path("/home/somebody/.cache/vmon")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert cache_folder() == Path("/cache/vmon")
    monkeypatch.setenv("VMON_CACHE_DIR", "/own")
    assert cache_folder() == Path("/own")


def test_what_lives_with_this_boot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert run_folder() == Path("/tmp/vmon-1000")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    assert run_folder() == Path("/run/user/1000/vmon")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert run_folder() == Path("/run/vmon")
    monkeypatch.setenv("VMON_RUN_DIR", "/own")
    assert run_folder() == Path("/own")
    assert len(str(run_folder())) < 60
