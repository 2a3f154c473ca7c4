from __future__ import annotations

import inspect

import pytest

from tests.unit.api.fakes import Client
from vmon.api import content
from vmon.api.app import ROWS
from vmon.api.views import ROWS as VIEWS
from vmon.api.views import said_of, words
from vmon.monitor.machine import VirtualMachine
from vmon.monitor.process import Process

VM = "/api/v1/vms/lab:web1"
IN_A_PROGRAM = {
    **dict.fromkeys(
        ("events", "aevents", "event_stream", "hub"), "GET events: one reader of the hub for all clients"
    ),
    **dict.fromkeys(("on", "off", "run", "ask"), "GET asks, POST asks/ID, and a rule whose action is ask"),
    **dict.fromkeys(("allow", "deny", "log"), "POST rules"),
    **dict.fromkeys(("close", "let_go"), "the server's own"),
    **dict.fromkeys(("kernel", "wide_kernel", "ram", "registers", "snapshot"), "for readers in a program"),
    "drgn_program": "an object of drgn",
    "identity": "names a run of the guest to vmon itself",
    "is_live": "GET the guest: live",
    "reboots": "GET the guest: reboots",
    "acting": "a lock",
    "exchange_rules": "PUT policy",
    "cgroup_of": "a policy's container",
    "rules_digest": "how vmon notices other rules",
    "rules_written": "how vmon notices its own rules",
}
"""Calls of a machine that have no route of their own, each with the reason."""
OF_A_PROCESS = {
    **dict.fromkeys(
        ("kill", "terminate", "suspend", "resume", "send_signal", "quarantine", "release"),
        "rows of the same names, with the process's key",
    ),
    **dict.fromkeys(("is_alive", "is_running", "require_alive", "wait"), "GET the process, or its stream"),
    **dict.fromkeys(("parent", "parents", "children"), "parent_key of the records, and descendants"),
    **dict.fromkeys(
        (
            "as_dict",
            "coverage",
            "cpu_times",
            "create_time",
            "gids",
            "memory_info",
            "memory_maps",
            "net_connections",
            "nice",
            "num_fds",
            "num_threads",
            "open_files",
            "status",
            "terminal",
            "uids",
        ),
        "psutil's names of what the record, files, sockets and maps have",
    ),
    "all_of": "how a snapshot makes them",
}
FIELDS = (
    "cmdline cwd exe kernel_thread key name parent_key pid ppid resident_size start_boottime_ns state "
    "threads_count uid"
)


def public(kind: type) -> set[str]:
    return {name for name, _ in inspect.getmembers(kind) if not name.startswith("_")}


def covered(kind: str) -> set[str]:
    calls = [call for row in ROWS for call in row.covers] + [
        call for row in content.DOWNLOADS for call in row.covers
    ]
    return {call.partition(".")[2] for call in calls if call.startswith(f"{kind}.")}


def test_all_that_the_python_calls_do_has_a_route_or_a_reason() -> None:
    bare = public(VirtualMachine) - covered("VirtualMachine") - set(IN_A_PROGRAM)
    assert not bare, f"no route and no reason: {sorted(bare)}"
    bare = public(Process) - covered("Process") - set(OF_A_PROCESS) - set(FIELDS.split())
    assert not bare, f"no route and no reason: {sorted(bare)}"


def test_no_row_covers_what_is_not_there() -> None:
    assert covered("VirtualMachine") <= public(VirtualMachine)
    assert covered("Process") <= public(Process)


@pytest.mark.parametrize("row", VIEWS, ids=lambda row: row.name)
def test_every_view_answers_with_what_it_could_not_see(client: Client, row: object) -> None:
    reply = client.get(row.path.replace("{vm}", "lab:web1"))  # type: ignore[attr-defined]
    assert reply.status == 200, reply.body
    if row.many:  # type: ignore[attr-defined]
        assert set(reply.json) == {"coverage", "records"}


def test_some_fields_of_processes(client: Client) -> None:
    found = client.get(f"{VM}/processes?fields=pid,%20name").json
    assert found["records"][0] == {"pid": 1, "name": "init"}
    reply = client.get(f"{VM}/processes?fields=pid,secret")
    assert (reply.status, reply.json["detail"]) == (400, "a process has no field 'secret'")


def test_parameters_reach_the_call_and_unknown_ones_do_not(client: Client) -> None:
    seen: list[object] = []
    client.vm.sockets = lambda **how: (seen.append(how), [])[1]  # type: ignore[method-assign, assignment]
    assert client.get(f"{VM}/sockets?all=true&namespace=7").status == 200
    assert seen == [{"all": True, "namespace": 7}]
    for wrong in ("all=maybe", "namespace=x", "other=1", "all=1&all=1"):
        assert client.get(f"{VM}/sockets?{wrong}").status == 400


def test_words_and_sentences() -> None:
    assert words(" a, b,,c ") == ("a", "b", "c")
    assert said_of(VirtualMachine.modules).startswith("Loaded modules")
