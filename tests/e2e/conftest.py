"""What the tests of the page share: one guest, one server, one browser; a window of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from tests.e2e.served import Server, Visitor, chromium, own_run_folder
from vmon.lab.guest import LabGuest

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def served_guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabGuest]:
    with own_run_folder(), LabGuest.up("web1", cpus=2) as guest:
        yield guest


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def server(
    browser: Browser, served_guest: LabGuest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    found = Server(tmp_path_factory.mktemp("served"), ["lab:web1"])
    found.start()
    yield found
    found.end()


class Visit(Protocol):
    """Opens a window; at the end of the test its console must have said nothing."""

    def __call__(self, **window: Any) -> Visitor: ...


@pytest.fixture
def visitor(browser: Browser, server: Server) -> Iterator[Visit]:
    opened: list[Visitor] = []

    def visit(**window: Any) -> Visitor:
        opened.append(Visitor(browser, server, **window))
        return opened[-1]

    yield visit
    said = [line for each in opened for line in each.said]
    for each in opened:
        each.close()
    assert not said, "\n".join(said)
