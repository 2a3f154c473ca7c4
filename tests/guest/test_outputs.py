"""One watch with every output at once: all of them tell the same, each by its schema, and the journal is whole."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

import vmon
from tests.guest.test_probe_kept import PATIENCE_S, PROGRAM, watching
from vmon.core.ecs import Origin
from vmon.core.errors import JournalBroken
from vmon.core.rules import Rule
from vmon.export.chain import verify
from vmon.export.formats import FORMATS
from vmon.lab.guest import LabGuest
from vmon.monitor.origin import origin_of

pytest.importorskip("prometheus_client")
pytest.importorskip("syslog_rfc5424_parser")

from prometheus_client.parser import text_string_to_metric_families
from syslog_rfc5424_parser import SyslogMessage

from tests.unit.export.test_cef import parse
from tests.unit.export.test_ecs import flat
from tests.unit.export.test_falco import SHAPE
from tests.unit.export.test_jsonl import SCHEMAS
from tests.unit.export.test_ocsf import VERSION, check
from tests.unit.sinks.test_webhook import Server

WORK = "for n in $(seq 30); do cat /etc/hosts >/dev/null; done; ln -s a 'b\n\"] c=d|' && rm 'b\n\"] c=d|'"
KERNELS = ("6.1.", "7.2.")


def only_some(vm: vmon.VirtualMachine) -> None:
    if not vm.guest.release.startswith(KERNELS):
        pytest.skip("formats do not depend on the kernel: an old and a new one are enough")


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_output_gets_all_of_it(guest: LabGuest, vm: vmon.VirtualMachine, tmp_path: Path) -> None:
    only_some(vm)
    hook = Server()
    hook.plan = [500, "reset", 429]
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    options = [f"--to={form}=file:{tmp_path}/{form}" for form in FORMATS]
    options += [f"--to=journal:{tmp_path}/journal", f"--to={hook.url}", f"--metrics=127.0.0.1:{port}"]
    try:
        with watching(guest.name, *options) as watch:
            watch.wait_for_open(guest, "/etc/hosts")
            vm.add_rules([Rule(events=("file.open",), path="/etc/group", action="deny")])
            guest.run(f"cd /tmp; {WORK}; cat /etc/group")
            watch.wait_for(lambda item: item.get("verdict") == "denied", lambda: None)
            watch.wait_for_open(guest, "/etc/passwd")
            vm.drop_rules()
            deadline = time.monotonic() + PATIENCE_S
            while not any(b"/etc/passwd" in body for body in hook.bodies) and time.monotonic() < deadline:
                time.sleep(0.05)
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
                page = answer.read().decode()
            status, said = watch.end()
    finally:
        vm.remove_probe()
        hook.http.shutdown()
        hook.http.server_close()
    assert status == 0, said
    assert "DROPPED" not in said
    told = judge_lines(tmp_path / "jsonl", guest, origin_of(vm))
    assert told.count("file.open") > 30
    assert [json.loads(line)["event"] for body in hook.bodies for line in body.splitlines()] == told
    judge_files(tmp_path, told)
    head = re.search(r"head ([0-9a-f]{64})", said)
    assert head is not None
    with (tmp_path / "journal").open("rb") as file:
        verdict = verify(file, None, head[1])
    assert (verdict.records, verdict.closed, verdict.head_at) == (len(told), True, verdict.lines)
    judge_metrics(page, told)


def judge_lines(path: Path, guest: LabGuest, origin: Origin) -> list[str]:
    """The kinds of all records, in their order."""
    own = lines(path)
    for found in own:
        SCHEMAS[found["record"]].validate(found)
        assert found["origin"]["target"] == f"lab:{guest.name}"
        assert abs(found["origin"]["boot_time_ns"] - origin.boot_time_ns) < 10**9
    return [found["event"] for found in own]


def judge_files(folder: Path, told: list[str]) -> None:
    """The other formats have the same records, each of its schema."""
    documents = [flat(found) for found in lines(folder / "ecs")]
    assert [found["vmon.event"] for found in documents] == told
    (denied,) = [found for found in documents if found.get("event.outcome") == "failure"]
    assert denied["file.path"] == "/etc/group"
    for found in lines(folder / "ocsf"):
        check(found, VERSION)
    for found in lines(folder / "falco"):
        SHAPE.validate(found)
    assert len(lines(folder / "ocsf")) == len(lines(folder / "falco")) == len(told)
    assert [parse(line)["cat"] for line in (folder / "cef").read_bytes().splitlines()] == told
    messages = [SyslogMessage.parse(line) for line in (folder / "syslog").read_text().splitlines()]
    assert [message.msgid for message in messages] == told


def judge_metrics(page: str, told: list[str]) -> None:
    samples = {
        (sample.name, sample.labels.get("event")): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.labels.get("verdict") != "denied"
    }
    assert 30 < samples["vmon_events_total", "file.open"] <= told.count("file.open")
    assert samples["vmon_seen_total", "file.open"] >= samples["vmon_events_total", "file.open"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def test_a_journal_outlives_a_watch_that_is_killed(
    guest: LabGuest, vm: vmon.VirtualMachine, tmp_path: Path
) -> None:
    only_some(vm)
    path = tmp_path / "journal"
    try:
        with watching(guest.name, f"--to=journal:{path}?sync=always") as watch:
            watch.wait_for_open(guest, "/etc/hosts")
            deadline = time.monotonic() + PATIENCE_S
            while b"/etc/hosts" not in path.read_bytes() and time.monotonic() < deadline:
                time.sleep(0.05)
            watch.process.kill()
            watch.process.wait(PATIENCE_S)
        done = run("journal", "verify", str(path))
        assert done.returncode == 0, done.stderr
        assert "does not close it" in done.stderr
        with watching(guest.name, f"--to=journal:{path}") as watch:
            watch.wait_for_open(guest, "/etc/passwd")
            status, said = watch.end()
        assert status == 0, said
    finally:
        vm.remove_probe()
    done = run("journal", "verify", str(path))
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert "/etc/hosts" in run("journal", "show", str(path)).stdout
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"/etc/hosts", b"/etc/hostz", 1))
    done = run("journal", "verify", str(path))
    assert done.returncode == JournalBroken.exit_code
    assert "it is not as it was written" in done.stderr
