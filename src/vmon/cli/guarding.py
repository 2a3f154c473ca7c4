"""What `vmon guard` does between its beginning and its end: read the policy, show what it finds, read it again.

Reads the policy's file, and looks twice a second whether it changed. A file that makes no sense leaves the policy that
is in force.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import click

from vmon.cli.live import Shown, shown, watch
from vmon.cli.output import cell
from vmon.cli.outputs import opened
from vmon.core.detection import Detection
from vmon.core.errors import PolicyError, UsageError, VmonError
from vmon.core.events import Answer, Event
from vmon.core.records.probe import NoticeRecord
from vmon.monitor.acts import RING_BYTES
from vmon.monitor.enforcing import Enforcer
from vmon.monitor.machine import VirtualMachine
from vmon.monitor.policies import check_policy
from vmon.policy import ready
from vmon.policy.file import Policy, for_target, observing, read_policy
from vmon.policy.plan import Plan, plan_of

LOOK_S = 0.5
AGAIN = ("vmon.installed", "vmon.repaired")
"""Notices after which the rules have other numbers."""


def read_file_or_set(name: str) -> Policy:
    """The policy of a file, or the ready set of that name. UsageError."""
    path = Path(name)
    if not path.exists() and name in ready.names():
        return ready.read(name)
    try:
        return read_policy(path.read_text(encoding="utf-8"), name)
    except OSError as error:
        sets = ", ".join(ready.names())
        raise UsageError(f"{name}: {error.strerror}", hint=f"a file, or a ready set: {sets}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{name}: this is no text: byte {error.start} is not UTF-8") from error


class Guarding:
    """One run of a policy on one target."""

    def __init__(self, policy: str, target: str, *, enforce: bool | None, force: bool) -> None:
        """Reads the policy and checks it. PolicyError, UsageError."""
        self._name = policy
        self._target = target
        self._enforce = enforce
        self._force = force
        self._mark = self._file_mark()
        self._plan = self._read()
        self._look_at = 0.0
        self._hang_up = threading.Event()

    def _file_mark(self) -> tuple[int, ...]:
        try:
            found = Path(self._name).stat()
        except OSError:
            return ()
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> Plan:
        policy = for_target(read_file_or_set(self._name), self._target)
        if not policy.rules:
            raise UsageError(
                f"{self._name}: no rule in it is about {self._target}", hint="see scope: and vm:"
            )
        check_policy(policy, force=self._force)
        if self._enforce is False:
            policy = observing(policy)
        return plan_of(policy, "enforce" if self._enforce else None)

    def on(self, vm: VirtualMachine, answer: Callable[[Event], Answer] | None) -> Enforcer:
        """The policy on a guest; not in force yet."""
        self._vm = vm
        self._enforcer = Enforcer(vm, self._plan, self._tell, answer)
        return self._enforcer

    def run(self, seconds: float | None, output: str, *, persist: bool, repair: bool) -> bool:
        """Show what is found until it ends; whether the probe was tampered with."""
        from vmon.monitor.keeping import Keeper  # noqa: PLC0415 - help needs no probe

        vm, enforcer = self._vm, self._enforcer
        outputs = opened()
        self._hear_hang_up()

        def keeper_of() -> Keeper:
            return Keeper(
                vm,
                lambda: enforcer.listen(vm.event_stream()),
                self._notice,
                ring_bytes=RING_BYTES,
                persist=persist,
                repair=repair,
                put_in=self._put_in,
            )

        def see(batch: list[Event]) -> None:
            for event in batch:
                enforcer.see(event)
            enforcer.rest()
            self._look()

        def ending() -> None:
            enforcer.rest(end=True)
            for title, count in enforcer.suppressed():
                click.echo(f"not told: {count:,} more of {title!r}, for its rate", err=True)

        with shown(output, outputs) as self._out:
            return watch(keeper_of, outputs, seconds, see, ending)

    def _put_in(self) -> None:
        count = self._enforcer.put_in()
        click.echo(self._in_force(self._plan, count), err=True)
        for note in self._plan.notes:
            click.echo(f"note: {cell(note)}", err=True)

    def _in_force(self, plan: Plan, count: int) -> str:
        rules = len(plan.policy.rules)
        enforced = [rule for rule in plan.policy.rules if not rule.observed(plan.mode)]
        on = self._vm.enforcing if count else True
        how = "" if enforced and on else ", observing"
        return f"{rules} rules are in force{how}, as {count} in the guest"

    def _tell(self, detection: Detection) -> None:
        self._out.detection(detection)

    def _notice(self, notice: NoticeRecord) -> None:
        self._out.notice(notice)
        if notice.event in AGAIN:
            self._enforcer.found_again()

    # Reading it again.

    def _hear_hang_up(self) -> None:
        def hang_up(number: int, frame: FrameType | None) -> None:
            self._hang_up.set()

        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGHUP, hang_up)

    def _look(self) -> None:
        now = time.monotonic()
        if now < self._look_at and not self._hang_up.is_set():
            return
        self._look_at = now + LOOK_S
        mark = self._file_mark()
        if mark == self._mark and not self._hang_up.is_set():
            return
        self._mark = mark
        self._hang_up.clear()
        self._reload(self._out)

    def _reload(self, out: Shown) -> None:
        try:
            plan = self._read()
            count = self._enforcer.reload(plan)
        except PolicyError as error:
            for problem in error.problems:
                out.notice(
                    NoticeRecord(event="vmon.policy", said=f"kept as it was: {problem}", differences=[])
                )
        except VmonError as error:
            said = f"kept as it was: {error.message}"
            out.notice(NoticeRecord(event="vmon.policy", said=said, differences=[]))
        else:
            self._plan = plan
            said = f"read again: {self._in_force(plan, count)}"
            out.notice(NoticeRecord(event="vmon.policy", said=said, differences=[]))
