"""What an operator may do to a guest, as rows: signals, quarantine, rules. Changes guests, when it is asked to.

A process is named by its key as well as by its pid, so that nobody who took the pid over meanwhile is hit. Texts of
routes are the first lines of the Python calls behind them.
"""

from __future__ import annotations

import signal
from collections.abc import Callable

import msgspec

from vmon.api.probing import put_in
from vmon.api.table import PROCESS, VM, Asked, Row
from vmon.api.views import said_of
from vmon.core.errors import NoSuchProcess, UsageError
from vmon.core.events import EventCounts
from vmon.core.records.probe import ActRecord
from vmon.core.rules import Rule, RuleRecord
from vmon.monitor.machine import VirtualMachine
from vmon.policy.safety import refuses_everything

MAX_SIGNAL = 64


class KeyBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which process is meant."""

    key: str
    """pid@start, as its record has it."""


class ActBody(KeyBody, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which process is meant."""

    force: bool = False
    """Also init, and threads of the kernel."""


class SignalBody(ActBody, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which process is meant, and the signal."""

    signal: int
    """1 to 64."""

    def __post_init__(self) -> None:
        if not 1 <= self.signal <= MAX_SIGNAL:
            raise ValueError(f"a signal is 1 to {MAX_SIGNAL}")


class RulesBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rules to be put behind those in force."""

    rules: list[Rule]
    force: bool = False
    """Also those that a guest would not survive."""


class Dropped(msgspec.Struct, frozen=True, kw_only=True):
    """What is out of force."""

    dropped: int
    """How many rules."""


def require_key(asked: Asked) -> int:
    """The pid, where it is still the process that is meant. NoSuchProcess."""
    found = asked.vm.process(asked.pid).key
    if found != asked.body.key:
        raise NoSuchProcess(f"process {asked.pid} is {found} by now, not the one that is meant")
    return asked.pid


def sent(number: int | None, *, force: bool = False) -> Callable[[Asked], ActRecord]:
    """A call that sends this signal, or the one in the body."""

    def call(asked: Asked) -> ActRecord:
        body, pid = asked.body, require_key(asked)
        put_in(asked.served, asked.vm)
        return asked.vm.signal(
            pid,
            body.signal if number is None else number,
            key=body.key,
            force=force or body.force,
        )

    return call


def _signal(name: str, number: int | None, said: str, body: type[msgspec.Struct] = ActBody) -> Row:
    return Row(
        name=f"process_{name}",
        method="POST",
        path=f"{PROCESS}/{name}",
        call=sent(number, force=number == signal.SIGCONT),
        returns=ActRecord,
        body=body,
        role="operator",
        said=said,
        covers=("VirtualMachine.signal",),
    )


def quarantine(asked: Asked) -> list[RuleRecord]:
    """The rules that hold it."""
    pid = require_key(asked)
    put_in(asked.served, asked.vm)
    return asked.vm.quarantine(pid, key=asked.body.key, force=asked.body.force)


def add_rules(asked: Asked) -> list[RuleRecord]:
    """The rules, with their numbers. UsageError for what a guest would not survive, unless forced."""
    body: RulesBody = asked.body
    for rule in body.rules:
        if not body.force and refuses_everything(rule):
            raise UsageError(
                f"this refuses {', '.join(rule.events)} to every process, init too",
                hint="narrow it, or force it",
            )
    put_in(asked.served, asked.vm)
    return asked.vm.add_rules(body.rules)


def drop_rule(asked: Asked) -> Dropped:
    """One rule out of force."""
    asked.vm.drop_rules(int(asked.path["number"]))
    return Dropped(dropped=1)


ROWS = (
    _signal("kill", signal.SIGKILL, "End a process, by the guest's own kernel."),
    _signal("suspend", signal.SIGSTOP, "Stop a process; resume lets it go on."),
    _signal("resume", signal.SIGCONT, "Let a suspended process go on."),
    _signal("signal", None, said_of(VirtualMachine.signal), SignalBody),
    Row(
        name="process_quarantine",
        method="POST",
        path=f"{PROCESS}/quarantine",
        call=quarantine,
        returns=RuleRecord,
        many=True,
        body=ActBody,
        role="operator",
        said="From now on a process, and whatever it starts, may compute and read, and do nothing else.",
        covers=("VirtualMachine.quarantine",),
    ),
    Row(
        name="process_release",
        method="POST",
        path=f"{PROCESS}/release",
        call=lambda asked: Dropped(dropped=asked.vm.release(require_key(asked), key=asked.body.key)),
        returns=Dropped,
        body=KeyBody,
        role="operator",
        said="Let a process out of its quarantine; how many rules are gone with it.",
        covers=("VirtualMachine.release",),
    ),
    Row(
        name="rules",
        path=f"{VM}/rules",
        call=lambda asked: asked.vm.rules(),
        returns=RuleRecord,
        many=True,
        said=said_of(VirtualMachine.rules),
        covers=("VirtualMachine.rules",),
    ),
    Row(
        name="add_rules",
        method="POST",
        path=f"{VM}/rules",
        call=add_rules,
        returns=RuleRecord,
        many=True,
        body=RulesBody,
        role="operator",
        said="Put rules behind those in force; the new ones, with their numbers.",
        covers=("VirtualMachine.add_rules",),
    ),
    Row(
        name="drop_rule",
        method="DELETE",
        path=f"{VM}/rules/{{number}}",
        call=drop_rule,
        returns=Dropped,
        role="operator",
        said="Take a rule out of force.",
        covers=("VirtualMachine.drop_rules",),
    ),
    Row(
        name="counts",
        path=f"{VM}/counts",
        call=lambda asked: asked.vm.hub.counts(),
        returns=EventCounts,
        many=True,
        said="Totals of each kind of event since the guest booted; while its events are followed.",
        covers=("Hub.counts",),
    ),
)
