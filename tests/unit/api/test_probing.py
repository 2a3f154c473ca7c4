from __future__ import annotations

from tests.unit.api.conftest import Serve
from tests.unit.api.fakes import Client, FakeVm
from vmon.core.rules import Rule

VM = "/api/v1/vms/lab:web1"


def test_a_probe_comes_is_enforced_and_goes(client: Client) -> None:
    assert client.get(f"{VM}/probe").json == {
        "active": False,
        "by_server": False,
        "enforcing": None,
        "rules": 0,
        "watched": False,
        "why": "no probe is active in this guest",
    }
    assert client.ask("PUT", f"{VM}/enforcing", {"on": True}).status == 409
    assert client.ask("PUT", f"{VM}/probe").json["installed"] is True
    assert client.ask("PUT", f"{VM}/probe").json["installed"] is False
    found = client.get(VM).json
    assert (found["probe"]["active"], found["probe"]["by_server"], found["live"]) == (True, True, True)
    assert client.ask("PUT", f"{VM}/enforcing", {"on": False}).json["enforcing"] is False
    assert client.get(f"{VM}/probe/check").json["intact"] is True
    assert client.ask("POST", f"{VM}/probe/repair").json["intact"] is True
    assert client.ask("DELETE", f"{VM}/probe").json == {"patches": 49, "stood_ms": 1.0, "left": ""}
    assert client.vm.done == ["install", "repair", "remove"]


def ended(serve: Serve, *, ours: bool, rules: bool) -> list[object]:
    vm = FakeVm()
    client = serve(vm=vm)
    if ours:
        client.ask("PUT", f"{VM}/probe")
    else:
        vm.install_probe()
        client.get(VM)
    if rules:
        vm.add_rules([Rule(events=("file.open",), path="/x")])
    client.run(client.hosted.close())
    return [done for done in vm.done if done in ("remove", "close")]


def test_at_the_end_our_own_probe_goes_and_that_of_others_and_one_with_rules_stay(serve: Serve) -> None:
    assert ended(serve, ours=True, rules=False) == ["remove", "close"]
    assert ended(serve, ours=True, rules=True) == ["close"]
    assert ended(serve, ours=False, rules=False) == ["close"]
