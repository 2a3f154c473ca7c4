"""BPF programs and maps in the guest's kernel. Pure data."""

from __future__ import annotations

import msgspec


class BpfProgramRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One loaded BPF program, as bpftool prog has it."""

    id: int
    type: str
    """socket_filter, kprobe, tracing, lsm, xdp...: as bpftool names it."""
    attach_type: str | None
    """Of a type that has several: cgroup_inet_ingress, trace_fentry, lsm_mac... None where it does not matter."""
    name: str
    """At most 15 bytes, chosen by the loader; empty where it gave none."""
    tag: str
    """Hash of its instructions: 16 hexadecimal digits."""
    uid: int | None
    """Who loaded it."""
    load_time_ns: int
    """Nanoseconds since the guest's boot."""
    instructions: int
    """After the verifier rewrote it."""
    jited: bool
    jited_address: int | None
    """Where its machine code starts."""
    jited_size: int
    """Bytes of machine code, functions that it calls included."""
    attach_function: str | None
    """Name of the kernel function that it hangs on, of tracing and LSM programs."""
    map_ids: list[int]
    """Maps that it uses."""


class BpfMapRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One BPF map, as bpftool map has it."""

    id: int
    type: str
    """hash, array, ringbuf, perf_event_array...: as bpftool names it."""
    name: str
    key_size: int
    """Bytes."""
    value_size: int
    """Bytes."""
    max_entries: int
    flags: int
    """BPF_F_... of uapi/linux/bpf.h."""
    frozen: bool
    """Whether programs of user space may no longer write it."""
