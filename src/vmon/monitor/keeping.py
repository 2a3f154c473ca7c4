"""A probe is compared with what vmon wrote, and put right; a guest that reboots is told of, and gets its probe again.

Reads a few pages of the guest at each check; writes only where it is asked to repair or to persist. The guest can
change its probe at any moment: that is noticed at the next check, and what is changed back before that is not. What
another vmon does (other rules, taking the probe out) can't always be told from what the guest does: then both are
named. From a reboot to the next installation nothing is seen and nothing is refused, and this is said.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from vmon.core.errors import (
    GuestDataError,
    GuestRebooted,
    IdentifyError,
    NoSuchProcess,
    NotSupported,
    PauseLost,
    TargetBusy,
)
from vmon.core.events import Event, EventCounts
from vmon.core.records.probe import CheckRecord, DifferenceRecord, NoticeRecord
from vmon.core.rules import Rule, RuleRecord
from vmon.linux.kernel import Kernel
from vmon.probe.install import Ports, Probe
from vmon.probe.place import SLOT_GVA
from vmon.probe.tamper import plan_of, seal

if TYPE_CHECKING:
    from vmon.monitor.machine import VirtualMachine
    from vmon.monitor.stream import EventStream

CHECK_S = 0.5
"""A change is noticed within a second."""
LOOK_S = 0.1
"""So often it is asked whether the same kernel runs still."""
BOOT_POLL_S = 0.1
TOLD = 8
"""Of so many differences it is told what they are; a guest can make thousands."""
OF_ONE_BOOT = ("key", "tree", "unless_tree", "cgroup_id")
"""Conditions of a rule that speak of something that a reboot ends."""


class ProbeCheck:
    """What must be true of the probe of one boot."""

    def __init__(self, kernel: Kernel, ports: Ports, probe: Probe) -> None:
        """Of a probe that was found, not installed, what must be true is worked out: 30 to 60 ms."""
        self.kernel = kernel
        self._ports = ports
        self._probe = probe
        plan = probe.plan or plan_of(kernel, probe.abi, probe.window)
        self._seal = seal(kernel, probe.abi, probe.window, plan)

    def check(self, words: dict[str, int]) -> CheckRecord:
        """`words` are those of the configuration that a stream of ours has set."""
        begin = time.perf_counter_ns()
        found = self._seal.check()
        records = [difference.record() for difference in found]
        if self._seal.undone(found):
            said = "the probe was taken out, by another vmon or by the guest: nothing is seen or refused"
            records = [_difference("probe", 0, "", "", said)]
        else:
            records += self._words_that_differ(words)
        took_ms = (time.perf_counter_ns() - begin) / 1e6
        return CheckRecord(intact=not records, differences=records, took_ms=round(took_ms, 3))

    def _words_that_differ(self, words: dict[str, int]) -> Iterator[DifferenceRecord]:
        probe = self._probe
        at = probe.abi.sizes["CONFIG_AT"]
        try:
            found = {name: probe.get("config", name) for name in words}
            gates, due = probe.open_gates(), probe.gates()
        except GuestDataError:
            return  # its pages are gone, and the seal tells which
        for name, value in words.items():
            if found[name] != value:
                said = f"{name} is {found[name]:#x}, not {value:#x}: events may be missing"
                where = at + probe.abi.offset("config", name)
                yield _difference("recording", where, hex(value), hex(found[name]), said)
        if words and found == words and gates != due:
            said = "other events pass unseen than the configuration says"
            yield _difference(
                "recording", at + probe.abi.offset("config", "gates"), due.hex(), gates.hex(), said
            )

    def repair(self, words: dict[str, int]) -> None:
        """Write once more what differs. CodeDiffers when the guest writes there at the same time."""
        self._seal.repair(self._seal.check(), self._ports.write, self._ports.code)
        for name, value in words.items():
            self._probe.put(name, value)
        self._probe.settle()

    def rules_digest(self) -> bytes:
        """Differs when other rules are in force, or rules are carried out that were not."""
        probe = self._probe
        at = probe.get("config", "table_at")
        if not at:
            return b""
        table = probe.window.read(at, probe.abi.size("table"))
        enforced = probe.get("config", "enforce")
        return hashlib.blake2b(f"{at} {enforced}".encode() + table, digest_size=16).digest()


def _difference(what: str, offset: int, expected: str, found: str, said: str) -> DifferenceRecord:
    return DifferenceRecord(what=what, address=SLOT_GVA + offset, expected=expected, found=found, said=said)


class Keeper:
    """Events of a guest, with an eye on its probe: `tell` hears of what happens to the watching itself."""

    def __init__(
        self,
        vm: VirtualMachine,
        stream_of: Callable[[], EventStream],
        tell: Callable[[NoticeRecord], None],
        *,
        ring_bytes: int = 1 << 20,
        persist: bool = False,
        repair: bool = False,
        put_in: Callable[[], None] | None = None,
    ) -> None:
        """`stream_of` makes a stream, once and again after each reboot; the probe is in the guest already.

        `put_in` puts rules in as soon as somebody listens, so that nothing that they decide goes unheard.

        With `persist` a guest that rebooted gets its probe and its rules again, with `repair` a probe that was
        tampered with is put right.
        """
        self._vm = vm
        self._stream_of = stream_of
        self._tell = tell
        self._ring_bytes = ring_bytes
        self._persist = persist
        self._repair = repair
        self._boot = vm.reboots
        self._known: list[DifferenceRecord] = []
        self._rules: Sequence[RuleRecord] = ()
        self._enforce = False
        self._digest = b""
        self._check_at = 0.0
        self._written = 0
        self.ending = False
        """Set by another thread: `batches` ends within LOOK_S."""
        self.tampered = False
        """Whether the probe was ever found to be other than vmon wrote it."""
        self.stream: EventStream | None = None
        """The stream that runs."""
        self._start(put_in)

    def _start(self, put_in: Callable[[], None] | None = None) -> None:
        self.stream = self._stream_of()
        self.stream.start()
        if put_in is not None:
            put_in()
        self._remember_rules()
        self._remember_digest()

    def follow(self, timeout_s: float | None = None) -> Iterator[Event]:
        """Events until `timeout_s` has passed; for ever without one. GuestRebooted unless it persists."""
        for batch in self.batches(timeout_s):
            yield from batch

    def batches(self, timeout_s: float | None = None) -> Iterator[list[Event]]:
        """The same, as many at once as there were; an empty batch at least every LOOK_S."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not self.ending:
            yield []
            left = LOOK_S if deadline is None else min(LOOK_S, deadline - time.monotonic())
            if left <= 0:
                return
            if not self._same_kernel():
                self._come_back(deadline)
            if self.stream is None:
                return
            try:
                yield from self.stream.batches(left)
            except GuestDataError:
                # Of a guest that reboots, or that breaks its probe: the next look tells which.
                time.sleep(left)
                self._check_at = 0.0
            if self._vm.rules_written != self._written:
                # Rules that this program has just written are to outlive a reboot too.
                self._check_at = 0.0
            if time.monotonic() >= self._check_at and self._same_kernel():
                self._check_at = time.monotonic() + CHECK_S
                # What changes while it is looked at is looked at again.
                with contextlib.suppress(GuestDataError, IdentifyError, NotSupported, PauseLost, TargetBusy):
                    self._look_if_nobody_acts()

    def stop(self) -> list[EventCounts]:
        """End the stream; its totals, none where they are gone with a kernel or with the probe's pages."""
        try:
            if self.stream is not None:
                self.stream.stop()
        except GuestDataError:
            return []
        return self.counts()

    def counts(self) -> list[EventCounts]:
        """Totals of each kind since the guest booted; none where they are gone."""
        try:
            return self.stream.counts() if self.stream is not None else []
        except GuestDataError:
            return []

    def _same_kernel(self) -> bool:
        try:
            return self._vm.kernel is not None and self._vm.reboots == self._boot
        except IdentifyError:
            return False

    def _look_if_nobody_acts(self) -> None:
        # Another thread that acts is half done, and may wait for the guest: events are not to wait for it.
        if self._vm.acting.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._vm.acting.release()

    def _look(self) -> None:
        record = self._vm.check_probe()
        if record.differences != self._known:
            self._known = record.differences
            if record.intact:
                self._notice("vmon.intact", "the probe is as it was written again")
            else:
                self.tampered = True
                told, more = record.differences[:TOLD], len(record.differences) - TOLD
                said = "; ".join(found.said for found in told) + (f"; and {more} more" if more > 0 else "")
                self._notice("vmon.tampered", said, told)
        if not record.intact and self._repair:
            self._put_right()
        elif record.intact and (digest := self._vm.rules_digest()) != self._digest:
            self._remember_rules()
            if self._vm.rules_written != self._written:
                # By this program, in another thread.
                self._remember_digest()
                return
            self._digest = digest
            count = len(self._rules)
            self._notice("vmon.rules", f"other rules are in force, by another vmon or by the guest: {count}")
        elif record.intact:
            self._written = self._vm.rules_written

    def _put_right(self) -> None:
        taken_out = any(found.what == "probe" for found in self._known)
        self._vm.repair_probe()
        if taken_out and self._rules:
            self._put_rules_in(self._rules)
        # A breakpoint is left to the guest, so there may be differences still; they have been told.
        record = self._vm.check_probe()
        self._known = record.differences
        if record.intact:
            self._notice("vmon.repaired", "the probe was written once more")

    def _remember_rules(self) -> None:
        self._rules, self._enforce = self._vm.rules(), self._vm.enforcing

    def _remember_digest(self) -> None:
        self._written, self._digest = self._vm.rules_written, self._vm.rules_digest()

    def _put_rules_in(self, records: Sequence[RuleRecord]) -> int:
        rules = [record.rule for record in records]
        if rules:
            self._vm.add_rules(rules)
            self._vm.enforce(on=self._enforce)
        self._remember_digest()
        return len(rules)

    def _come_back(self, deadline: float | None) -> None:
        """Wait for the new kernel and put into it what was in the old one."""
        # Its words would go into memory that is somebody else's by now.
        self.stream = None
        self._known = []
        self._notice("vmon.rebooted", "the probe and its rules are gone with the old kernel")
        if not self._persist:
            raise GuestRebooted(
                "the guest rebooted: the probe and its rules are gone with the old kernel",
                hint="vmon watch --persist puts them in again",
            )
        lasting = [record for record in self._rules if outlives(record.rule)]
        left_out = len(self._rules) - len(lasting)
        while not self.ending and (deadline is None or time.monotonic() < deadline):
            try:
                if self._vm.process(1).exe is not None:  # the kernel is done with its own start
                    installed = self._vm.install_probe(self._ring_bytes)
                    count = self._put_rules_in(lasting)
                    self._boot = self._vm.reboots
                    self._start()
                    break
            except (IdentifyError, GuestDataError, NoSuchProcess, PauseLost):
                pass  # it still boots, or does so once more
            time.sleep(BOOT_POLL_S)
        else:
            return
        said = f"probe: {installed.sites} instructions changed in {installed.paused_ms:.1f} ms"
        if count:
            said += f", {count} rules in force again"
        if left_out:
            said += f", {left_out} not: they speak of a process or a cgroup of the old kernel"
        self._notice("vmon.installed", said)

    def _notice(self, event: str, said: str, differences: Sequence[DifferenceRecord] = ()) -> None:
        self._tell(NoticeRecord(event=event, said=said, differences=list(differences)))


def outlives(rule: Rule) -> bool:
    """Whether a rule makes sense after a reboot."""
    return all(getattr(rule, name) is None for name in OF_ONE_BOOT)
