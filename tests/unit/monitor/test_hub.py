from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest

from tests.unit.monitor.test_subscription import event
from vmon.core.errors import GuestDataError, GuestRebooted, NotSupported, UsageError
from vmon.core.events import Answer, Event
from vmon.core.records.probe import CheckRecord, DifferenceRecord, NoticeRecord
from vmon.core.rules import Rule, RuleRecord
from vmon.monitor import keeping
from vmon.monitor.hub import Hub

ASK = Rule(events=("file.open",), action="ask", path="/x", fallback="allow")
OTHER = Rule(events=("file.open",), action="ask", path="/y", fallback="deny")


class FakeStream:
    def __init__(self) -> None:
        self.ring: queue.Queue[list[Event] | BaseException] = queue.Queue()
        self.recorded: set[str] = set()
        self.answering = self.running = self.of_an_old_kernel = False
        self.said: queue.Queue[tuple[str | None, Answer]] = queue.Queue()

    def record(self, events: Sequence[str]) -> None:
        self.recorded = set(events)

    def answer_later(self, *, on: bool) -> None:
        self.answering = on

    def start(self) -> None:
        self.running = True

    def stop(self) -> None:
        self.running = False

    def batches(self, timeout_s: float) -> Iterator[list[Event]]:
        try:
            found = self.ring.get(timeout=min(timeout_s, 0.01))
        except queue.Empty:
            return
        if isinstance(found, BaseException):
            raise found
        yield found

    def say(self, found: Event, answer: Answer) -> Event:
        self.said.put((found.path, answer))
        became = {"allow": "allowed", "deny": "denied", "kill": "killed"}[answer]
        return msgspec.structs.replace(found, verdict=became)

    def counts(self) -> list[Any]:
        return []


class FakeVm:
    def __init__(self) -> None:
        self.acting = threading.RLock()
        self.rules_written = self.reboots = 0
        self.enforcing = True
        self.found: list[DifferenceRecord] = []
        self.streams: list[FakeStream] = []
        self.in_force: list[Rule] = []
        self.kernel = self
        self.booting = False
        self.hub = Hub(self, self.make_stream, self.require_seen)  # type: ignore[arg-type]

    def make_stream(self) -> Any:
        self.streams.append(FakeStream())
        return self.streams[-1]

    def reboot(self) -> None:
        self.stream.of_an_old_kernel = True
        self.reboots += 1

    @property
    def stream(self) -> FakeStream:
        return self.streams[-1]

    def require_seen(self, events: Sequence[str]) -> None:
        if "net.listen" in events:
            raise NotSupported("net.listen can't be seen in this guest")

    def rules(self) -> list[RuleRecord]:
        return [RuleRecord(number=row, hits=0, rule=rule) for row, rule in enumerate(self.in_force, 1)]

    def add_rules(self, rules: Sequence[Rule]) -> list[RuleRecord]:
        self.in_force += rules
        self.rules_written += 1
        return self.rules()[-len(rules) :]

    def rules_digest(self) -> bytes:
        return repr(self.in_force).encode()

    def check_probe(self) -> CheckRecord:
        return CheckRecord(intact=not self.found, differences=self.found, took_ms=0.1)

    def install_probe(self, _: int) -> Any:
        self.in_force = []
        return type("Installed", (), {"sites": 1, "paused_ms": 1.0})

    def process(self, _: int) -> Any:
        return type("Init", (), {"exe": "/init"})

    def enforce(self, *, on: bool) -> None:
        self.enforcing = on


def wait_for(done: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def asked(path: str, rule: int) -> Event:
    return event("file.open", path=path, rule=rule, ask=1, verdict="asked")


@pytest.fixture
def vm() -> Iterator[FakeVm]:
    found = FakeVm()
    yield found
    found.hub.close()
    assert not found.hub.running
    assert not any(stream.running for stream in found.streams if not stream.of_an_old_kernel)


def test_one_reader_for_many(vm: FakeVm) -> None:
    opens = vm.hub.subscribe(["file.open"])
    execs = vm.hub.subscribe(["process.exec", "file.open"], only=lambda found: found.sequence > 1)
    assert len(vm.streams) == 1
    assert vm.stream.recorded == {"file.open", "process.exec"}
    assert not vm.stream.answering
    vm.stream.ring.put([event("file.open", 1), event("process.exec", 2), event("net.bind", 3)])
    assert next(opens).sequence == 1
    assert next(execs).sequence == 2
    execs.close()
    assert vm.stream.recorded == {"file.open"}
    assert vm.stream.running
    opens.close()
    assert not vm.stream.running
    assert not vm.hub.running


def test_who_leaves_a_loop_is_forgotten(vm: FakeVm) -> None:
    def look() -> None:
        for found in vm.hub.subscribe(["file.open"]):
            assert found.sequence == 1
            break

    thread = threading.Thread(target=look)
    thread.start()
    wait_for(lambda: vm.hub.running)
    vm.stream.ring.put([event("file.open", 1)])
    thread.join(20)
    wait_for(lambda: not vm.hub.running)
    again = vm.hub.subscribe([])
    assert len(vm.streams) == 2
    assert len(vm.stream.recorded) == 25
    again.close()


def test_what_can_not_be_seen_is_refused_and_leaves_nothing(vm: FakeVm) -> None:
    with pytest.raises(NotSupported):
        vm.hub.subscribe(["net.listen"])
    assert not vm.hub.running
    with pytest.raises(UsageError):
        vm.hub.counts()


def test_asks_go_to_who_answers_for_their_rule(vm: FakeVm) -> None:
    seen = vm.hub.subscribe(["file.open"])
    mine = vm.hub.ask_by(lambda _: "kill", lambda: vm.add_rules([ASK]))
    assert vm.stream.answering
    vm.in_force.append(OTHER)
    vm.stream.ring.put([event("file.open", 1), asked("/x", 1), asked("/y", 2)])
    answers = dict(vm.stream.said.get(timeout=20) for _ in range(2))
    assert answers == {"/x": "kill", "/y": "deny"}, "nobody is there for /y: its fallback, at once"
    told = {(found.path, found.verdict) for found in (next(seen), next(seen), next(seen))}
    assert told == {(None, "allowed"), ("/x", "killed"), ("/y", "denied")}
    rest = vm.hub.ask_by(lambda _: "allow")
    vm.stream.ring.put([asked("/y", 2)])
    assert vm.stream.said.get(timeout=20) == ("/y", "allow")
    vm.hub.stop_asking(rest)
    vm.hub.stop_asking(mine)
    assert not vm.stream.answering
    vm.stream.ring.put([asked("/x", 1)])
    wait_for(vm.stream.ring.empty)
    assert next(seen).verdict == "allowed"
    assert next(seen).verdict == "asked"


def test_an_ask_that_comes_while_its_rule_goes_in_is_answered(vm: FakeVm) -> None:
    def put_in() -> list[RuleRecord]:
        records = vm.add_rules([ASK])
        vm.stream.ring.put([asked("/x", 1)])
        wait_for(vm.stream.ring.empty)
        return records

    answerer = vm.hub.ask_by(lambda _: "deny", put_in)
    assert vm.stream.said.get(timeout=20) == ("/x", "deny")
    vm.hub.stop_asking(answerer)
    assert not vm.hub.running


def test_rules_that_are_refused_leave_nobody_asked(vm: FakeVm) -> None:
    def put_in() -> list[RuleRecord]:
        raise UsageError("makes no sense")

    with pytest.raises(UsageError):
        vm.hub.ask_by(lambda _: "deny", put_in)
    assert not vm.hub.running


def test_a_reboot_ends_everybody(vm: FakeVm) -> None:
    seen = vm.hub.subscribe(["file.open"])
    vm.hub.ask_by(lambda _: "deny", lambda: vm.add_rules([ASK]))
    vm.stream.ring.put([event("file.open", 1)])
    wait_for(vm.stream.ring.empty)
    vm.reboot()
    with pytest.raises(GuestRebooted):
        list(seen)
    with pytest.raises(GuestRebooted):
        vm.hub.wait(20)
    assert not vm.hub.running
    vm.hub.subscribe(["file.open"]).close()
    vm.hub.wait(20)


def test_a_reboot_is_lived_through(vm: FakeVm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "BOOT_POLL_S", 0.0)
    vm.hub.persist = True
    notices: list[NoticeRecord] = []
    vm.hub.hear(notices.append)
    vm.hub.hear(lambda _: 1 // 0)
    vm.in_force = [OTHER.__class__(events=("file.open",), action="log", tree="7@7")]
    seen = vm.hub.subscribe(["file.open"])
    vm.hub.ask_by(lambda _: "kill", lambda: vm.add_rules([ASK]))
    wait_for(lambda: vm.rules_written and vm.hub._keeper._written == vm.rules_written)  # type: ignore[union-attr]
    vm.reboot()
    wait_for(lambda: len(notices) == 2)
    assert [notice.event for notice in notices] == ["vmon.rebooted", "vmon.installed"]
    assert vm.in_force == [ASK], "its number is another one now"
    wait_for(lambda: vm.stream.running)
    assert vm.stream.answering
    vm.stream.ring.put([asked("/x", 1)])
    assert next(seen).verdict == "killed"


def test_a_listener_may_call_the_hub_while_another_thread_acts(vm: FakeVm) -> None:
    heard: list[str] = []

    def listen(notice: NoticeRecord) -> None:
        heard.append(notice.event)
        # Were `acting` held here, nobody else could take it: two threads could wait for each other.
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(vm.acting.acquire, blocking=False).result()
            assert pool.submit(vm.acting.release).result() is None
        vm.hub.subscribe(["file.open"]).close()

    vm.hub.hear(lambda _: heard.append("told no more"))()
    vm.hub.hear(listen)
    vm.hub.subscribe(["file.open"]).take()
    events = vm.hub.subscribe(["file.open"])
    said = "a site leads elsewhere"
    vm.found = [DifferenceRecord(what="instruction", address=1, expected="", found="", said=said)]
    wait_for(lambda: heard)
    assert heard == ["vmon.tampered"]
    assert vm.hub.running
    events.close()


def test_a_fault_of_the_watching_is_told(vm: FakeVm) -> None:
    seen = vm.hub.subscribe(["file.open"])
    vm.stream.ring.put(GuestDataError("of a guest that breaks its ring: looked at again"))
    vm.stream.ring.put(ZeroDivisionError("ours"))
    with pytest.raises(Exception, match="the watching ended: ZeroDivisionError: ours"):
        next(seen)
    with pytest.raises(Exception, match="ZeroDivisionError"):
        vm.hub.wait()


def test_a_handler_may_end_the_asking(vm: FakeVm) -> None:
    answerers: list[Any] = []

    def once(_: Event) -> Answer:
        vm.hub.stop_asking(answerers[0])
        return "deny"

    answerers.append(vm.hub.ask_by(once, lambda: vm.add_rules([ASK])))
    vm.stream.ring.put([asked("/x", 1)])
    wait_for(lambda: not vm.hub.running)
