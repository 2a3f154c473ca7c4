"""A guest that remembers what was done to it, its hub, and a client that speaks to a server without a network."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, TypeVar

import msgspec

from tests.unit.linux.scene import Scene
from tests.unit.monitor.connection import FakeConnection
from vmon.api.app import make_app
from vmon.api.gate import Gate, Rules
from vmon.api.hosts import Hosted
from vmon.api.pool import Pool
from vmon.api.tokens import Tokens
from vmon.core.coverage import Answer, GapRecord
from vmon.core.errors import NoSuchProcess, NotSupported, UsageError
from vmon.core.events import Event, EventCounts
from vmon.core.records.guest import HostGuestRecord
from vmon.core.records.probe import ActRecord, CheckRecord, ProbeRecord
from vmon.core.rules import Rule, RuleRecord
from vmon.monitor.machine import VirtualMachine

T = TypeVar("T")
OPERATOR = "o" * 40
VIEWER = "v" * 40
TOKENS = Tokens({"operator": OPERATOR, "viewer": VIEWER})
HOST = "127.0.0.1:8643"
NOWHERE = GapRecord(what="everything", reason="not on this kernel", count=0, detail="")
UNSEEN = (
    "ports interfaces routes neighbours mounts locks who cgroups modules timers meminfo stack auxv check "
    "hashed_processes hashed_maps"
)


def event(**fields: Any) -> Event:
    """An exec by a process."""
    base: dict[str, Any] = {
        "event": "process.exec",
        "sequence": 1,
        "time_ns": 5,
        "key": "42@42000000",
        "pid": 42,
        "tid": 42,
        "ppid": 1,
        "uid": 0,
        "euid": 0,
        "gid": 0,
        "name": "worker",
        "cpu": 0,
        "cgroup_id": 1,
        "path": "/bin/nc",
    }
    return Event(**(base | fields))


class FakeSubscription:
    """Events that a test puts in."""

    def __init__(self, kinds: Sequence[str], only: Callable[[Event], bool]) -> None:
        self.kinds = tuple(kinds)
        self.lost = 0
        self.closed = False
        self._only = only
        self._queue: asyncio.Queue[Event | Exception] = asyncio.Queue()

    def put(self, item: Event | Exception) -> None:
        if isinstance(item, Exception) or self._only(item):
            self._queue.put_nowait(item)

    async def __aiter__(self) -> AsyncIterator[Event]:
        try:
            while True:
                item = await self._queue.get()
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            self.closed = True


class FakeHub:
    """The hub of a fake guest."""

    def __init__(self, vm: FakeVm) -> None:
        self._vm = vm
        self.running = True
        self.subscriptions: list[FakeSubscription] = []
        self.handler: Callable[[Event], Coroutine[Any, Any, str]] | None = None
        self.listeners: list[Callable[[Any], None]] = []

    def subscribe(self, kinds: Sequence[str], only: Callable[[Event], bool], size: int) -> FakeSubscription:
        if unknown := [name for name in kinds if name not in ("process.exec", "process.exit", "file.open")]:
            raise UsageError(f"there is no event {unknown[0]!r}")
        made = FakeSubscription(kinds, only)
        self.subscriptions.append(made)
        return made

    def ask_by(self, handler: Any, *, loop: Any) -> object:
        self.handler = handler
        return SimpleNamespace()

    def stop_asking(self, answerer: object) -> None:
        self.handler = None

    def hear(self, listener: Callable[[Any], None]) -> None:
        self.listeners.append(listener)

    def rule(self, number: int) -> Rule | None:
        return next((record.rule for record in self._vm.in_force if record.number == number), None)

    def counts(self) -> list[EventCounts]:
        return [EventCounts(event="process.exec", seen=3, lost=1, denied=1, asked=0, unanswered=0)]


class FakeVm(VirtualMachine):
    """The scene's guest; what would change it is written down in `done`."""

    def __init__(self, target: str = "lab:web1") -> None:
        self.connection = FakeConnection(Scene("new").guest)
        super().__init__(target, self.connection)
        self.done: list[Any] = []
        self.probe_in = False
        self.in_force: list[RuleRecord] = []
        self._enforcing = True
        self._number = 0
        self.fake_hub = FakeHub(self)
        for name in UNSEEN.split():
            setattr(self, name, lambda *_, **__: Answer([], [NOWHERE]))

    @property
    def hub(self) -> Any:
        return self.fake_hub

    def install_probe(self, *_: Any, **__: Any) -> ProbeRecord:
        fresh, self.probe_in = not self.probe_in, True
        if fresh:
            self.done.append("install")
        return ProbeRecord(installed=fresh, sites=49, paused_ms=1.0, events=["process.exec"], not_seen={})

    def remove_probe(self) -> Any:
        self.done.append("remove")
        self.probe_in, self.in_force = False, []
        return SimpleNamespace(patches=49, paused_ns=1_000_000, held_ns=0, left="")

    def check_probe(self) -> CheckRecord:
        self._require_probe()
        return CheckRecord(intact=True, differences=[], took_ms=0.5)

    def repair_probe(self) -> None:
        self._require_probe()
        self.done.append("repair")

    def _require_probe(self) -> None:
        if not self.probe_in:
            raise NotSupported("no probe is active in this guest")

    def signal(self, pid: int, number: int, *, key: str = "", force: bool = False) -> ActRecord:
        record = self.process(pid).record()
        if pid == 1 and not force:
            raise UsageError("this is init")
        self.done.append(("signal", pid, number, key, force))
        return ActRecord(
            key=record.key, pid=pid, name=record.name, signal=number, done=True, outcome="sent", took_ms=1.0
        )

    def quarantine(self, pid: int, *, key: str = "", force: bool = False) -> list[RuleRecord]:
        return self.add_rules([Rule(events=("process.exec",), tree=self.process(pid).key)])

    def release(self, pid: int, *, key: str = "") -> int:
        raise NoSuchProcess(f"process {pid} is not in quarantine")

    def add_rules(self, rules: Sequence[Rule]) -> list[RuleRecord]:
        self.install_probe()
        added = []
        for rule in rules:
            self._number += 1
            added.append(RuleRecord(number=self._number, hits=0, rule=rule))
        self.in_force += added
        self.done.append(("rules", len(added)))
        return added

    def exchange_rules(self, numbers: Sequence[int], rules: Sequence[Rule]) -> list[RuleRecord]:
        self.in_force = [record for record in self.in_force if record.number not in numbers]
        return self.add_rules(rules)

    def drop_rules(self, *numbers: int) -> None:
        self._require_probe()
        there = {record.number for record in self.in_force}
        if not set(numbers) <= there:
            raise UsageError("no such rule is in force")
        self.in_force = [record for record in self.in_force if numbers and record.number not in numbers]

    def rules(self) -> list[RuleRecord]:
        self._require_probe()
        return list(self.in_force)

    def enforce(self, *, on: bool) -> None:
        self._require_probe()
        self._enforcing = on

    @property
    def enforcing(self) -> bool:
        return self._enforcing

    def close(self) -> None:
        self.done.append("close")


HOST_GUEST = HostGuestRecord(
    target="lab:web1",
    pid=7,
    name="web1",
    accel="kvm",
    ram_size=1 << 29,
    ram_access="mapped",
    qmp=[],
    readable=True,
    problem="",
)


@dataclass(slots=True)
class Reply:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Stream:
    """A response that goes on: events as they come."""

    def __init__(self, client: Client, task: asyncio.Task[None], parts: asyncio.Queue[Any]) -> None:
        self._client = client
        self._task = task
        self._parts = parts
        self._left = b""
        self.gone = asyncio.Event()

    async def anext(self) -> tuple[str, Any, str]:
        """Name, data and id of the next event; comments are passed over."""
        return await asyncio.wait_for(self._next(), 20)

    async def _next(self) -> tuple[str, Any, str]:
        while True:
            while b"\n\n" not in self._left:
                message = await self._parts.get()
                self._left += message.get("body", b"")
                assert message.get("more_body", True) or b"\n\n" in self._left, "the stream ended"
            block, _, self._left = self._left.partition(b"\n\n")
            fields = dict(line.split(": ", 1) for line in block.decode().split("\n"))
            if "event" in fields:
                return fields["event"], json.loads(fields["data"]), fields.get("id", "")

    def next(self) -> tuple[str, Any, str]:
        return self._client.run(self.anext())

    def close(self) -> None:
        """The client goes."""
        self.gone.set()
        self._client.run(self._end())

    async def _end(self) -> None:
        await asyncio.wait((self._task,), timeout=20)
        assert self._task.done()


class Client:
    """Speaks ASGI to a server, in an event loop of its own."""

    def __init__(
        self,
        *,
        tokens: Tokens | None = TOKENS,
        hosts: frozenset[str] | None = frozenset({HOST}),
        read_only: bool = False,
        vm: FakeVm | None = None,
    ) -> None:
        self.runner = asyncio.Runner()
        self.vm = vm or FakeVm()
        self.hosted = self.run(self._hosted())
        self.app: Gate = make_app(self.hosted, Rules(tokens=tokens, hosts=hosts), read_only=read_only)
        self.token: str | None = OPERATOR if tokens is not None else None
        self.peer: tuple[str, int] | None = ("127.0.0.1", 50000)

    async def _hosted(self) -> Hosted:
        return Hosted(Pool(["web1"], lambda _: self.vm, lambda: [HOST_GUEST]))

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)

    def close(self) -> None:
        self.run(self.hosted.close())
        self.runner.close()

    def scope(self, method: str, path: str, headers: dict[str, str]) -> dict[str, Any]:
        where, _, query = path.partition("?")
        given = {"host": HOST} | headers
        if self.token is not None and "authorization" not in given and "cookie" not in given:
            given["authorization"] = f"Bearer {self.token}"
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": where,
            "raw_path": where.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [
                (name.lower().encode(), value.encode("latin-1"))
                for name, value in given.items()
                if value is not None
            ],
            "client": self.peer,
            "server": ("127.0.0.1", 8643),
        }

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        *,
        raw: list[dict[str, Any]] | None = None,
        more: Sequence[tuple[bytes, bytes]] = (),
    ) -> Reply:
        """One request; `body` is sent as JSON, `raw` as ASGI messages, `more` are headers besides."""
        given = dict(headers or {})
        data = b""
        if body is not None:
            data = body if isinstance(body, bytes) else msgspec.json.encode(body)
            given.setdefault("content-type", "application/json")
            given.setdefault("content-length", str(len(data)))
        scope = self.scope(method, path, given)
        scope["headers"] += list(more)
        return self.run(self._ask(scope, raw or [{"type": "http.request", "body": data, "more_body": False}]))

    async def _ask(self, scope: dict[str, Any], messages: list[dict[str, Any]]) -> Reply:
        coming = iter(messages)

        async def receive() -> dict[str, Any]:
            message = next(coming, None)
            if message is None:
                await asyncio.Event().wait()
            assert message is not None
            return message

        parts: list[dict[str, Any]] = []

        async def send(message: Any) -> None:
            parts.append(message)

        await asyncio.wait_for(self.app(scope, receive, send), 60)
        head = parts[0]
        body = b"".join(part.get("body", b"") for part in parts[1:])
        return Reply(head["status"], {k.decode(): v.decode("latin-1") for k, v in head["headers"]}, body)

    def get(self, path: str, **headers: str) -> Reply:
        return self.ask(
            "GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )

    def stream(self, path: str, headers: dict[str, str] | None = None) -> Stream:
        """A response that goes on; the head must be a good one."""
        return self.run(self._stream(self.scope("GET", path, headers or {})))

    async def _stream(self, scope: dict[str, Any]) -> Stream:
        parts: asyncio.Queue[Any] = asyncio.Queue()
        first = True

        async def receive() -> dict[str, Any]:
            nonlocal first
            if first:
                first = False
                return {"type": "http.request", "body": b"", "more_body": False}
            await made.gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            await parts.put(message)

        made = Stream(self, asyncio.create_task(self.app(scope, receive, send)), parts)
        head = await asyncio.wait_for(parts.get(), 20)
        assert head["status"] == 200, await parts.get()
        return made
