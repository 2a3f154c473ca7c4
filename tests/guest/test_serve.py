"""A real server process over real guests: what it lists, what it does to them, and a service that decides over HTTP."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import vmon
from tests.guest.conftest import say
from vmon.core.errors import NotSupported
from vmon.lab.guest import LabGuest

httpx = pytest.importorskip("httpx")
pytest.importorskip("uvicorn")

PATIENCE_S = 60.0
API = "http://vmon/api/v1"
pytestmark = pytest.mark.parametrize("guest", ["6.1", "7.2"], indirect=True, scope="session")
"""What a server adds does not depend on the kernel: two stand for all."""


class Server:
    """`vmon serve` as a process."""

    def __init__(self, guest: LabGuest, *arguments: str) -> None:
        command = [sys.executable, "-c", "from vmon.cli import main; main()", "serve", guest.name, *arguments]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        self.said = [self.process.stderr.readline()]
        while "listening" not in self.said[-1]:
            assert self.said[-1], self.said
            self.said.append(self.process.stderr.readline())

    def end(self) -> str:
        """By SIGTERM; what it said at its end."""
        self.process.send_signal(signal.SIGTERM)
        _, err = self.process.communicate(timeout=PATIENCE_S)
        assert self.process.returncode == 0, err
        return err


@pytest.fixture
def server(guest: LabGuest, tmp_path: Path) -> Iterator[tuple[Server, httpx.Client]]:
    """On a socket file, and a client of it whose addresses are those of the guest."""
    path = tmp_path / "serve.sock"
    running = Server(guest, "--listen", f"unix:{path}")
    base = f"{API}/vms/lab:{guest.name}/"
    with httpx.Client(
        transport=httpx.HTTPTransport(uds=str(path)), base_url=base, timeout=PATIENCE_S
    ) as client:
        try:
            yield running, client
        finally:
            if running.process.poll() is None:
                running.end()
    with vmon.attach(guest.name) as vm, contextlib.suppress(NotSupported):
        if vm.rules():
            vm.remove_probe()


class Heard:
    """Events of a stream, taken in a thread as they come."""

    def __init__(self, client: httpx.Client, path: str) -> None:
        self.events: list[tuple[str, Any, str]] = []
        self.over = threading.Event()
        self._begun = threading.Event()
        self._client = client
        self._path = path
        self.thread = threading.Thread(target=self._take, daemon=True)
        self.thread.start()
        assert self._begun.wait(PATIENCE_S)

    def _take(self) -> None:
        with contextlib.suppress(httpx.HTTPError), self._client.stream("GET", self._path) as reply:
            assert reply.status_code == 200, reply.read()
            self._reply = reply
            fields: dict[str, str] = {}
            for line in reply.iter_lines():
                self._begun.set()
                if line and not line.startswith(":"):
                    name, _, value = line.partition(": ")
                    fields[name] = value
                elif fields:
                    self.events.append((fields["event"], json.loads(fields["data"]), fields.get("id", "")))
                    fields = {}
        self.over.set()

    def find(self, name: str, wanted: Any = lambda _: True) -> Any:
        """The first event of a name that is wanted; waits for it."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            for event, data, _ in list(self.events):
                if event == name and wanted(data):
                    return data
            time.sleep(0.02)
        raise AssertionError(f"no {name} that is wanted among {self.events[-5:]}")


def test_it_lists_what_the_python_calls_list(server: tuple[Server, httpx.Client], guest: LabGuest) -> None:
    _, client = server
    found = client.get(f"{API}/guests").json()["records"]
    assert [record["vm"] for record in found] == [f"lab:{guest.name}"]
    whole = client.get(f"{API}/vms/lab:{guest.name}").json()
    assert whole["guest"]["hostname"] == say(guest, "hostname").strip()
    assert not whole["probe"]["active"]
    processes = client.get("processes").json()
    assert processes["coverage"] is not None
    init = next(record for record in processes["records"] if record["pid"] == 1)
    assert client.get("processes/1").json()["key"] == init["key"]
    for view in ("files", "sockets", "maps", "threads", "environ", "stack", "auxv", "hash"):
        reply = client.get(f"processes/1/{view}")
        assert reply.status_code == 200, (view, reply.text)
        assert set(reply.json()) == {"coverage", "records"}
    assert client.get("processes/1/exe").content[:4] == b"\x7fELF"
    assert client.get("file", params={"where": "/proc/version"}).status_code in (404, 409)


def test_every_view_answers_on_a_real_guest(server: tuple[Server, httpx.Client]) -> None:
    from vmon.api import views

    _, client = server
    for row in views.ROWS:
        reply = client.get(row.path.partition("{vm}/")[2])
        assert reply.status_code == 200, (row.name, reply.text)


def test_a_process_is_seen_to_come_is_killed_and_is_seen_to_go(
    server: tuple[Server, httpx.Client], guest: LabGuest
) -> None:
    running, client = server
    heard = Heard(client, "processes/stream")
    assert heard.find("snapshot")["records"]
    say(guest, "sleep 3311 >/dev/null 2>&1 &")
    is_ours = lambda record: record["cmdline"] == ["sleep", "3311"]  # noqa: E731
    started = heard.find("changes", lambda data: any(map(is_ours, data["started"] + data["changed"])))
    record = next(filter(is_ours, started["started"] + started["changed"]))
    path = f"processes/{record['pid']}/kill"
    assert client.post(path, json={"key": f"{record['pid']}@1"}).status_code == 404
    done = client.post(path, json={"key": record["key"]})
    assert done.status_code == 200, done.text
    assert done.json()["done"]
    heard.find("changes", lambda data: record["key"] in data["ended"])
    said = running.end()
    assert heard.over.wait(PATIENCE_S)
    assert heard.events[-1][:2] == ("end", {"why": "the server ends"})
    assert "probe taken out" in said
    with vmon.attach(guest.name) as vm, pytest.raises(NotSupported):
        vm.rules()


def test_an_open_is_refused_and_the_refusal_is_heard(
    server: tuple[Server, httpx.Client], guest: LabGuest
) -> None:
    _, client = server
    assert client.get("events").json()["title"] == "NotSupported"
    assert client.put("probe").json()["installed"]
    say(guest, "echo secret >/tmp/secret")
    rule = {"events": ["file.open"], "path": "/tmp/secret", "action": "deny"}
    number = client.post("rules", json={"rules": [rule]}).json()["records"][0]["number"]
    heard, denied = Heard(client, "events?on=process.exec"), Heard(client, "events?on=file.open&denied=true")
    assert guest.run("cat /tmp/secret", timeout_s=60).status != 0
    assert denied.find("event")["path"] == "/tmp/secret"
    heard.find("event", lambda data: data["event"] == "process.exec" and "cat" in (data["cmdline"] or []))
    assert client.put("enforcing", json={"on": False}).json()["enforcing"] is False
    assert say(guest, "cat /tmp/secret") == "secret\n"
    assert client.get("rules").json()["records"][0]["hits"] >= 2
    assert any(count["event"] == "file.open" for count in client.get("counts").json()["records"])
    # Who comes back is told what happened meanwhile.
    last = denied.events[0][2]
    again = Heard(client, f"events?on=file.open&since={last}")
    again.find("event", lambda data: data["path"] == "/tmp/secret" and data.get("verdict") == "would deny")
    assert client.delete(f"rules/{number}").json() == {"dropped": 1}


def test_a_service_elsewhere_decides_about_an_exec(
    server: tuple[Server, httpx.Client], guest: LabGuest
) -> None:
    _, client = server
    rule = {
        "events": ["process.exec"],
        "path_glob": "**/env",
        "action": "ask",
        "fallback": "deny",
        "timeout_ms": 20_000,
    }
    say(guest, "cp /bin/busybox /tmp/env")
    client.put("probe")
    client.post("rules", json={"rules": [rule]})
    # Nobody listens: the fallback decides at once.
    assert guest.run("/tmp/env true", timeout_s=60).status != 0
    asks = Heard(client, "asks")
    asks.find("begin")
    for number, (answer, status) in enumerate((("deny", False), ("allow", True))):
        done: list[int] = []
        thread = threading.Thread(target=lambda: done.append(guest.run("/tmp/env true", timeout_s=60).status))  # noqa: B023
        thread.start()
        ask = asks.find("ask", lambda data, number=number: data["id"].endswith(f"-{number + 1}"))
        assert ask["event"]["path"] == "/tmp/env"
        assert ask["fallback"] == "deny"
        assert client.post(f"asks/{ask['id']}", json={"answer": answer}).json()["answer"] == answer
        thread.join(PATIENCE_S)
        assert (done == [0]) is status
        assert client.post(f"asks/{ask['id']}", json={"answer": "allow"}).status_code == 410
    counts = client.get("asks/counts").json()
    assert (counts["answered"], counts["late"]) == (2, 2)
    assert client.post("asks/nothing", json={"answer": "allow"}).status_code == 404


def test_on_a_network_address_a_token_says_who_may(guest: LabGuest, tmp_path: Path) -> None:
    from vmon.api.tokens import write_tokens

    file = tmp_path / "tokens"
    write_tokens(file)
    given = dict(line.split(":") for line in file.read_text().splitlines())
    running = Server(guest, "--listen", "127.0.0.1:0", "--token-file", str(file))
    base = running.said[-1].split()[-1]
    path = f"{base}api/v1/vms/lab:{guest.name}"
    try:
        with httpx.Client(timeout=PATIENCE_S) as client:
            assert client.get(path).status_code == 401
            client.headers["authorization"] = f"Bearer {given['viewer']}"
            init = client.get(f"{path}/processes/1").json()
            assert client.post(f"{path}/processes/1/kill", json={"key": init["key"]}).status_code == 403
            assert client.put(f"{path}/probe").status_code == 403
            client.headers["authorization"] = f"Bearer {given['operator']}"
            assert client.post(f"{path}/processes/1/kill", json={"key": init["key"]}).status_code == 400
            assert client.get(path, headers={"host": "evil.example"}).status_code == 421
    finally:
        running.end()
