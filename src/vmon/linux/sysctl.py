"""Every setting under /proc/sys is an element of a ctl_table; a red-black tree a folder leads to them all.

Reads ctl_table_root, ctl_dir, ctl_node, ctl_table, and the variables behind them. Settings of a namespace hang on a
tree of its own: those of the first network, user, IPC and PID namespace are read. A hostile guest can bend the trees
and write any name or value: nodes are met once and counted, values cut. A value whose handler makes it up when it is
read (a count over CPUs, a list) has no variable and is left out, and told.
Sources: fs/proc/proc_sysctl.c, include/linux/sysctl.h, kernel/sysctl.c; kernel/ucount.c, ipc/ipc_sysctl.c.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

import numpy as np

from vmon.core.address import Gva
from vmon.core.coverage import Gaps
from vmon.core.errors import BadStructure, GuestDataError
from vmon.core.records.setting import SettingRecord
from vmon.core.text import guest_text
from vmon.kernel.columns import Column, text_rows
from vmon.kernel.profile import Wants
from vmon.linux.kernel import Kernel

MAX_SETTINGS = 100_000
MAX_DEPTH = 16
MAX_NAME_BYTES = 64
MAX_VALUE_BYTES = 4096
USER_HZ = 100

# What a value is, by the function that shows it: int, uint, long, byte, bool, text, key (a static key), jiffies that
# are shown in seconds (s), milliseconds (ms) or hundredths (cs), jiffies in a long shown in milliseconds (long ms).
# neigh: one variable is shown as two settings.
KINDS = {
    "int": "proc_dointvec proc_dointvec_minmax proc_do_rointvec proc_dointvec_minmax_bpf_enable"
    " proc_dointvec_minmax_bpf_restricted proc_dointvec_minmax_coredump proc_dointvec_minmax_sysadmin"
    " proc_dointvec_minmax_warn_RT_change proc_ipc_dointvec_minmax proc_ipc_dointvec_minmax_orphans"
    " proc_ipc_sem_dointvec proc_mq_dointvec proc_mq_dointvec_minmax"
    " proc_watchdog_thresh proc_do_dev_weight proc_do_skb_defer_max"
    " proc_kprobes_optimization_handler proc_tfo_blackhole_detect_timeout yama_dointvec_minmax apparmor_dointvec"
    " addrconf_sysctl_addr_gen_mode addrconf_sysctl_disable addrconf_sysctl_disable_policy addrconf_sysctl_forward"
    " addrconf_sysctl_force_forwarding addrconf_sysctl_ignore_routes_with_linkdown addrconf_sysctl_mtu"
    " addrconf_sysctl_proxy_ndp bpf_unpriv_handler compaction_proactiveness_sysctl_handler devinet_conf_proc"
    " devinet_sysctl_forward flow_limit_table_len_sysctl ipv4_privileged_ports"
    " dirty_background_ratio_handler dirty_ratio_handler dirty_writeback_centisecs_handler"
    " dirtytime_interval_handler ftrace_enable_sysctl ipv4_doint_and_flush laptop_mode_handler"
    " lowmem_reserve_ratio_sysctl_handler min_free_kbytes_sysctl_handler neigh_proc_dointvec_zero_intmax"
    " overcommit_policy_handler overcommit_ratio_handler percpu_pagelist_fraction_sysctl_handler"
    " percpu_pagelist_high_fraction_sysctl_handler perf_cpu_time_max_percent_handler perf_event_max_stack_handler"
    " perf_event_max_sample_rate_handler perf_proc_update_handler pid_mfd_noexec_dointvec_minmax"
    " sched_rr_handler sched_rt_handler sched_proc_update_handler stack_trace_sysctl"
    " sysctl_min_slab_ratio_sysctl_handler sysctl_min_unmapped_ratio_sysctl_handler sysctl_sched_uclamp_handler"
    " sysctl_vm_numa_stat_handler timer_migration_handler tracepoint_printk_sysctl"
    " watermark_scale_factor_sysctl_handler",
    "uint": "proc_douintvec proc_douintvec_minmax proc_dopipe_max_size proc_fib_multipath_hash_fields"
    " proc_rt6_multipath_hash_fields ipv4_ping_group_range",
    "long": "proc_doulongvec_minmax proc_ipc_doulongvec_minmax proc_dolongvec_minmax_bpf_restricted"
    " dirty_background_bytes_handler dirty_bytes_handler mmap_min_addr_handler overcommit_kbytes_handler"
    " proc_dohung_task_timeout_secs sysctl_panic_print_handler",
    "byte": "proc_dou8vec_minmax ipv4_fwd_update_priority proc_fib_multipath_hash_policy"
    " proc_rt6_multipath_hash_policy proc_pm_type",
    "bool": "proc_dobool",
    "text": "proc_dostring proc_dostring_coredump proc_do_uts_string devkmsg_sysctl_set_loglvl proc_path_manager"
    " proc_scheduler numa_zonelist_order_handler",
    "key": "proc_do_static_key bpf_stats_handler",
    "s": "proc_dointvec_jiffies neigh_proc_dointvec_jiffies",
    "ms": "proc_dointvec_ms_jiffies proc_dointvec_ms_jiffies_minmax neigh_proc_dointvec_ms_jiffies"
    " neigh_proc_dointvec_ms_jiffies_positive",
    "cs": "proc_dointvec_userhz_jiffies neigh_proc_dointvec_userhz_jiffies",
    "long ms": "proc_doulongvec_ms_jiffies_minmax",
    "neigh": "neigh_proc_base_reachable_time ndisc_ifinfo_sysctl_change",
    "uuid": "proc_do_uuid",
}
HANDLERS = {name: kind for kind, names in KINDS.items() for name in names.split()}
# Settings whose table names no variable.
VARIABLES = {
    "kernel.tainted": ("tainted_mask", "long", 8),
    "kernel.sysrq": ("sysrq_enabled", "int", 4),
    "kernel.threads-max": ("max_threads", "int", 4),
}
# Namespaces' own trees: mq_set and ipc_set came in 5.19 (1f5c135ee509), that of pid_namespace in 6.14 (7863dcc72d0f).
NAMESPACES = {
    "init_net": ("net", "sysctls.dir.root"),
    "init_user_ns": ("user_namespace", "set.dir.root"),
    "init_ipc_ns": ("ipc_namespace", "mq_set.dir.root ipc_set.dir.root"),
    "init_pid_ns": ("pid_namespace", "set.dir.root"),
}
TABLE_FIELDS = "procname data maxlen mode proc_handler"
WANTS = Wants(
    symbols=(
        *("sysctl_table_root", "clocksource_jiffies", "sysrq_always_enabled"),
        *NAMESPACES,
        *(symbol for symbol, _, _ in VARIABLES.values()),
        *HANDLERS,
    ),
    structs={
        "ctl_table_root": "default_set.dir.root",
        "ctl_dir": "root",
        "ctl_node": "node.rb_left node.rb_right header",
        "ctl_table_header": "ctl_table node",
        "ctl_table": TABLE_FIELDS,
        "clocksource": "mult shift",
        **dict(NAMESPACES.values()),
    },
)
KIND_MASK, FOLDER, LINK = 0o170000, 0o040000, 0o120000


def find_settings(kernel: Kernel, gaps: Gaps, names: Sequence[str] = ()) -> list[SettingRecord]:
    """Settings of the guest's first namespaces, by name: all, or those that match one of `names`, `*` for any text.

    BadStructure where a tree is no tree.
    """
    if not kernel.has_symbol("sysctl_table_root") or "ctl_node" not in kernel.profile.structs:
        gaps.add("settings", "not on this kernel")
        return []
    roots = [kernel.symbol("sysctl_table_root") + kernel.offset("ctl_table_root", "default_set.dir.root")]
    for symbol, (name, fields) in NAMESPACES.items():
        roots += [
            kernel.symbol(symbol) + kernel.offset(name, field)
            for field in fields.split()
            if kernel.has_symbol(symbol) and kernel.profile.has(name, field)
        ]
    handlers = {int(kernel.symbol(name)): name for name in HANDLERS if kernel.has_symbol(name)}
    values = _Values(kernel, gaps)
    found: dict[str, SettingRecord] = {}
    for name, data, size, mode, handler in _entries(kernel, roots, gaps):
        wanted = not names or any(fnmatchcase(name, pattern) for pattern in names)
        if wanted and name not in found:
            shown = handlers.get(handler)
            found[name] = SettingRecord(
                name=name,
                value=values.read(name, data, size, shown) if mode & 0o444 else None,
                mode=f"{mode & 0o7777:04o}",
                handler=shown,
                variable=data or None,
            )
    return [found[name] for name in sorted(found)]


def _entries(kernel: Kernel, roots: list[int], gaps: Gaps) -> list[tuple[str, int, int, int, int]]:
    """(name, variable, bytes, mode, handler) of every setting below these roots; all trees level by level."""
    level = {top: "" for top in _tops(kernel, np.array(roots, dtype=np.uint64)) if top}
    seen: set[int] = set()
    found: list[tuple[str, int, int, int, int]] = []
    node_bytes, table_bytes = (np.uint64(kernel.profile[name].size) for name in ("ctl_node", "ctl_table"))
    folder_root = np.uint64(kernel.offset("ctl_dir", "root"))
    while level:
        seen |= level.keys()
        nodes = np.array(list(level), dtype=np.uint64)
        mapped = kernel.memory.mapped(nodes)
        columns = kernel.read("ctl_node", "node.rb_left node.rb_right header", nodes)
        headers = columns["header"]
        of = kernel.read("ctl_table_header", "ctl_table node", headers)
        places = of["ctl_table"] + (nodes - of["node"]) // node_bytes * table_bytes
        tables = kernel.read("ctl_table", TABLE_FIELDS, places)
        rows = zip(
            level.values(),
            mapped.tolist(),
            _names(kernel, tables["procname"]),
            tables["mode"].tolist(),
            tables["data"].tolist(),
            tables["maxlen"].tolist(),
            tables["proc_handler"].tolist(),
            _tops(kernel, headers + folder_root),
            columns["node.rb_left"].tolist(),
            columns["node.rb_right"].tolist(),
            strict=True,
        )
        below: dict[int, str] = {}
        count = 0
        for above, readable, text, mode, data, size, handler, top, left, right in rows:
            if not readable or not text:
                gaps.add("settings", "unreadable", "an entry of a folder")
                if not readable:
                    continue
            name = above + text
            following = [(left, above), (right, above)]
            if mode & KIND_MASK == FOLDER and name.count(".") < MAX_DEPTH:
                following.append((top, name + "."))
            elif text and mode & KIND_MASK not in (FOLDER, LINK):
                found.append((name, data, size, mode, handler))
            for node, prefix in following:
                if node:
                    below[node] = prefix
                    count += 1
        if len(below) != count or seen & below.keys():
            raise BadStructure("a tree that runs into itself", field="ctl_node")
        if len(seen) + count > MAX_SETTINGS:
            raise BadStructure(f"more than {MAX_SETTINGS:,} settings", field="ctl_node")
        level = below
    return found


def _tops(kernel: Kernel, roots: Column) -> list[int]:
    """The topmost node of the tree at each root."""
    tops: list[int] = kernel.memory.gather(roots, 8).view("<u8").reshape(-1).tolist()
    return tops


def _names(kernel: Kernel, pointers: Column) -> list[str]:
    """Names of settings; a dot within one (an interface may have it) is written as a slash, as sysctl does."""
    names = text_rows(kernel.memory.gather(pointers, MAX_NAME_BYTES))
    for row, name in enumerate(names):
        if not name:
            # The 64 bytes may reach into a page that is not there.
            try:
                names[row] = kernel.memory.string(Gva(int(pointers[row])), MAX_NAME_BYTES)
            except GuestDataError:
                continue
    return [guest_text(name).replace(".", "/") for name in names]


class _Values:
    """Reads variables as their handlers show them."""

    def __init__(self, kernel: Kernel, gaps: Gaps) -> None:
        self._kernel = kernel
        self._gaps = gaps
        self._tick_ns = _tick_ns(kernel)

    def read(self, name: str, data: int, size: int, handler: str | None) -> str | None:
        """The text of /proc/sys without its last newline; None where vmon can't tell."""
        kind = HANDLERS.get(handler or "")
        if name in VARIABLES and not data:
            symbol, kind, size = VARIABLES[name]
            data = int(self._kernel.symbol(symbol)) if self._kernel.has_symbol(symbol) else 0
        if kind is None or not data:
            self._gaps.add("value", "not looked for", "made up by the kernel when it is read")
            return None
        if kind in ("s", "ms", "cs", "long ms", "neigh") and not self._tick_ns:
            self._gaps.add("value", "not on this kernel", "how long a tick is")
            return None
        try:
            return self._show(name, Gva(data), size, kind)
        except GuestDataError:
            self._gaps.add("value", "unreadable")
            return None

    def _show(self, name: str, data: Gva, size: int, kind: str) -> str:
        memory = self._kernel.memory
        if kind == "text":
            return guest_text(memory.string(data, min(size, MAX_VALUE_BYTES)))
        if kind == "uuid":
            return str(uuid.UUID(bytes=memory.read(data, 16)))
        if kind in ("byte", "bool", "key"):
            value = memory.read(data, 4 if kind == "key" else 1)
            return str(value[0] if kind == "byte" else int(any(value)))
        if name == "kernel.sysrq" and self._sysrq_always():
            return "1"
        if kind == "neigh":
            kind = "ms" if name.endswith("_ms") else "s" if name.endswith("reachable_time") else "int"
        letter = {"long": "Q", "long ms": "Q", "uint": "I"}.get(kind, "i")
        width = struct.calcsize(letter)
        raw = memory.read(data, min(size, MAX_VALUE_BYTES) // width * width)
        shown = self._scale(kind)
        return "\t".join(str(shown(value)) for (value,) in struct.iter_unpack(f"<{letter}", raw))

    def _scale(self, kind: str) -> Callable[[int], int]:
        """How jiffies are shown; other numbers are shown as they are."""
        hz = round(1e9 / self._tick_ns) if self._tick_ns else 0
        if kind == "s":
            return lambda value: int(value / hz)
        if kind in ("ms", "long ms"):
            return lambda value: value * 1000 // hz
        if kind == "cs":
            return lambda value: (
                value * self._tick_ns // (10**9 // USER_HZ) if hz % USER_HZ else value * USER_HZ // hz
            )
        return lambda value: value

    def _sysrq_always(self) -> bool:
        symbol = "sysrq_always_enabled"
        return self._kernel.has_symbol(symbol) and any(
            self._kernel.memory.read(self._kernel.symbol(symbol), 1)
        )


def _tick_ns(kernel: Kernel) -> int:
    """Nanoseconds of a tick, by the clock that counts them; 0 where this kernel has none."""
    if not kernel.has_symbol("clocksource_jiffies") or "clocksource" not in kernel.profile.structs:
        return 0
    columns = kernel.read_one("clocksource", "mult shift", kernel.symbol("clocksource_jiffies"))
    tick_ns = int(columns["mult"][0]) >> min(int(columns["shift"][0]), 31)
    return tick_ns if 10**5 <= tick_ns <= 10**8 else 0
