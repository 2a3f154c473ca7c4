from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.api.fakes import Client

Serve = Callable[..., Client]


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Starts servers without a network."""
    monkeypatch.setenv("VMON_CACHE_DIR", str(tmp_path))
    made: list[Client] = []

    def start(**how: Any) -> Client:
        made.append(Client(**how))
        return made[-1]

    yield start
    for client in made:
        client.close()


@pytest.fixture
def client(serve: Serve) -> Client:
    """A server on a network address, asked by its operator."""
    return serve()
