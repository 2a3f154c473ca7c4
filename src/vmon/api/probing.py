"""The probe of a guest as rows: how it fares, in it, out of it. Who put it in takes it out at the end.

Changes a guest only where it is asked to; a probe that somebody else put in is left to him.
"""

from __future__ import annotations

import logging

import msgspec

from vmon.api.pool import Served
from vmon.api.records import ProbeStateRecord, VmDetailRecord
from vmon.api.table import VM, Asked, Row
from vmon.api.views import said_of
from vmon.core.errors import NotSupported
from vmon.core.records.probe import CheckRecord, ProbeRecord
from vmon.core.text import printable
from vmon.monitor.machine import VirtualMachine

LOG = logging.getLogger("vmon.api")


class RemovedRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A probe that was taken out."""

    patches: int
    """Instructions that are as they were; 0 where no probe was active."""
    stood_ms: float
    """How long the guest stood still."""
    left: str
    """Why its page-table entry stays; empty when every byte is as it was."""


class EnforcingBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What shall be."""

    on: bool
    """Carry out what the rules in force say; else only tell what they would do."""


def detail_of(asked: Asked) -> VmDetailRecord:
    """A guest as a whole; some milliseconds."""
    vm = asked.vm
    found = vm.guest
    return VmDetailRecord(
        vm=asked.served.name, guest=found, live=vm.is_live, reboots=vm.reboots, probe=state(asked.served, vm)
    )


def state(served: Served, vm: VirtualMachine) -> ProbeStateRecord:
    """How the probe fares; without one, why."""
    try:
        rules, enforcing = vm.rules(), vm.enforcing
    except NotSupported as error:
        return ProbeStateRecord(
            active=False, by_server=False, enforcing=None, rules=0, watched=False, why=error.message
        )
    return ProbeStateRecord(
        active=True,
        by_server=served.put_in,
        enforcing=enforcing,
        rules=len(rules),
        watched=served.watched,
        why="",
    )


def put_in(served: Served, vm: VirtualMachine) -> ProbeRecord:
    """The probe into the guest, where it is not there."""
    record = vm.install_probe()
    served.put_in = served.put_in or record.installed
    return record


def take_out(served: Served, vm: VirtualMachine) -> RemovedRecord:
    """The probe out of the guest, and all rules with it."""
    report = vm.remove_probe()
    served.put_in = False
    served.policy_rules = []
    return RemovedRecord(
        patches=report.patches, stood_ms=round((report.paused_ns + report.held_ns) / 1e6, 3), left=report.left
    )


def at_the_end(served: Served, vm: VirtualMachine) -> None:
    """Take out what this server put in, unless rules are in force: they stay, and so does the probe."""
    if not served.put_in:
        return
    try:
        rules = vm.rules()
    except NotSupported:
        return
    if rules:
        LOG.info("%s: %d rules stay in force, and the probe with them", printable(served.name), len(rules))
        return
    report = take_out(served, vm)
    LOG.info("%s: probe taken out in %.1f ms", printable(served.name), report.stood_ms)


def enforce(asked: Asked) -> ProbeStateRecord:
    """Carry out what the rules in force say, or only tell."""
    asked.vm.enforce(on=asked.body.on)
    return state(asked.served, asked.vm)


def repair(asked: Asked) -> CheckRecord:
    """Write once more what differs."""
    asked.vm.repair_probe()
    return asked.vm.check_probe()


ROWS = (
    Row(
        name="vm",
        path=VM,
        call=detail_of,
        returns=VmDetailRecord,
        said="A guest as a whole: who it is, what can't be seen of it, how its probe fares.",
        covers=("VirtualMachine.guest",),
    ),
    Row(
        name="probe",
        path=f"{VM}/probe",
        call=lambda asked: state(asked.served, asked.vm),
        returns=ProbeStateRecord,
        said="The probe of a guest, as it is now.",
    ),
    Row(
        name="put_probe",
        method="PUT",
        path=f"{VM}/probe",
        call=lambda asked: put_in(asked.served, asked.vm),
        returns=ProbeRecord,
        role="operator",
        said=said_of(VirtualMachine.install_probe),
        covers=("VirtualMachine.install_probe",),
    ),
    Row(
        name="remove_probe",
        method="DELETE",
        path=f"{VM}/probe",
        call=lambda asked: take_out(asked.served, asked.vm),
        returns=RemovedRecord,
        role="operator",
        said=said_of(VirtualMachine.remove_probe),
        covers=("VirtualMachine.remove_probe",),
    ),
    Row(
        name="probe_check",
        path=f"{VM}/probe/check",
        call=lambda asked: asked.vm.check_probe(),
        returns=CheckRecord,
        said="Compare the probe with what vmon wrote; differences are told.",
        covers=("VirtualMachine.check_probe",),
    ),
    Row(
        name="repair_probe",
        method="POST",
        path=f"{VM}/probe/repair",
        call=repair,
        returns=CheckRecord,
        role="operator",
        said="Write once more what differs of the probe; how it is then.",
        covers=("VirtualMachine.repair_probe",),
    ),
    Row(
        name="enforce",
        method="PUT",
        path=f"{VM}/enforcing",
        call=enforce,
        returns=ProbeStateRecord,
        body=EnforcingBody,
        role="operator",
        said=said_of(VirtualMachine.enforce),
        covers=("VirtualMachine.enforce", "VirtualMachine.enforcing"),
    ),
)
