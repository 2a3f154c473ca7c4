"""Variables of the kernel whose types others ask for: BTF has types, and says of no variable of which one it is.

Pure data. The names are those that Volatility 3's Linux plugins make objects of; the types are those of the kernel's
declarations, every spelling that 5.10 to 7.2 used, newest first. A type that a kernel lacks leaves its variable
without one. Sources: the headers named in kernel, fs, net, drivers/tty of Linux; volatility3/framework/plugins/linux.
"""

from __future__ import annotations

from typing import NamedTuple


class Shape(NamedTuple):
    """A type as C declares it."""

    kind: str
    """struct (or union), base, function, or members: the structure without a name that has exactly these."""
    name: str
    around: str = ""
    """`*` a pointer to it, `[` an array of it as long as there is room; from the outside in."""


def struct(name: str, around: str = "") -> tuple[Shape, ...]:
    """A structure, a pointer to it, an array of it."""
    return (Shape("struct", name, around),)


def number(name: str, around: str = "") -> tuple[Shape, ...]:
    """A base type."""
    return (Shape("base", name, around),)


_LISTS = (
    "modules",
    "net_namespace_list",
    "tty_drivers",
    "bpf_kallsyms",
    "ftrace_mod_maps",
    "ftrace_ops_trampoline_list",
    "super_blocks",
    "slab_caches",
)
_SEQ_OPS = (
    "raw_seq_ops",
    "raw6_seq_ops",
    "udp_seq_ops",
    "udp6_seq_ops",
    "arp_seq_ops",
    "unix_seq_ops",
    "tcp_seq_ops",
    "tcp4_seq_ops",
    "tcp6_seq_ops",
    "packet_seq_ops",
)
_LONGS = (
    "jiffies",
    "jiffies_64",
    "module_addr_min",
    "module_addr_max",
    "page_offset_base",
    "vmalloc_base",
    "vmemmap_base",
    "phys_base",
    "max_pfn",
    "max_low_pfn",
)
_CALL_TABLE = (Shape("function", "", "[*"),)

VARIABLES: dict[str, tuple[Shape, ...]] = {
    **{name: struct("list_head") for name in _LISTS},
    **{name: struct("seq_operations") for name in _SEQ_OPS},
    **{name: number("long unsigned int") for name in _LONGS},
    "init_task": struct("task_struct"),
    "init_mm": struct("mm_struct"),
    "init_files": struct("files_struct"),
    "init_fs": struct("fs_struct"),
    "init_cred": struct("cred"),
    "init_nsproxy": struct("nsproxy"),
    "init_pid_ns": struct("pid_namespace"),
    "init_uts_ns": struct("uts_namespace"),
    "init_user_ns": struct("user_namespace"),
    "init_ipc_ns": struct("ipc_namespace"),
    "init_net": struct("net"),
    "init_signals": struct("signal_struct"),
    "init_sighand": struct("sighand_struct"),
    "init_struct_pid": struct("pid"),
    # Newer kernels have tk_data; older ones a structure without a name.
    "tk_core": (Shape("struct", "tk_data"), Shape("members", "seq timekeeper")),
    "timekeeper_data": struct("tk_data", "["),
    "boot_cpu_data": struct("cpuinfo_x86"),
    "__per_cpu_offset": number("long unsigned int", "["),
    "linux_banner": number("char", "["),
    "saved_command_line": number("char", "*"),
    "cap_last_cap": number("int"),
    "iomem_resource": struct("resource"),
    "ioport_resource": struct("resource"),
    "mod_tree": struct("mod_tree_root"),
    "module_kset": struct("kset", "*"),
    "taint_flags": struct("taint_flag", "["),
    "prog_idr": struct("idr"),
    "map_idr": struct("idr"),
    "link_idr": struct("idr"),
    "prb": struct("printk_ringbuffer", "*"),
    "log_buf": number("char", "*"),
    "log_buf_len": number("unsigned int"),
    "log_first_idx": number("unsigned int"),
    "log_next_idx": number("unsigned int"),
    "mem_section": struct("mem_section", "**"),
    "mem_map": struct("page", "*"),
    "node_data": struct("pglist_data", "[*"),
    "idt_table": struct("gate_struct", "["),
    "sys_call_table": _CALL_TABLE,
    "ia32_sys_call_table": _CALL_TABLE,
    "x32_sys_call_table": _CALL_TABLE,
    "ftrace_ops_list": struct("ftrace_ops", "*"),
    "ftrace_list_end": struct("ftrace_ops"),
    "__start___tracepoints_ptrs": number("int", "["),
    "keyboard_notifier_list": struct("atomic_notifier_head"),
    "socket_file_ops": struct("file_operations"),
    "sockfs_dentry_operations": struct("dentry_operations"),
    "num_registered_fb": number("int"),
    "registered_fb": struct("fb_info", "[*"),
    "vmap_area_list": struct("list_head"),
    "pid_max": number("int"),
    "nr_threads": number("int"),
    "idt_descr": struct("desc_ptr"),
    "proc_root": struct("proc_dir_entry"),
    "sysctl_table_root": struct("ctl_table_root"),
    "mount_hashtable": struct("hlist_head", "*"),
    "mountpoint_hashtable": struct("hlist_head", "*"),
    "__start___ksymtab": struct("kernel_symbol", "["),
    "__start___ksymtab_gpl": struct("kernel_symbol", "["),
    "kallsyms_num_syms": number("unsigned int"),
    "kallsyms_relative_base": number("long unsigned int"),
    "file_systems": struct("file_system_type", "*"),
}

ALIASES = {
    # An array since there are auxiliary clocks; its first is tk_core, by a macro.
    "tk_core": "timekeeper_data",
}
"""Names that became macros: each is given to the variable that now stands behind it, where only that one is there."""
