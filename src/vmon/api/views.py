"""The views of a guest as rows: one line each, nothing about one of them stands elsewhere.

Reads guests through vmon.monitor. Texts of routes are the first lines of the Python calls behind them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import msgspec

from vmon.api.table import VM, Asked, NoQuery, Row
from vmon.core.errors import UsageError
from vmon.core.records import (
    bpf,
    container,
    deferred,
    filesystem,
    finding,
    kernel,
    key,
    log,
    login,
    machine,
    network,
    probe,
    process,
    setting,
)
from vmon.monitor.machine import VirtualMachine


class ProcessesQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which fields of processes are wanted."""

    fields: str = ""
    """Names with commas between: pid,name,exe; all where none is named."""


class SocketsQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which sockets."""

    all: bool = False
    """Also those that no process holds."""
    namespace: int | None = None
    """Only of the network namespace of this inode number."""


class NamespaceQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which network namespaces."""

    namespace: int | None = None
    """Inode number of one; the first where none is named."""
    all_namespaces: bool = False


class PortsQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which network namespace."""

    namespace: int | None = None
    """Inode number of one; all where none is named."""


class MountsQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which mount namespace."""

    namespace: int | None = None
    """Inode number of one."""
    pid: int | None = None
    """That of this process."""


class DmesgQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which lines of the log."""

    after: int = -1
    """Only those with a higher sequence."""


class SysctlQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which settings."""

    names: str = ""
    """Names with commas between; * stands for any text."""


class CheckQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is compared."""

    subjects: str = ""
    """With commas between; all where none is named."""
    expect: str = ""
    """process=NAME and seccomp=NAME, with commas between."""


def words(text: str) -> tuple[str, ...]:
    """The words of a list with commas."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def said_of(method: object) -> str:
    """The first sentence of a call's description."""
    return (inspect.getdoc(method) or "").split("\n")[0]


def processes(asked: Asked) -> object:
    """Records of all processes, or some fields of them."""
    found = asked.vm.processes()
    wanted = words(asked.query.fields)
    for name in wanted:
        if name not in process.ProcessRecord.__struct_fields__:
            raise UsageError(f"a process has no field {name[:40]!r}")
    records: list[object] = [each.record() for each in found]
    if wanted:
        records = [{name: getattr(record, name) for name in wanted} for record in records]
    # What was read of them is known after it was read.
    return {"coverage": found.coverage, "records": records}


def _view(
    name: str,
    of: type[msgspec.Struct],
    call: Callable[[Asked], Any] | None = None,
    query: type[msgspec.Struct] = NoQuery,
    path: str = "",
) -> Row:
    def plain(asked: Asked) -> Any:
        return getattr(asked.vm, name)(**msgspec.structs.asdict(asked.query))

    return Row(
        name=name,
        path=f"{VM}/{path or name.replace('_', '-')}",
        call=call or plain,
        returns=of,
        many=True,
        query=query,
        said=said_of(getattr(VirtualMachine, name)),
        covers=(f"VirtualMachine.{name}",),
    )


ROWS = (
    _view("processes", process.ProcessRecord, processes, ProcessesQuery),
    _view("sockets", process.SocketRecord, query=SocketsQuery),
    _view("ports", network.PortRecord, query=PortsQuery),
    _view("interfaces", network.InterfaceRecord, query=NamespaceQuery),
    _view("routes", network.RouteRecord, query=NamespaceQuery),
    _view("neighbours", network.NeighbourRecord, query=NamespaceQuery),
    _view("mounts", filesystem.MountRecord, query=MountsQuery),
    _view("locks", filesystem.LockRecord),
    _view("who", login.LoginRecord),
    _view("cgroups", container.CgroupRecord),
    _view("containers", container.ContainerRecord),
    _view("modules", kernel.ModuleRecord),
    _view("dmesg", log.LogRecord, query=DmesgQuery),
    _view(
        "sysctl", setting.SettingRecord, lambda asked: asked.vm.sysctl(words(asked.query.names)), SysctlQuery
    ),
    _view("lsm", kernel.SecurityModuleRecord),
    _view("bpf_programs", bpf.BpfProgramRecord, path="bpf/programs"),
    _view("bpf_maps", bpf.BpfMapRecord, path="bpf/maps"),
    _view("hooks", kernel.KernelHookRecord),
    _view("keys", key.KeyRecord),
    _view("key_users", key.KeyUserRecord),
    _view("timers", deferred.TimerRecord),
    _view("workqueues", deferred.WorkqueueRecord),
    _view("worker_pools", deferred.WorkerPoolRecord),
    _view("meminfo", machine.MemoryRecord),
    _view("load", machine.LoadRecord),
    _view("cpus", machine.CpuRecord),
    _view(
        "check",
        finding.FindingRecord,
        lambda asked: asked.vm.check(*words(asked.query.subjects), expect=words(asked.query.expect)),
        CheckQuery,
    ),
    Row(
        name="abilities",
        path=f"{VM}/abilities",
        call=lambda asked: asked.vm.abilities,
        returns=probe.AbilityRecord,
        many=True,
        said=said_of(VirtualMachine.abilities),
        covers=("VirtualMachine.abilities", "VirtualMachine.can", "VirtualMachine.require"),
    ),
    Row(
        name="doctor",
        path=f"{VM}/doctor",
        call=lambda asked: asked.vm.doctor(),
        returns=probe.DoctorRecord,
        said=said_of(VirtualMachine.doctor),
        covers=("VirtualMachine.doctor",),
    ),
)
