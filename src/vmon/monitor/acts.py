"""The half of a VirtualMachine that changes its guest: the probe, rules, signals.

Writes to the guest through vmon.probe and vmon.control, and only when one of these is called. The probe is put in by
what first needs it, and stays until it is removed. Threads take turns. Each method imports what it needs: who only
reads pays for nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

from vmon.core.errors import NoSuchProcess, NotSupported, UsageError

if TYPE_CHECKING:
    from threading import RLock

    from vmon.control.asks import Decide
    from vmon.core.events import Event
    from vmon.core.records.probe import ActRecord, CheckRecord, ProbeRecord
    from vmon.core.rules import Rule, RuleRecord
    from vmon.linux.kernel import Kernel
    from vmon.linux.snapshot import Snapshot
    from vmon.monitor.keeping import ProbeCheck
    from vmon.monitor.process import Process
    from vmon.monitor.stream import EventStream
    from vmon.probe.install import Ports, Probe, Removal
    from vmon.probe.rules import RuleTable
    from vmon.probe.sites import Way

RING_BYTES = 1 << 20
F = TypeVar("F", bound=Callable[..., Any])


def one_at_a_time(method: F) -> F:
    """A call of which one runs at a time, whatever thread it is made in: the mailbox takes one request."""

    @wraps(method)
    def call(self: Acts, *args: Any, **more: Any) -> Any:
        with self.acting:
            return method(self, *args, **more)

    return cast("F", call)


class Acts(ABC):
    """What can be done to an attached guest. Each call puts the probe in where it is not there."""

    _probe: Probe | None = None
    _check: ProbeCheck | None = None
    _stream: EventStream | None = None
    acting: RLock
    """Held by the thread that acts: what changes the guest is done one after another."""
    reboots: int
    """Times that another kernel was found under this target since it was attached."""
    rules_written: int = 0
    """How often this object has changed the rules in force."""

    @abstractmethod
    def _current(self, *, closely: bool = False) -> Kernel:
        """The running kernel; `closely` spares no cost to be sure."""

    @abstractmethod
    def _ports(self) -> Ports:
        """What writes to the guest; NotSupported for a target that can't be written to."""

    @abstractmethod
    def snapshot(self) -> Snapshot:
        """All processes as columns."""

    @abstractmethod
    def process(self, pid: int) -> Process:
        """One process."""

    # The probe.

    @one_at_a_time
    def install_probe(self, ring_bytes: int = RING_BYTES, *, prefer: Way = "call sites") -> ProbeRecord:
        """Put the probe in, or adopt the one that is there, as it is. The guest stands still for some milliseconds.

        `prefer` "entry nop" sees calls of modules and through pointers too, but then the guest's own tracers can't have
        these functions. NotSupported where this guest or target has no place for it.
        """
        from vmon.core.records.probe import ProbeRecord  # noqa: PLC0415
        from vmon.monitor.keeping import ProbeCheck  # noqa: PLC0415
        from vmon.probe.hooks import EVENTS  # noqa: PLC0415
        from vmon.probe.install import install  # noqa: PLC0415

        kernel, ports = self._current(), self._ports()
        self._probe, report = install(kernel, ports, ring_bytes, prefer)
        if self._check is None or self._check.kernel is not kernel:
            self._check = ProbeCheck(kernel, ports, self._probe)
        seen = self._probe.events()
        return ProbeRecord(
            installed=report.patches > 0,
            sites=report.patches,
            paused_ms=round(report.paused_ns / 1e6, 3),
            events=seen,
            not_seen={event.name: "`vmon doctor` tells why" for event in EVENTS if event.name not in seen},
        )

    @one_at_a_time
    def remove_probe(self) -> Removal:
        """Take the probe out: every changed byte of the kernel is as it was, rules are in force no more.

        `left` of the answer says why its page-table entry stays, where it does: somebody may still be in it.
        """
        from vmon.probe.install import Removal, find  # noqa: PLC0415

        probe = find(self._current(), self._ports())
        self._probe = self._check = self._stream = None
        return Removal(0, 0) if probe is None else probe.remove()

    @one_at_a_time
    def check_probe(self) -> CheckRecord:
        """Compare the probe with what vmon wrote; differences are told, not raised. Half a millisecond when there are
        none; the first look at a probe that was there before takes 30 to 60 ms.

        NotSupported where no probe is active, and none was that this object has seen; IdentifyError for a guest that
        reboots.
        """
        check = self._probe_check()
        record = check.check(self._stream.words() if self._stream else {})
        if not record.intact and self._current(closely=True) is not check.kernel:
            # A reset, noticed a moment late: the next boot has overwritten what lies in low memory.
            return self.check_probe()
        return record

    @one_at_a_time
    def repair_probe(self) -> None:
        """Write once more what differs. CodeDiffers when the guest writes there at the same time."""
        self._probe_check().repair(self._stream.words() if self._stream else {})

    def _probe_check(self) -> ProbeCheck:
        from vmon.monitor.keeping import ProbeCheck  # noqa: PLC0415

        kernel, ports = self._current(), self._ports()
        if self._check is None or self._check.kernel is not kernel:
            if self._check is not None:
                self._stream = None  # it ran in a kernel that is gone
            self._check = ProbeCheck(kernel, ports, self._active_probe())
        return self._check

    def _known_probe(self) -> Probe | None:
        """The probe that this object has used before, while it is whole and in the kernel that runs."""
        kernel = self._current()
        if self._probe is not None and not (self._probe.kernel is kernel and self._probe.active()):
            self._probe = None
        return self._probe

    def _need_probe(self, ring_bytes: int = RING_BYTES) -> Probe:
        probe = self._known_probe()
        if probe is None or probe.plan is None:
            # One that was only found may lack what its vmon died before.
            self.install_probe(ring_bytes)
            probe = self._probe
        assert probe is not None
        return probe

    def _active_probe(self) -> Probe:
        """NotSupported where none is active."""
        from vmon.probe.install import find  # noqa: PLC0415

        probe = self._known_probe()
        if probe is None:
            probe = find(self._current(), self._ports())
            if probe is None or not probe.find_sites():
                raise NotSupported("no probe is active in this guest")
            self._probe = probe
        return probe

    # Events.

    @one_at_a_time
    def event_stream(
        self,
        *events: str,
        decide: Decide | None = None,
        only: Callable[[Event], bool] = lambda _: True,
        ring_bytes: int = RING_BYTES,
    ) -> EventStream:
        """A stream of events, not yet started; of all kinds where none is named.

        `decide` answers the rules whose action is ask: "allow", "deny" or "kill", while the process waits. `only` is
        shown every event and says which are given (vmon.monitor.only). UsageError for a name that is none,
        NotSupported for one that can't be seen here.
        """
        self._refuse_two_readers()
        return self._new_stream(events, decide, only, ring_bytes)

    def _refuse_two_readers(self) -> None:
        """UsageError where this object takes the events already: a ring has one reader."""
        stream = self._stream
        if stream is not None and stream.running and stream.kernel is self._current():
            raise UsageError(
                "a stream of this machine runs already, and its ring has one reader",
                hint="stop it first; vm.events(), @vm.on and vm.hub share one",
            )

    def _new_stream(
        self,
        events: Sequence[str] = (),
        decide: Decide | None = None,
        only: Callable[[Event], bool] = lambda _: True,
        ring_bytes: int = RING_BYTES,
    ) -> EventStream:
        from vmon.monitor.stream import EventStream  # noqa: PLC0415

        self._stream = EventStream(self._need_probe(ring_bytes), events, self.snapshot, decide, only)
        return self._stream

    # Processes.

    @one_at_a_time
    def signal(self, pid: int, number: int, *, key: str = "", force: bool = False) -> ActRecord:
        """Send a signal to a process, by the guest's own kernel; 1 to 10 ms.

        With `key`, NoSuchProcess when the pid is another process's by now. UsageError for init and kernel threads,
        unless forced.
        """
        from vmon.control.signals import send_signal  # noqa: PLC0415

        record = self._the_process(pid, key).record()
        return send_signal(self._need_probe(), record, number, force=force)

    @one_at_a_time
    def quarantine(self, pid: int, *, key: str = "", force: bool = False) -> list[RuleRecord]:
        """From now on a process, and whatever it starts, may compute and read, and do nothing else: no exec, no change
        of a file, no connection, no tracing. Files that are open stay so. The rules that see to it, which come first.

        UsageError for init and kernel threads, unless forced, and where rules are only observed.
        """
        from vmon.control.quarantine import rules_for  # noqa: PLC0415
        from vmon.control.signals import refuse_protected  # noqa: PLC0415

        record = self._the_process(pid, key).record()
        refuse_protected(record, force=force)
        if self._table(self._need_probe()).in_force and not self.enforcing:
            raise UsageError("rules are only observed in this guest", hint="vmon rules TARGET --enforce")
        return self._put_rules(rules_for(record.key), first=True)

    @one_at_a_time
    def release(self, pid: int, *, key: str = "") -> int:
        """Let a process out of its quarantine; how many rules are gone with it. NoSuchProcess where it is in none."""
        from vmon.control.quarantine import holds  # noqa: PLC0415

        key = self._the_process(pid, key).key
        numbers = [record.number for record in self.rules() if holds(record.rule, key)]
        if not numbers:
            raise NoSuchProcess(
                f"process {pid} is not in quarantine", hint="`vmon rules TARGET` shows who is"
            )
        self.drop_rules(*numbers)
        return len(numbers)

    def _the_process(self, pid: int, key: str) -> Process:
        found = self.process(pid)
        if key and found.key != key:
            raise NoSuchProcess(f"process {pid} is {found.key} by now, not {key}")
        return found

    # Rules.

    @one_at_a_time
    def add_rules(self, rules: Sequence[Rule]) -> list[RuleRecord]:
        """Put rules behind those in force; the new ones, with their numbers. They stay in force when this program ends.

        The first rules of a guest are carried out, later ones as those before them (`enforce`). UsageError for a rule
        that makes no sense.
        """
        return self._put_rules(rules, first=False)

    @one_at_a_time
    def drop_rules(self, *numbers: int) -> None:
        """Take rules out of force; all of them where none is named. UsageError for a number that is none."""
        table = self._table(self._active_probe())
        table.drop(numbers or [record.number for record in table.read()])
        self.rules_written += 1

    @one_at_a_time
    def exchange_rules(self, numbers: Sequence[int], rules: Sequence[Rule]) -> list[RuleRecord]:
        """Rules in force give way to others at once: there is no moment without either. The new ones, in the place of
        the first that went.

        The guest goes on meanwhile; 1 to 20 ms. UsageError for a rule that makes no sense: nothing has changed then.
        """
        probe = self._need_probe()
        table = self._table(probe)
        if not table.in_force:
            probe.put("enforce", 1)
        added = table.exchange(numbers, rules)
        probe.switch(on=True)
        self.rules_written += 1
        return added

    @one_at_a_time
    def rules(self) -> list[RuleRecord]:
        """The rules in force, with how often each fitted; NotSupported where no probe is active."""
        return self._table(self._active_probe()).read()

    @one_at_a_time
    def enforce(self, *, on: bool) -> None:
        """Carry out what the rules in force say, or only tell what they would do; at once."""
        self._active_probe().put("enforce", int(on))
        self.rules_written += 1

    @property
    def enforcing(self) -> bool:
        """Whether the rules in force are carried out; NotSupported where no probe is active."""
        return bool(self._active_probe().get("config", "enforce"))

    @one_at_a_time
    def rules_digest(self) -> bytes:
        """Differs when other rules are in force, or are carried out that were not; cheaper than `rules`."""
        return self._probe_check().rules_digest()

    def cgroup_of(self, container: str) -> int:
        """Id of the topmost cgroup of a container, by the container's id or the beginning of it. UsageError."""
        found = self.snapshot().containers
        ids = {name for name in found.values() if name.startswith(container)} if container else set()
        if len(ids) != 1:
            what = "no container" if not ids else f"{len(ids)} containers"
            raise UsageError(
                f"{what} of this guest has an id that begins with {container!r}",
                hint="`vmon tree TARGET` shows the containers",
            )
        # A cgroup is made before those below it.
        return min(number for number, name in found.items() if name in ids)

    def _put_rules(self, rules: Sequence[Rule], *, first: bool) -> list[RuleRecord]:
        probe = self._need_probe()
        table = self._table(probe)
        if not table.in_force:
            probe.put("enforce", 1)
        added = table.put_first(rules) if first else table.add(rules)
        probe.switch(on=True)
        self.rules_written += 1
        return added

    def _table(self, probe: Probe) -> RuleTable:
        from vmon.probe.rules import RuleTable  # noqa: PLC0415

        return RuleTable(probe, family_in(self.snapshot))


def family_in(snapshot: Callable[[], Snapshot]) -> Callable[[tuple[int, int]], list[tuple[int, int]]]:
    """Tells who descends from a process, itself first, by looking at the guest each time."""

    def family(root: tuple[int, int]) -> list[tuple[int, int]]:
        from vmon.linux.task import rows_below  # noqa: PLC0415

        found = snapshot()
        keys = list(zip(found.pid, found.start_boottime_ns, strict=True))
        if root not in keys:
            return []
        return [keys[row] for row in rows_below(keys.index(root), found.parent_key, found.key)]

    return family
