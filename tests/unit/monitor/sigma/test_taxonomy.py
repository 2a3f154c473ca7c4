from __future__ import annotations

import os
import stat

import pytest

from tests.unit.monitor.sigma.made import event
from vmon.core import ecs
from vmon.core.events import Event
from vmon.monitor.sigma.taxonomy import (
    CATEGORIES,
    FILE_EVENT,
    NETWORK_CONNECTION,
    PROCESS_CREATION,
    Source,
    Unsupported,
    ecs_name,
    sources_of,
)
from vmon.policy.condition import compiled
from vmon.probe.hooks import EVENTS


def taken(sources: tuple[Source, ...], found: Event) -> int:
    """By how many sources an event is taken."""
    return sum(
        found.event in source.events and compiled(source.condition)(ecs.fields(found)) for source in sources
    )


@pytest.mark.parametrize("category", CATEGORIES)
def test_categories_are_of_events_and_fields_that_there_are(category: str) -> None:
    for source in CATEGORIES[category]:
        assert source.events <= {found.name for found in EVENTS}
        assert set(source.names.values()) <= ecs.NAMES


def test_an_exec_is_told_when_it_is_done() -> None:
    assert taken(PROCESS_CREATION, event(1, name="process.exec", path="/bin/a", cmdline=["a"]))
    assert taken(PROCESS_CREATION, event(1, name="process.exec", path="/bin/a"))  # without arguments
    for more in ({"verdict": "denied", "rule": 1}, {"verdict": "asked", "rule": 1, "ask": 1}, {"rule": 1}):
        assert not taken(PROCESS_CREATION, event(1, name="process.exec", path="/bin/a", **more))


@pytest.mark.parametrize(
    ("found", "count"),
    [
        (event(1, name="file.open", path="/a", flags=os.O_RDONLY), 0),
        (event(1, name="file.open", path="/a", flags=os.O_WRONLY), 1),
        (event(1, name="file.open", path="/a", flags=os.O_RDWR | os.O_APPEND), 1),
        (event(1, name="file.open", path="/a", flags=os.O_CREAT), 1),
        (event(1, name="file.create", path="/a", mode=stat.S_IFREG | 0o600), 0),
        (event(1, name="file.create", path="/a", mode=stat.S_IFIFO | 0o600), 1),
        (event(1, name="file.symlink", path="/a"), 1),
        (event(1, name="file.rename", path="/a", new_path="/b"), 1),
        (event(1, name="file.link", path="/a", new_path="/b"), 1),
        (event(1, name="file.unlink", path="/a"), 0),
    ],
)
def test_a_file_is_told_of_once(found: Event, count: int) -> None:
    assert taken(FILE_EVENT, found) == count


def test_connections_are_those_of_the_internet() -> None:
    assert taken(NETWORK_CONNECTION, event(1, name="net.connect", family="inet", address="10.0.0.1", port=80))
    assert not taken(NETWORK_CONNECTION, event(1, name="net.connect", family="unix", path="/run/x"))
    assert not taken(NETWORK_CONNECTION, event(1, name="net.connect", family="unspec"))


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (("process_creation", "windows", None), "it is about windows, not Linux"),
        ((None, "linux", "auditd"), "it reads the log of auditd, which the guest writes itself"),
        ((None, "linux", None), "its log source has no category"),
        (("dns_query", "linux", None), "category dns_query: what is sent by UDP is not seen"),
        (("webserver", None, None), "category webserver is none that is seen here"),
    ],
)
def test_log_sources_that_are_none(source: tuple[str | None, str | None, str | None], reason: str) -> None:
    with pytest.raises(Unsupported, match=f"^{reason}$"):
        sources_of(*source)


def test_a_rule_for_every_product_is_one_for_linux() -> None:
    assert sources_of("process_creation", None, None) == sources_of("process_creation", "linux", "sysmon")


def test_names() -> None:
    (process,) = PROCESS_CREATION
    (connection,) = NETWORK_CONNECTION
    opened, renamed = FILE_EVENT[0], FILE_EVENT[-1]
    assert ecs_name("Image", process) == "process.executable"
    assert ecs_name("process.parent.command_line", process) == "process.parent.command_line"
    assert ecs_name("User", connection) == ecs_name("user.name", connection) == "user.name"
    assert ecs_name("TargetFilename", opened) == ecs_name("file.path", opened) == "file.path"
    assert ecs_name("TargetFilename", renamed) == ecs_name("file.path", renamed) == "vmon.new_path"
    assert ecs_name("DestinationIp", connection) == "destination.ip"


@pytest.mark.parametrize(
    ("source", "name", "reason"),
    [
        (PROCESS_CREATION[0], "CurrentDirectory", "no event carries the working directory of a process"),
        (PROCESS_CREATION[0], "DestinationPort", "is none of these events"),
        (PROCESS_CREATION[0], "destination.port", "is none of these events"),
        (PROCESS_CREATION[0], "Whatever", "is none of these events"),
        (FILE_EVENT[-1], "file.name", "is none of these events"),
        (NETWORK_CONNECTION[0], "DestinationHostname", "the name that was looked up is not seen"),
        (NETWORK_CONNECTION[0], "SourceIp", "the own end of a connection"),
    ],
)
def test_fields_that_are_none(source: Source, name: str, reason: str) -> None:
    with pytest.raises(Unsupported, match=f"^field {name}.*{reason}"):
        ecs_name(name, source)
