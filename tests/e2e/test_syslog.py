"""A real rsyslogd receives what vmon writes, over a Unix socket, UDP and TCP, and takes it apart as RFC 5424 says."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from socket import AF_INET, SOCK_DGRAM, SOCK_STREAM, socket

import pytest

from tests.unit.export.told import ATTACKS, ORIGIN, RECORDS, event
from vmon.core.told import Told, name_of
from vmon.sinks.places import open_place, read_place

RSYSLOGD = shutil.which("rsyslogd", path="/usr/sbin:/usr/bin:/sbin:/bin")
PATIENCE_S = 60.0
pytestmark = pytest.mark.skipif(RSYSLOGD is None, reason="rsyslogd is not installed; ./dev test installs it")
CONFIGURATION = """
global(workDirectory="{folder}" parser.escapeControlCharactersOnReceive="on" maxMessageSize="64k")
module(load="imuxsock" SysSock.Use="off")
input(type="imuxsock" Socket="{folder}/log" useSysTimeStamp="off" useSpecialParser="off" parseHostname="on")
module(load="imudp")
input(type="imudp" address="127.0.0.1" port="{udp}")
module(load="imtcp" maxSessions="10")
input(type="imtcp" address="127.0.0.1" port="{tcp}")
template(name="parts" type="list" option.jsonf="on") {{
  property(outname="hostname" name="hostname" format="jsonf")
  property(outname="app" name="app-name" format="jsonf")
  property(outname="msgid" name="msgid" format="jsonf")
  property(outname="protocol" name="protocol-version" format="jsonf")
  property(outname="severity" name="syslogseverity-text" format="jsonf")
  property(outname="facility" name="syslogfacility-text" format="jsonf")
  property(outname="sd" name="structured-data" format="jsonf")
  property(outname="msg" name="msg" format="jsonf")
}}
action(type="omfile" file="{folder}/out" template="parts")
"""


def free_port(kind: int) -> int:
    with socket(AF_INET, kind) as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def rsyslogd(folder: Path, udp: int, tcp: int) -> Iterator[None]:
    path = folder / "rsyslog.conf"
    path.write_text(CONFIGURATION.format(folder=folder, udp=udp, tcp=tcp))
    command = [str(RSYSLOGD), "-n", "-f", str(path), "-i", str(folder / "pid")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline and process.poll() is None:
            with suppress(OSError), socket(AF_INET, SOCK_STREAM) as found:
                found.connect(("127.0.0.1", tcp))
                break
            time.sleep(0.05)
        assert process.poll() is None, process.communicate()[1]
        yield
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE_S)


def received(path: Path, count: int) -> list[dict[str, str]]:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        lines = path.read_bytes().splitlines() if path.exists() else []
        if len(lines) >= count:
            return [json.loads(line) for line in lines]
        time.sleep(0.05)
    raise AssertionError(f"{len(lines)} of {count} messages arrived")


def send(to: str, records: list[Told]) -> None:
    out = open_place(read_place(to))
    for record in records:
        out.put(record, ORIGIN)
    total = out.close(PATIENCE_S)
    assert total.delivered == len(records), total


@pytest.mark.parametrize("way", ["unix", "udp", "tcp"])
def test_each_record_arrives_whole(tmp_path: Path, way: str) -> None:
    udp, tcp = free_port(SOCK_DGRAM), free_port(SOCK_STREAM)
    to = {
        "unix": f"syslog+unix:{tmp_path}/log",
        "udp": f"syslog+udp://127.0.0.1:{udp}",
        "tcp": f"syslog+tcp://127.0.0.1:{tcp}",
    }[way]
    hostile: list[Told] = [event(path=text, name=text, cmdline=[text]) for text in ATTACKS]
    records = [*RECORDS, *hostile]
    with rsyslogd(tmp_path, udp, tcp):
        send(to, records)
        found = received(tmp_path / "out", len(records))
        assert len(found) == len(records)  # no text of a guest made a message of its own
        for record, got in zip(records, found, strict=True):
            assert (got["hostname"], got["app"], got["protocol"]) == ("lab:web1", "vmon", "1")
            assert got["msgid"] == name_of(record)
            assert got["sd"].startswith('[origin software="vmon"')
            assert "[vmon@32473 target=" in got["sd"]
        (tmp_path / "out").write_bytes(b"")
        send(f"cef={to}", RECORDS[:5])
        assert all("CEF:0|vmon|vmon|" in got["msg"] for got in received(tmp_path / "out", 5))
