"""The guests of a server: attached when somebody first asks for one, and let go of at the end.

Each has one thread, on which all of its calls run, one after the other: they block, and a guest that is slow to read
holds up nobody who asks about another. A guest that is gone is forgotten, and looked for anew when it is asked for.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from vmon.api.records import VmRecord
from vmon.core.errors import TargetGone, TargetNotFound, VmonError
from vmon.core.records.guest import HostGuestRecord
from vmon.core.target import parse_target
from vmon.core.text import printable
from vmon.monitor.attach import attach
from vmon.monitor.guests import find_guests
from vmon.monitor.machine import VirtualMachine

PLAIN = re.compile(r"[A-Za-z0-9:_-][A-Za-z0-9:._-]{0,80}")
LOOK_AGAIN_S = 2.0
LOG = logging.getLogger("vmon.api")
T = TypeVar("T")


def name_of(target: str) -> str:
    """What a target is called in addresses of the server: itself, where a path may hold it."""
    if PLAIN.fullmatch(target):
        return target
    kind, _, value = target.partition(":")
    last = re.sub(r"[^A-Za-z0-9._-]", "-", value.rpartition("/")[2])[:40]
    return f"{kind}:{last}-{hashlib.sha256(target.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"


class Served:
    """One guest of the server."""

    def __init__(self, target: str, attach_to: Callable[[str], VirtualMachine] = attach) -> None:
        self.target = target
        self.name = name_of(target)
        self.problem = ""
        """Why the last try to attach failed."""
        self.release: str | None = None
        self.hostname: str | None = None
        self.put_in = False
        """Whether this server put the probe in that is there."""
        self.watched = False
        """Whether somebody follows its events."""
        self.policy = ""
        """The text of the policy that was put in force here last."""
        self.policy_rules: list[int] = []
        """Numbers of its rules."""
        self._attach_to = attach_to
        self._vm: VirtualMachine | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"vmon {self.name}")

    @property
    def attached(self) -> bool:
        """Whether the guest is attached now."""
        return self._vm is not None

    async def call(self, what: Callable[[VirtualMachine], T]) -> T:
        """What a function says of the guest, run on the guest's thread; attaches first where that is due."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._on_thread, what)

    def _on_thread(self, what: Callable[[VirtualMachine], T]) -> T:
        vm = self._vm
        if vm is None:
            try:
                vm = self._vm = self._attach_to(self.target)
                found = vm.guest
            except VmonError as error:
                self.problem = error.message
                raise
            self.problem, self.release, self.hostname = "", found.release, found.hostname
        try:
            return what(vm)
        except VmonError as error:
            if isinstance(error, TargetGone):
                self.problem = error.message
                self._let_go()
            _forget_frames(error)
            raise

    def _let_go(self) -> None:
        vm, self._vm = self._vm, None
        if vm is not None:
            vm.close()

    def now(self, what: Callable[[VirtualMachine], T]) -> T:
        """The same for who has no event loop, and waits."""
        return self._thread.submit(self._on_thread, what).result()

    async def close(self, last: Callable[[VirtualMachine], object] = lambda _: None) -> None:
        """Let go of the guest, whatever state it is in; `last` is called with it before, where it is attached."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close, last)
        self._thread.shutdown(wait=False)

    def _close(self, last: Callable[[VirtualMachine], object]) -> None:
        try:
            if self._vm is not None:
                last(self._vm)
        except VmonError as error:
            LOG.warning("%s: %s", printable(self.name), printable(error.message))
        finally:
            self._let_go()


def _forget_frames(error: BaseException | None) -> None:
    """What they hold may belong to this thread (a compiler of YARA rules does), and is not to end on another."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__


class Pool:
    """All guests of a server: those that were named, or every readable one of the host."""

    def __init__(
        self,
        targets: Sequence[str] = (),
        attach_to: Callable[[str], VirtualMachine] = attach,
        find: Callable[[], list[HostGuestRecord]] = find_guests,
    ) -> None:
        self._attach_to = attach_to
        self._find = find
        named = [str(parse_target(target)) for target in targets]
        self._named = {target: Served(target, attach_to) for target in named}
        self._found: dict[str, Served] = {}
        self._host: list[HostGuestRecord] = []
        self._looked_at = -LOOK_AGAIN_S
        self._looking = asyncio.Lock()

    async def records(self) -> list[VmRecord]:
        """Every guest there is; those of the host are looked for every two seconds at most, and only when asked."""
        await self._look()
        host = {found.target: found for found in self._host}
        pids = {f"pid:{found.pid}": found for found in self._host}
        if self._named:
            return [self._record(served, host.get(t) or pids.get(t)) for t, served in self._named.items()]
        return [self._record(self._served(found.target), found) for found in self._host]

    async def get(self, name: str) -> Served:
        """The guest of a name. TargetNotFound."""
        for served in self.known:
            if served.name == name:
                return served
        if not self._named:
            await self._look()
            for found in self._host:
                if name_of(found.target) == name:
                    return self._served(found.target)
        raise TargetNotFound("this server has no guest of that name", hint="GET /api/v1/guests lists them")

    def _served(self, target: str) -> Served:
        if target not in self._found:
            self._found[target] = Served(target, self._attach_to)
        return self._found[target]

    async def _look(self) -> None:
        async with self._looking:
            if time.monotonic() - self._looked_at < LOOK_AGAIN_S:
                return
            self._host = await asyncio.get_running_loop().run_in_executor(None, self._find)
            self._looked_at = time.monotonic()
            there = {found.target for found in self._host}
            for target in [target for target in self._found if target not in there]:
                await self._found.pop(target).close()

    def _record(self, served: Served, host: HostGuestRecord | None) -> VmRecord:
        dump = served.target.startswith("dump:")
        return VmRecord(
            vm=served.name,
            target=served.target,
            name=host.name if host else "",
            pid=host.pid if host else None,
            accel=host.accel if host else "",
            ram_size=host.ram_size if host else None,
            readable=host.readable if host else dump or served.attached,
            problem=served.problem or (host.problem if host else ""),
            attached=served.attached,
            release=served.release,
            hostname=served.hostname,
        )

    @property
    def known(self) -> list[Served]:
        """Those that were named, or found so far."""
        return list((self._named or self._found).values())

    async def close(self, last: Callable[[Served, VirtualMachine], object] = lambda *_: None) -> None:
        """Let go of every guest; `last` is called with each that is attached."""
        known = self.known
        self._named, self._found = {}, {}
        await asyncio.gather(*(served.close(partial(last, served)) for served in known))
