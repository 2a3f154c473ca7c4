"""Sigma rules judged on a guest's events as they happen.

Reads the guest by the stream of events, and /etc/passwd out of its page cache where a rule asks for a user's name. Each
event is judged in its turn, with what was known of its parent at that moment. What the guest makes up it is judged by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from vmon.core.detection import Detection, Severity
from vmon.core.errors import GuestDataError, NoSuchFile, NoSuchProcess, NotSupported, UsageError
from vmon.core.events import Event
from vmon.core.text import guest_text
from vmon.monitor.sigma.fields import asked_for, users_of
from vmon.monitor.sigma.reading import SigmaRules, read_sigma
from vmon.monitor.sigma.sieve import Sieve
from vmon.policy.condition import fields_of
from vmon.policy.rule import HostRule

if TYPE_CHECKING:
    from vmon.monitor.known import Known
    from vmon.monitor.machine import VirtualMachine
    from vmon.monitor.stream import EventStream

MAX_PASSWD_BYTES = 1 << 20
RING_BYTES = 1 << 20


class Detector:
    """To be shown every event of a stream, in order: says which ones a rule fits, and keeps which rules."""

    def __init__(
        self,
        sieve: Sieve,
        users: Mapping[int, str] | None = None,
        only: Callable[[Event], bool] = lambda _: True,
    ) -> None:
        """`users` are names by uid. `only` says whose events are judged at all; it is shown every event too."""
        self._sieve = sieve
        self._users = users or {}
        self._only = only
        self.known: Known | None = None
        """What the stream knows of its processes; nothing is judged without."""
        self._events = sieve.events
        self._fitting: dict[int, list[HostRule]] = {}

    def __call__(self, event: Event) -> bool:
        """Whether a rule fits it. Some microseconds, and more for each rule that may fit."""
        wanted = self._only(event)
        fitting = []
        if wanted and event.event in self._events and self.known is not None:
            fitting = self._sieve.fitting(event.event, asked_for(event, self.known, self._users))
        if fitting:
            self._fitting[event.sequence] = fitting
        return bool(fitting)

    def detections(self, event: Event) -> list[Detection]:
        """What it was said to fit, once: one for each rule, in the order of the rules."""
        return [
            Detection(rule=rule.info, event=event, verb="log")
            for rule in self._fitting.pop(event.sequence, ())
        ]


class SigmaWatch:
    """Rules and a guest: a stream of the events that they fit, and what they say of each."""

    def __init__(
        self,
        vm: VirtualMachine,
        rules: SigmaRules,
        only: Callable[[Event], bool] = lambda _: True,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`only` says whose events are judged; `tell` hears what can't be seen in this guest. UsageError where no rule
        is in force."""
        if not rules.rules:
            raise UsageError(
                "none of these Sigma rules can be put in force", hint="`vmon sigma DIR` tells why"
            )
        self._vm = vm
        self._sieve = Sieve(rules.rules)
        self._only = only
        self._tell = tell
        self._users = any("user.name" in fields_of(rule.condition) for rule in rules.rules)
        self._detector: Detector | None = None

    @property
    def events(self) -> frozenset[str]:
        """Kinds of events that the rules are about."""
        return self._sieve.events

    def stream(self, ring_bytes: int = RING_BYTES) -> EventStream:
        """A stream, not yet started, of the events that a rule fits; after a reboot there must be a new one.

        The probe is put in where it is not there. NotSupported where no kind of event that a rule is about can be seen.
        """
        seen = self.events & set(self._vm.install_probe(ring_bytes).events)
        if unseen := sorted(self.events - seen):
            said = f"{', '.join(unseen)}: can't be seen in this guest, and rules find nothing there"
            if not seen:
                raise NotSupported(said, hint="`vmon doctor TARGET` tells why")
            self._tell(said)
        self._detector = Detector(self._sieve, self._user_names(), self._only)
        stream = self._vm.event_stream(*sorted(seen), only=self._detector, ring_bytes=ring_bytes)
        stream.known.look_closely()
        self._detector.known = stream.known
        return stream

    def detections(self, event: Event) -> list[Detection]:
        """What the rules say of an event of the stream; to be asked once."""
        return self._detector.detections(event) if self._detector is not None else []

    def _user_names(self) -> Mapping[int, str]:
        """Root alone where the guest has not its list of users in memory."""
        if not self._users:
            return {}
        try:
            content = self._vm.read_file("/etc/passwd")
            data = (
                b"".join(piece.tobytes() for piece in content.chunks())
                if content.size <= MAX_PASSWD_BYTES
                else b""
            )
        except (NoSuchFile, NoSuchProcess, NotSupported, UsageError, GuestDataError):
            return users_of("")
        return users_of(guest_text(data) if not content.holes else "")


def detections(
    vm: VirtualMachine, path: Path, level: Severity | None = None, timeout_s: float | None = None
) -> Iterator[Detection]:
    """What the Sigma rules of a file or folder find in a guest as it happens, until `timeout_s` has passed.

    The probe stays in the guest when the loop ends, idle. UsageError where no rule can be put in force.
    """
    watch = SigmaWatch(vm, read_sigma(path, level))
    stream = watch.stream()
    stream.start()
    try:
        for event in stream.follow(timeout_s):
            yield from watch.detections(event)
    finally:
        stream.stop()
