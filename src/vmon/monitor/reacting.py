"""Rules by a call, events in a loop, and functions that are asked before something happens.

The short way to vmon.monitor.acts and vmon.monitor.hub. Changes the guest: each call puts the probe in where it is not
there. Rules stay in force when the program ends, except those of handlers, which end with it unless it is killed.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar, Unpack, cast

from vmon.core.errors import IdentifyError, NotSupported, UsageError, VmonError
from vmon.core.rules import Action, Fallback, Rule
from vmon.monitor.acts import Acts

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from vmon.core.events import Event
    from vmon.core.rules import RuleRecord
    from vmon.monitor.answering import Answerer, Handler
    from vmon.monitor.hub import Hub
    from vmon.monitor.machine import VirtualMachine
    from vmon.monitor.narrowing import Narrow, RulesInForce
    from vmon.monitor.stream import EventStream
    from vmon.monitor.subscription import Only, Subscription
    from vmon.probe.install import Removal

H = TypeVar("H", bound="Handler")


@dataclass(frozen=True, slots=True)
class Asked:
    """A handler that is asked, and the rules by which it is."""

    handler: Handler
    answerer: Answerer
    rules: RulesInForce


class Reacting(Acts):
    """Mixed into VirtualMachine."""

    _hub: Hub | None = None
    _asked: tuple[Asked, ...] = ()

    # Rules.

    def deny(
        self,
        *events: str,
        errno: str | int = "EPERM",
        kill: bool = False,
        observe: bool = False,
        force: bool = False,
        **narrow: Unpack[Narrow],
    ) -> RulesInForce:
        """Refuse these events before they happen, from now on: `vm.deny("file.open", path="/etc/shadow")`.

        The refused call gets `errno`; with `kill` its process ends too; with `observe` it is only told what would be
        refused. The keywords narrow it (vmon.monitor.narrowing): path (a star makes it a pattern, a list several
        rules), path_prefix, path_suffix, write, flags, port, address, exe, name, uid, pid, tree, container, cgroup_id,
        unless_exe, unless_name, unless_uid, unless_tree.

        The rules are put behind those in force, the first that fits decides, and they stay in force when this program
        ends, until `drop()` of what is returned, the end of a `with` over it, or `vmon rules --drop`. UsageError for
        what makes no sense or would refuse everything to init (unless `force`), NotSupported for a dump.
        """
        how = _how("kill" if kill else "deny", errno, observe=observe)
        return self._put(events, how, narrow, force=force)

    def allow(self, *events: str, **narrow: Unpack[Narrow]) -> RulesInForce:
        """Let these events pass whatever later rules say. Keywords and answer as those of `deny`."""
        return self._put(events, _how("allow"), narrow)

    def log(self, *events: str, **narrow: Unpack[Narrow]) -> RulesInForce:
        """Have these events recorded, also where nobody subscribed to their kind. Keywords and answer as of `deny`."""
        return self._put(events, _how("log"), narrow)

    def ask(
        self,
        *events: str,
        timeout_ms: int = 1000,
        fallback: Fallback = "deny",
        errno: str | int = "EPERM",
        force: bool = False,
        **narrow: Unpack[Narrow],
    ) -> RulesInForce:
        """Have these events wait for an answer, which `vm.hub.ask_by` or another vmon gives: the rule of `on` alone.

        `fallback` decides when none comes within `timeout_ms`, and at once where nobody is there to answer.
        """
        how = _how("ask", errno, timeout_ms=timeout_ms, fallback=fallback)
        return self._put(events, how, narrow, force=force)

    def _put(self, events: Sequence[str], how: Rule, narrow: Narrow, *, force: bool = False) -> RulesInForce:
        from vmon.monitor.narrowing import RulesInForce, make_rules  # noqa: PLC0415 - reading needs none of it

        self._require_seen(events)
        rules = make_rules(self, events, how, narrow, force=force)
        boot = self.reboots
        return RulesInForce(self.add_rules(rules), lambda records: self._drop_those(records, boot))

    def _drop_those(self, records: Sequence[RuleRecord], boot: int) -> None:
        """Of these rules those that are still in force, or again after a reboot, which gives them other numbers."""
        with contextlib.suppress(NotSupported, IdentifyError), self.acting:
            there = self.rules()
            if self.reboots == boot:
                numbers = {record.number for record in records}
                own = [record.number for record in there if record.number in numbers]
            else:
                rules = [record.rule for record in records]
                own = [record.number for record in there if record.rule in rules]
            if own:
                self.drop_rules(*own)

    # Events.

    @property
    def hub(self) -> Hub:
        """The one reader of this machine's events, for who wants more than `events` and `on` give: many readers,
        answers for all that asks, notices of reboots and tampering. It does nothing until it is subscribed to.
        """
        with self.acting:
            if self._hub is None:
                from vmon.monitor.hub import Hub  # noqa: PLC0415

                self._hub = Hub(cast("VirtualMachine", self), self._stream_of_hub, self._require_seen)
            return self._hub

    def events(self, *events: str, timeout_s: float | None = None, only: Only | None = None) -> Subscription:
        """Events from now on, as they happen: `for event in vm.events("process.exec", "file.open")`.

        Of all kinds where none is named; until `timeout_s` has passed since the loop began, for ever without one.
        `only` is shown every event and says which are given (vmon.monitor.only). Any number of loops and handlers of
        this object share one reader. Who is 65,536 events behind loses the newest, counted in `lost`. The probe stays
        when the loop ends, idle. UsageError for a name that is none, NotSupported for what can't be seen here,
        TargetBusy where another program reads the events; the loop raises GuestRebooted when the guest reboots.
        """
        return self.hub.subscribe(events, only, timeout_s=timeout_s)

    async def aevents(
        self, *events: str, timeout_s: float | None = None, only: Only | None = None
    ) -> AsyncIterator[Event]:
        """The same for `async for`; the event loop goes on with other work while nothing happens."""
        import asyncio  # noqa: PLC0415

        subscription = await asyncio.to_thread(self.hub.subscribe, events, only, timeout_s=timeout_s)
        async for event in subscription:
            yield event

    def on(
        self,
        *events: str,
        timeout_ms: int = 1000,
        fallback: Fallback = "deny",
        errno: str | int = "EPERM",
        workers: int = 1,
        force: bool = False,
        **narrow: Unpack[Narrow],
    ) -> Callable[[H], H]:
        """Have the decorated function asked before these events happen; it returns vmon.ALLOW, DENY or KILL.

            @vm.on("net.connect", port=25)
            def mail(event):
                return vmon.ALLOW if event.exe == "/usr/sbin/exim4" else vmon.DENY

        The process of the guest waits meanwhile, `timeout_ms` at most; then, and where the function fails or says
        something else (which goes to the log `vmon`), `fallback` decides. `errno` and the keywords are those of `deny`.
        The function runs in `workers` threads of its own; an `async def` in the event loop that runs where it is
        decorated, else in one of its own. The shortest way to an answer is `event_stream(decide=...)`, which
        answers in the thread that reads.

        The rules end with `off`, with `close`, or at the end of `with`. A program that is killed leaves them: then
        `fallback` decides at once.
        """
        how = _how("ask", errno, timeout_ms=timeout_ms, fallback=fallback)

        def register(handler: H) -> H:
            found: list[RulesInForce] = []

            def put_in() -> RulesInForce:
                found.append(self._put(events, how, narrow, force=force))
                return found[0]

            loop = _running_loop()
            answerer = self.hub.ask_by(handler, put_in, workers=workers, loop=loop)
            with self.acting:
                self._asked += (Asked(handler, answerer, found[0]),)
            return handler

        return register

    def off(self, handler: Callable[..., object]) -> None:
        """Ask a function no more, and drop its rules. UsageError where it is not asked."""
        with self.acting:
            those = [asked for asked in self._asked if asked.handler == handler]
            self._asked = tuple(asked for asked in self._asked if asked.handler != handler)
        if not those:
            raise UsageError(f"{getattr(handler, '__name__', handler)!r} is not asked about anything")
        for asked in those:
            self._stop_asking(asked)

    def _stop_asking(self, asked: Asked) -> None:
        # Rules first: nobody is to wait for who has gone.
        try:
            asked.rules.drop()
        finally:
            self.hub.stop_asking(asked.answerer)

    def run(self, timeout_s: float | None = None) -> None:
        """Let the handlers be asked until `timeout_s` has passed, or until Ctrl-C. Raises what ended the watching."""
        with contextlib.suppress(KeyboardInterrupt):
            self.hub.wait(timeout_s)

    def remove_probe(self) -> Removal:
        """Take the probe out: every changed byte of the kernel is as it was, rules are in force no more.

        Loops over events end and handlers are asked no more. `left` of the answer says why its page-table entry stays,
        where it does: somebody may still be in it.
        """
        self._asked = ()
        if self._hub is not None:
            self._hub.close()
        return super().remove_probe()

    def let_go(self) -> None:
        """End all that this object does beside answering calls: handlers with their rules, loops over events."""
        asked, self._asked = self._asked, ()
        for one in asked:
            with contextlib.suppress(VmonError, OSError, ValueError):
                self._stop_asking(one)
        if self._hub is not None:
            self._hub.close()

    def _stream_of_hub(self) -> EventStream:
        self._refuse_two_readers()
        return self._new_stream()

    def _require_seen(self, events: Sequence[str]) -> None:
        from vmon.monitor.stream import require_seen  # noqa: PLC0415

        require_seen(self._need_probe(), events)


def _how(
    action: Action,
    errno: str | int = "EPERM",
    *,
    observe: bool = False,
    timeout_ms: int = 1000,
    fallback: Fallback = "deny",
) -> Rule:
    from vmon.monitor.narrowing import number_of  # noqa: PLC0415

    return Rule(
        events=(),
        action=action,
        errno=number_of(errno),
        observe=observe,
        timeout_ms=timeout_ms,
        fallback=fallback,
    )


def _running_loop() -> AbstractEventLoop | None:
    """The caller's, in which an async handler runs."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return None
    try:
        return cast("AbstractEventLoop", asyncio.get_running_loop())
    except RuntimeError:
        return None
