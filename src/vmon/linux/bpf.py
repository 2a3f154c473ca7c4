"""Every loaded BPF program and every map has an id, by which the kernel finds it in an IDR.

Reads prog_idr, map_idr, bpf_prog, bpf_prog_aux, bpf_map. A hostile guest can take a program off the IDR and leave it
running, or lie in any field: what hangs on a hook is not looked for here. One that is unloaded meanwhile may be half
there. Sources: kernel/bpf/syscall.c, include/linux/bpf.h, include/linux/filter.h.
"""

from __future__ import annotations

import numpy as np

from vmon.core.address import Gva
from vmon.core.coverage import Gaps
from vmon.core.errors import GuestDataError
from vmon.core.records.bpf import BpfMapRecord, BpfProgramRecord
from vmon.core.text import guest_text
from vmon.kernel.columns import text_rows
from vmon.kernel.profile import Wants
from vmon.linux import xarray
from vmon.linux.kernel import Kernel

PROGRAM_FIELDS = "type expected_attach_type len jited_len jited tag bpf_func aux"
AUX_FIELDS = "id name load_time user used_map_cnt used_maps attach_func_name attach_btf_id"
MAP_FIELDS = "map_type key_size value_size max_entries map_flags name frozen"
WANTS = xarray.WANTS | Wants(
    symbols=("prog_idr", "map_idr"),
    structs={
        "bpf_prog": PROGRAM_FIELDS,
        "bpf_prog_aux": AUX_FIELDS,
        "user_struct": "uid",
        "bpf_map": "id " + MAP_FIELDS,
    },
    enums=("bpf_prog_type", "bpf_attach_type", "bpf_map_type"),
)
MAX_OBJECTS = 100_000
MAX_USED_MAPS = 1024
MAX_NAME_BYTES = 128
# Attach type 0 is cgroup_inet_ingress, and what a program has whose type knows no attach types.
WITHOUT_ATTACH_TYPE = 0
TYPES_THAT_ATTACH = ("cgroup", "tracing", "lsm", "sk_skb", "sk_lookup", "xdp", "struct_ops", "netfilter")


def find_programs(kernel: Kernel, gaps: Gaps) -> list[BpfProgramRecord]:
    """Every loaded program by its id. BadStructure where the IDR is no tree."""
    if not kernel.has_symbol("prog_idr") or "bpf_prog" not in kernel.profile.structs:
        gaps.add("programs", "not on this kernel")
        return []
    found = xarray.find_idr_entries(kernel, kernel.symbol("prog_idr"), MAX_OBJECTS)
    columns = kernel.read("bpf_prog", PROGRAM_FIELDS, found.values)
    aux = kernel.read("bpf_prog_aux", AUX_FIELDS, columns["aux"])
    unreadable = int((~kernel.memory.mapped(columns["aux"])).sum())
    if unreadable:
        gaps.add("programs", "unreadable", count=unreadable)
    users = kernel.read("user_struct", "uid", aux["user"])["uid"].tolist()
    names, tags = text_rows(aux.raw("name")), columns.raw("tag")
    types, attach_types = _names(kernel, "bpf_prog_type"), _names(kernel, "bpf_attach_type")
    records = []
    for row, number in enumerate(found.indexes.tolist()):
        kind = int(columns["type"][row])
        type_name = types.get(kind, str(kind))
        attach = int(columns["expected_attach_type"][row])
        has_attach = attach != WITHOUT_ATTACH_TYPE or type_name.startswith(TYPES_THAT_ATTACH)
        jited = bool(columns["jited"][row])
        records.append(
            BpfProgramRecord(
                id=number,
                type=type_name,
                attach_type=attach_types.get(attach, str(attach)) if has_attach else None,
                name=guest_text(names[row]),
                tag=tags[row].tobytes().hex(),
                uid=users[row] if aux["user"][row] else None,
                load_time_ns=int(aux["load_time"][row]),
                instructions=int(columns["len"][row]),
                jited=jited,
                jited_address=int(columns["bpf_func"][row]) if jited else None,
                jited_size=int(columns["jited_len"][row]),
                attach_function=_text(kernel, int(aux["attach_func_name"][row]), gaps),
                map_ids=_map_ids(kernel, int(aux["used_maps"][row]), int(aux["used_map_cnt"][row]), gaps),
            )
        )
    return records


def find_maps(kernel: Kernel, gaps: Gaps) -> list[BpfMapRecord]:
    """Every map by its id. BadStructure where the IDR is no tree."""
    if not kernel.has_symbol("map_idr") or "bpf_map" not in kernel.profile.structs:
        gaps.add("maps", "not on this kernel")
        return []
    found = xarray.find_idr_entries(kernel, kernel.symbol("map_idr"), MAX_OBJECTS)
    columns = kernel.read("bpf_map", MAP_FIELDS, found.values)
    unreadable = int((~kernel.memory.mapped(found.values)).sum())
    if unreadable:
        gaps.add("maps", "unreadable", count=unreadable)
    types = _names(kernel, "bpf_map_type")
    rows = zip(
        found.indexes.tolist(),
        columns["map_type"].tolist(),
        text_rows(columns.raw("name")),
        columns["key_size"].tolist(),
        columns["value_size"].tolist(),
        columns["max_entries"].tolist(),
        columns["map_flags"].tolist(),
        columns["frozen"].tolist(),
        strict=True,
    )
    return [
        BpfMapRecord(
            id=number,
            type=types.get(kind, str(kind)),
            name=guest_text(name),
            key_size=key,
            value_size=value,
            max_entries=most,
            flags=flags,
            frozen=bool(frozen),
        )
        for number, kind, name, key, value, most, flags, frozen in rows
    ]


def _names(kernel: Kernel, enum: str) -> dict[int, str]:
    """bpftool's names of an enumeration: BPF_PROG_TYPE_XDP is xdp, BPF_TRACE_FENTRY trace_fentry."""
    prefix = "BPF_" if enum == "bpf_attach_type" else enum.upper() + "_"
    found: dict[int, str] = {}
    for name, value in kernel.profile.enums.get(enum, {}).items():
        if name.startswith(prefix) and not name.endswith("_DEPRECATED"):
            found.setdefault(value, name.removeprefix(prefix).lower())
    return found


def _text(kernel: Kernel, pointer: int, gaps: Gaps) -> str | None:
    if not pointer:
        return None
    try:
        return guest_text(kernel.memory.string(Gva(pointer), MAX_NAME_BYTES))
    except GuestDataError:
        gaps.add("attach_function", "unreadable")
        return None


def _map_ids(kernel: Kernel, pointer: int, count: int, gaps: Gaps) -> list[int]:
    if not count:
        return []
    if count > MAX_USED_MAPS:
        gaps.add("map_ids", "bounded", f"{count:,} maps of one program")
        return []
    try:
        raw = kernel.memory.read(Gva(pointer), 8 * count)
    except GuestDataError:
        gaps.add("map_ids", "unreadable")
        return []
    ids: list[int] = kernel.read("bpf_map", "id", np.frombuffer(raw, dtype="<u8"))["id"].tolist()
    return ids
