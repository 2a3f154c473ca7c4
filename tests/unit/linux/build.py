"""A small Linux in a bytearray: an image that identify() believes, and a heap to put kernel objects into.

Two models: "new" is laid out as 7.x is, "old" as 5.10. Offsets are nobody's: what a decoder finds, it found by BTF.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from tests.unit.kernel.build import LAYOUTS, WRITABLE, CModel, PageTables, filler_symbols, kallsyms, note
from tests.unit.kernel.fuzz import BoundedRam
from vmon.core.ports import Registers
from vmon.kernel.btf import Btf
from vmon.kernel.identify import read_bases
from vmon.kernel.layout import resolve_enums, resolve_structs
from vmon.kernel.learn import BASE_WANTS
from vmon.kernel.memory import KernelMemory
from vmon.kernel.profile import KernelProfile
from vmon.linux import snapshot, stack
from vmon.linux.kernel import Kernel
from vmon.probe.hooks import WANTS as HOOK_WANTS
from vmon.probe.place import WANTS as PLACE_WANTS
from vmon.probe.tenant import WANTS as TENANT_WANTS

WANTS = snapshot.WANTS | HOOK_WANTS | PLACE_WANTS | stack.WANTS | TENANT_WANTS
"""What vmon.monitor asks for."""
RODATA_GPA = 0x0120_0000
TEXT_GPA = RODATA_GPA - (2 << 20)
TEXT_GVA = 0xFFFF_FFFF_9F00_0000
RODATA_GVA = TEXT_GVA + (2 << 20)
PAGE_OFFSET = {False: 0xFFFF_8880_0000_0000, True: 0xFF11_0000_0000_0000}
VMALLOC = {False: 0xFFFF_C900_0000_0000, True: 0xFFA0_0000_0000_0000}
HEAP_GPA = 0x0200_0000
HEAP_BYTES = 256 << 10
BUILD_ID = bytes(range(0x40, 0x54))
RELEASE = "6.66.0-fake-amd64"
BANNER = f"Linux version {RELEASE} (vmon@tests) (gcc) #1 SMP Fake 6.66.0-1".encode()
BOOT_NS = 1_700_000_000_123_456_789

# Where things lie in the image, from __start_rodata.
AT = {
    "__start_rodata": 0,
    "linux_banner": 0xE0,
    "__start_notes": 0x800,
    "__start_BTF": 0x1000,
    "init_task": 0x9000,
    "phys_base": 0xE000,
    "page_offset_base": 0xE008,
    "vmalloc_base": 0xE010,
    "vmemmap_base": 0xE018,
    "jiffies_64": 0xE020,
    "real_mode_header": 0xE070,
    "e820_table": 0xE078,
    "__num_online_cpus": 0xE028,
    "_totalram_pages": 0xE030,
    "modules": 0xE038,
    "saved_command_line": 0xE048,
    "nr_cpu_ids": 0xE050,
    "__per_cpu_offset": 0xE058,
    "special_mapping_vmops": 0xE080,
    "__default_kernel_pte_mask": 0xE090,
    "current_task": 0xE0A0,
    "d_ops": 0xE100,
    "d_ops_named": 0xE200,
    "timekeeper": 0xE300,
    "init_uts_ns": 0xE400,
    "init_top_pgt": 0x10000,
    "tables": 0x12000,
    "pages": 0x20000,
    "kallsyms": 0x24000,
}
TABLE_PAGES = 14

# The kernel's text and its functions, from TEXT_GVA on; the rest of the two MiB before rodata is no RAM.
CODE_BYTES = 64 << 10
LOW_BYTES = 640 << 10
TRAMPOLINE_GPA, TRAMPOLINE_BYTES = 0x98000, 0x6264
RESERVED_BIT = 13
STACK_BYTES = 16 << 10
VMEMMAP = {False: 0xFFFF_EA00_0000_0000, True: 0xFFD4_0000_0000_0000}

WATCHED = [name for name in HOOK_WANTS.symbols if not name.startswith(("_stext", "_etext", "__ksymtab_"))]
ONLY_NEW = {"security_file_truncate"}
EXPORTED = {"security_path_unlink", "security_kernel_read_file"}

NO_SYMBOLS = ("timekeeper", "tables", "pages", "kallsyms", "d_ops")

COMMON = {
    "list_head": "next:p prev:p",
    "kuid": "val:u32",
    "thread_struct": "tls:u64*3 sp:u64",
    "atomic": "counter:u32",
    "path": "mnt:p dentry:p",
    "seccomp": "mode:s32 filter:p",
    "sched_entity": "load:u64*2 sum_exec_runtime:u64",
    "prev_cputime": "utime:u64 stime:u64",
    "ns_common": "stashed:p ops:p inum:u32",
    "proc_ns_operations": "name:p",
    "signal_struct": "sigcnt:u32 nr_threads:s32 thread_head:list_head pids:p*4 tty:p utime:u64 stime:u64 "
    "sum_sched_runtime:u64 prev_cputime:prev_cputime",
    "cred": "usage:u64 uid:kuid gid:kuid suid:kuid sgid:kuid euid:kuid egid:kuid fsuid:kuid fsgid:kuid "
    "securebits:u32 cap_inheritable:u64 cap_permitted:u64 cap_effective:u64 cap_bset:u64 cap_ambient:u64 "
    "user_ns:p group_info:p",
    "group_info": "usage:atomic ngroups:s32 gid:kuid*0",
    "mount": "mnt_hash:p*2 mnt_parent:p mnt_mountpoint:p mnt:vfsmount mnt_ns:p mnt_id:s32",
    "dentry_operations": "d_revalidate:p d_dname:p",
    "super_block": "s_list:list_head s_dev:u32 s_type:p s_id:char*32",
    "file_system_type": "name:p flags:s32",
    "inode": "i_mode:u16 i_sb:p i_ino:u64 i_size:s64 i_private:p",
    "fs_struct": "users:s32 root:path pwd:path",
    "files_struct": "count:atomic fdt:p",
    "fdtable": "max_fds:u32 fd:p close_on_exec:p open_fds:p",
    "in6_addr": "bytes:u8*16",
    "addr4": "skc_daddr:u32 skc_rcv_saddr:u32",
    "port2": "skc_dport:u16 skc_num:u16",
    "sock_common": ":addr4 hash:u32 :port2 skc_family:u16 skc_state:u8 skc_v6_daddr:in6_addr "
    "skc_v6_rcv_saddr:in6_addr",
    "sock": "__sk_common:sock_common pad:u64*4 sk_type:u16 sk_protocol:u16",
    "socket": "state:s32 type:u16 flags:u64 file:p sk:p",
    "unix_sock": "sk:sock addr:p path:path peer:p",
    "unix_address": "refcnt:u32 len:s32 name:u16*0",
    "netlink_sock": "sk:sock portid:u32",
    "nsproxy": "count:atomic uts_ns:p ipc_ns:p mnt_ns:p net_ns:p cgroup_ns:p",
    "new_utsname": "sysname:char*65 nodename:char*65 release:char*65 version:char*65 machine:char*65 "
    "domainname:char*65",
    "uts_namespace": "name:new_utsname user_ns:p ns:ns_common",
    **dict.fromkeys(
        ("ipc_namespace", "mnt_namespace", "net", "cgroup_namespace", "pid_namespace", "user_namespace"),
        "count:u64 ns:ns_common",
    ),
    "upid": "nr:s32 ns:p",
    "pid": "count:u32 level:u32 numbers:upid*0",
    "css_set": "subsys:p*4 dfl_cgrp:p",
    "cgroup": "self:p*3 kn:p",
    "tty_struct": "index:s32 driver:p name:char*64",
    "tty_driver": "type:u16 subtype:u16",
    "timekeeper": "tkr:u64*8 xtime_sec:u64 offs_real:s64 offs_boot:s64",
    "anon_vma_name": "kref:u32 name:char*0",
    "vm_special_mapping": "name:p pages:p",
    "maple_range_64": "parent:p pivot:u64*15 slot:p*16",
    "maple_arange_64": "parent:p pivot:u64*9 slot:p*10 gap:u64*10 meta:u64",
    "maple_tree": "lock:u32 flags:u32 ma_root:p",
    "e820_entry": "addr:u64 size:u64 type:u32",
    "e820_table": "nr_entries:u32 rest:u32",
}
MM = (
    "mm_users:u32 map_count:s32 total_vm:u64 locked_vm:u64 data_vm:u64 exec_vm:u64 stack_vm:u64 start_code:u64 "
    "end_code:u64 start_brk:u64 brk:u64 start_stack:u64 arg_start:u64 arg_end:u64 env_start:u64 env_end:u64 "
    "exe_file:p task_size:u64"
)
VMA = "vm_mm:p vm_page_prot:u64 vm_flags:u64 vm_pgoff:u64 vm_ops:p vm_file:p vm_private_data:p anon_name:p"
NEW = {
    "memdesc_flags": "f:u64",
    "page": "flags:memdesc_flags rest:u64*7",
    "vfsmount": "mnt_root:p mnt_sb:p",
    "thread_info": "flags:u64 status:u32 cpu:u32",
    "percpu_counter": "lock:u32 count:s64 list:list_head counters:p",
    "task_struct": "thread_info:thread_info __state:u32 stack:p flags:u32 static_prio:s32 se:sched_entity "
    "tasks:list_head mm:p active_mm:p exit_state:s32 pid:s32 tgid:s32 real_parent:p group_leader:p thread_pid:p "
    "thread_node:list_head utime:u64 stime:u64 start_time:u64 start_boottime:u64 real_cred:p cred:p comm:char*16 "
    "fs:p files:p nsproxy:p signal:p seccomp:seccomp pad:u64*200 cgroups:p atomic_flags:u64 "
    "stack_canary:u64 thread:thread_struct",
    "mm_struct": f"mm_mt:maple_tree pgd:p {MM} rss_stat:percpu_counter*4",
    "kernfs_node": "count:u64 __parent:p name:p id:u64",
    "qstr_union": "hash:u32 len:u32 name:p",
    "d_hash": "next:p pprev:p",
    "dentry": "d_flags:u32 d_hash:d_hash d_parent:p :d_name_holder d_inode:p d_shortname:char*40 d_op:p",
    "file": "f_lock:u32 f_mode:u32 f_op:p private_data:p f_inode:p f_flags:u32 f_pos:s64 :f_paths",
    "vm_area_struct": f"vm_start:u64 vm_end:u64 {VMA}",
}
OLD = {
    "page": "flags:u64 rest:u64*7",
    "vfsmount": "mnt_root:p mnt_sb:p",
    "thread_info": "flags:u64 status:u32",
    "percpu_counter": "lock:u32 count:s64 list:list_head counters:p",
    "mm_rss_stat": "count:s64*4",
    "task_rss_stat": "events:s32 count:s32*4",
    "task_struct": "thread_info:thread_info state:s64 stack:p flags:u32 cpu:u32 static_prio:s32 se:sched_entity "
    "tasks:list_head mm:p active_mm:p rss_stat:task_rss_stat exit_state:s32 atomic_flags:u64 pid:s32 tgid:s32 "
    "real_parent:p group_leader:p thread_pid:p thread_node:list_head utime:u64 stime:u64 start_time:u64 "
    "start_boottime:u64 real_cred:p cred:p comm:char*16 fs:p files:p nsproxy:p signal:p seccomp:seccomp cgroups:p "
    "stack_canary:u64 thread:thread_struct",
    "mm_struct": f"mmap:p pgd:p {MM} rss_stat:mm_rss_stat",
    "kernfs_node": "count:u64 parent:p name:p id:u64",
    "qstr": "hash:u32 len:u32 name:p",
    "d_hash": "next:p pprev:p",
    "dentry": "d_flags:u32 d_hash:d_hash d_parent:p d_name:qstr d_inode:p d_iname:char*32 d_op:p",
    "file": "f_path:path f_inode:p f_op:p f_flags:u32 f_mode:u32 f_pos:s64 private_data:p",
    "vm_area_struct": f"vm_start:u64 vm_end:u64 vm_next:p vm_prev:p {VMA}",
}
UNIONS = {"d_name_holder": "__d_name:qstr_union d_name:qstr_union", "f_paths": "f_path:path __f_path:path"}
LIST_FIELDS = {"tasks", "thread_node", "thread_head"}


@cache
def btf_blob(model: str) -> bytes:
    made = CModel()
    rest = {**COMMON, **(NEW if model == "new" else OLD)}
    words = UNIONS if model == "new" else {}
    while rest:
        for name, fields in list(rest.items()):
            needs = {word.partition(":")[2].partition("*")[0] for word in fields.split()}
            if needs & ((rest.keys() | words.keys()) - made.known()):
                continue
            made.declare(name, fields)
            del rest[name]
            for union in [
                u for u, f in words.items() if {w.split(":")[1] for w in f.split()} <= made.known()
            ]:
                if union not in made.known():
                    made.declare(union, words[union], union=True)
    made.btf.enum(
        "pid_type",
        {"PIDTYPE_PID": 0, "PIDTYPE_TGID": 1, "PIDTYPE_PGID": 2, "PIDTYPE_SID": 3, "PIDTYPE_MAX": 4},
    )
    made.btf.enum("pageflags", {"PG_locked": 0, "PG_reserved": RESERVED_BIT, "__NR_PAGEFLAGS": 24})
    return made.btf.blob()


def function_offset(name: str) -> int:
    """Where a watched function lies in the text; behind it, its caller."""
    return 0x1000 + 0x100 * WATCHED.index(name)


def code_of(model: str) -> bytearray:
    """The kernel's text: each watched function with an entry nop, and one caller of it."""
    code = bytearray(b"\x90" * CODE_BYTES)
    pad, nop = (b"\xf3\x0f\x1e\xfa", "0f1f440000") if model == "new" else (b"", "6666666690")
    for name in WATCHED:
        at = function_offset(name)
        body = pad + bytes.fromhex(nop) + b"\x31\xc0\xc3"
        code[at : at + len(body)] = body
        place = at + 0xA0
        code[place : place + 5] = b"\xe8" + (at - place - 5).to_bytes(4, "little", signed=True)
    return code


def level2_table() -> int:
    """Where the table of 2 MiB pages lies that maps the image, from rodata."""
    return AT["tables"] + 2 * 4096


def symbols_of(model: str) -> dict[str, int]:
    """Symbols from __start_rodata."""
    blob = btf_blob(model)
    clock = "timekeeper_data" if model == "new" else "tk_core"
    return {
        "_text": -(2 << 20),
        "_end": 0x8_0000,
        "__stop_notes": AT["__start_notes"] + len(note(b"GNU\0", 3, BUILD_ID)),
        "__stop_BTF": AT["__start_BTF"] + len(blob),
        clock: AT["timekeeper"],
        **{name: at for name, at in AT.items() if name not in NO_SYMBOLS},
        "level2_kernel_pgt": level2_table(),
        "init_stack": 0x6_0000,
        "__end_init_stack" if model == "new" else "__end_init_task": 0x6_0000 + STACK_BYTES,
        "real_mode_blob": 0x7_0000,
        "real_mode_blob_end": 0x7_0000 + TRAMPOLINE_BYTES,
        "_stext": -(2 << 20),
        "_etext": -(2 << 20) + CODE_BYTES,
        **{
            name: function_offset(name) - (2 << 20)
            for name in WATCHED
            if model == "new" or name not in ONLY_NEW
        },
        **{f"__ksymtab_{name}": 0xE200 for name in EXPORTED},
    }


@cache
def image_of(model: str, la57: bool) -> bytes:
    """The image from rodata on, as it lies in RAM."""
    blob, symbols = btf_blob(model), symbols_of(model)
    assert AT["__start_BTF"] + len(blob) <= AT["init_task"]
    named = sorted((RODATA_GVA + at, "D" + name) for name, at in symbols.items())
    table_symbols = filler_symbols(4400, TEXT_GVA)
    table_symbols[100:100] = [(name, address) for address, name in named]
    layout = LAYOUTS[4] if model == "new" else LAYOUTS[0]
    table, _ = kallsyms(table_symbols, layout, AT["kallsyms"], RODATA_GVA)
    image = bytearray(AT["kallsyms"] + len(table) + 4096 & ~0xFFF)
    image[AT["kallsyms"] : AT["kallsyms"] + len(table)] = table

    def put(name: str, data: bytes) -> None:
        image[AT[name] : AT[name] + len(data)] = data

    put("linux_banner", BANNER + b"\n\0")
    put("__start_notes", note(b"GNU\0", 3, BUILD_ID))
    put("__start_BTF", blob)
    put("phys_base", struct.pack("<q", TEXT_GPA + 0xFFFF_FFFF_8000_0000 - TEXT_GVA))
    put("page_offset_base", struct.pack("<Q", PAGE_OFFSET[la57]))
    put("vmalloc_base", struct.pack("<Q", VMALLOC[la57]))
    put("vmemmap_base", struct.pack("<Q", VMEMMAP[la57]))
    put("real_mode_header", struct.pack("<Q", PAGE_OFFSET[la57] + TRAMPOLINE_GPA))
    put("pages", (struct.pack("<Q", 1 << RESERVED_BIT) + bytes(56)) * 256)
    put("jiffies_64", struct.pack("<Q", 4_294_900_000))
    put("__num_online_cpus", struct.pack("<I", 2))
    put("_totalram_pages", struct.pack("<Q", 123_456))
    put("modules", struct.pack("<Q", RODATA_GVA + AT["modules"]) * 2)
    put("nr_cpu_ids", struct.pack("<I", 2))
    put("__per_cpu_offset", struct.pack("<2Q", 0, 64))
    # With four levels one page stays unused, so that level2_kernel_pgt is at the same place.
    first = RODATA_GPA + AT["tables"] + (0 if la57 else 4096)
    pages = iter(range(first, RODATA_GPA + AT["tables"] + TABLE_PAGES * 4096, 4096))

    def peek(gpa: int) -> int:
        return int.from_bytes(image[gpa - RODATA_GPA : gpa - RODATA_GPA + 8], "little")

    def poke(gpa: int, value: int) -> None:
        image[gpa - RODATA_GPA : gpa - RODATA_GPA + 8] = value.to_bytes(8, "little")

    tables = PageTables(RODATA_GPA + AT["init_top_pgt"], la57, peek, poke, lambda: next(pages))
    tables.map(TEXT_GVA, TEXT_GPA, 2 << 20, 0)
    tables.map(RODATA_GVA, RODATA_GPA, 2 << 20, WRITABLE)
    tables.map(PAGE_OFFSET[la57], 0, 1 << 30, WRITABLE)
    for page in range(4):
        tables.map(VMEMMAP[la57] + page * 4096, RODATA_GPA + AT["pages"] + page * 4096, 4096, WRITABLE)
    # Two vmalloc pages that are neighbours by address and not in RAM: the heap's second page, then its first.
    tables.map(VMALLOC[la57], HEAP_GPA + 4096, 4096, WRITABLE)
    tables.map(VMALLOC[la57] + 4096, HEAP_GPA, 4096, WRITABLE)
    return bytes(image)


@cache
def profile_of(model: str) -> KernelProfile:
    """What identify() would learn, without the search."""
    btf = Btf(btf_blob(model))
    wants = BASE_WANTS | WANTS
    structs, missing = resolve_structs(btf, wants)
    enums, _ = resolve_enums(btf, wants)
    symbols = symbols_of(model)
    return KernelProfile(
        build_id=BUILD_ID.hex(),
        build_id_offset=AT["__start_notes"] + 16,
        banner=BANNER.decode(),
        release=RELEASE,
        rodata_offset=-symbols["_text"],
        symbols={name: at - symbols["_text"] for name, at in symbols.items()},
        absolute={},
        structs=structs,
        enums=enums,
        missing=tuple(missing),
        symbol_count=4400,
        type_count=len(btf),
        proof_spans=(),
        proof=hashlib.sha256(b"").hexdigest(),
        sources={"symbols": "kallsyms", "structs": "btf"},
    )


def registers(la57: bool = False, cr3: int = RODATA_GPA + AT["init_top_pgt"]) -> Registers:
    """A CPU in this kernel."""
    return Registers(0, cr3, 0x1000 if la57 else 0, 0x500, TEXT_GVA, 0)


@dataclass
class Process:
    """What `Guest.process` made."""

    pid: int
    task: int
    signal: int
    mm: int
    leader_pid: int
    pgd_gpa: int = 0
    threads: list[int] = field(default_factory=list)


class Guest:
    """RAM with the image and a heap. `new` places an object, `set` and `get` change one."""

    def __init__(self, model: str = "new", la57: bool = False, *, code: bool = False) -> None:
        """With `code`, the text and the memory below 640 KiB are there too."""
        self.model = model
        self.la57 = la57
        self.profile = profile_of(model)
        self.image = bytearray(image_of(model, la57))
        self.heap = bytearray(HEAP_BYTES)
        self.code = code_of(model) if code else bytearray()
        self.low = bytearray(LOW_BYTES) if code else bytearray()
        self.used = 0x2000  # the first two pages are what vmalloc maps
        self.page_offset = PAGE_OFFSET[la57]
        self.init_task = RODATA_GVA + AT["init_task"]
        self.processes: dict[int, Process] = {}
        self._strings: dict[bytes, int] = {}
        self._list_tail = self.init_task
        self._start_up()

    # Memory

    def gpa(self, gva: int) -> int:
        if gva >= TEXT_GVA:
            return gva - TEXT_GVA + TEXT_GPA
        return gva - self.page_offset

    def gva(self, gpa: int) -> int:
        return self.page_offset + gpa

    def _place(self, gpa: int) -> tuple[bytearray, int]:
        if HEAP_GPA <= gpa < HEAP_GPA + HEAP_BYTES:
            return self.heap, gpa - HEAP_GPA
        if gpa < len(self.low):
            return self.low, gpa
        if gpa < RODATA_GPA:
            return self.code, gpa - TEXT_GPA
        return self.image, gpa - RODATA_GPA

    def write(self, gva: int, data: bytes) -> None:
        self.write_phys(self.gpa(gva), data)

    def write_phys(self, gpa: int, data: bytes) -> None:
        memory, at = self._place(gpa)
        assert at >= 0 and at + len(data) <= len(memory)
        memory[at : at + len(data)] = data

    def u64(self, gva: int) -> int:
        memory, at = self._place(self.gpa(gva))
        return int.from_bytes(memory[at : at + 8], "little")

    def put64(self, gva: int, value: int) -> None:
        self.write(gva, (value & (1 << 64) - 1).to_bytes(8, "little"))

    def alloc(self, size: int, align: int = 16) -> int:
        """Zeroed heap memory, by its address in the direct map."""
        self.used += -self.used % align
        at = self.used
        self.used += size
        assert self.used <= HEAP_BYTES, "the fake heap is full"
        return self.gva(HEAP_GPA + at)

    def data(self, data: bytes, align: int = 8) -> int:
        gva = self.alloc(max(len(data), 1), align)
        self.write(gva, data)
        return gva

    def string(self, text: bytes) -> int:
        if text not in self._strings:
            self._strings[text] = self.data(text + b"\0", 1)
        return self._strings[text]

    # Objects

    def size(self, struct_name: str) -> int:
        return self.profile[struct_name].size

    def at(self, gva: int, struct_name: str, name: str) -> int:
        """Address of a field."""
        return gva + self.profile[struct_name].offset(name)

    def set(self, gva: int, struct_name: str, values: dict[str, Any]) -> None:
        for name, value in values.items():
            layout = self.profile[struct_name].fields.get(name)
            if layout is None:
                raise KeyError(f"{struct_name}.{name} in model {self.model}")
            if isinstance(value, int):
                value = (value & ((1 << 8 * layout.size) - 1)).to_bytes(layout.size, "little")
            assert len(value) <= max(layout.size, 0) or layout.size == 0, name
            self.write(gva + layout.offset, value)

    def get(self, gva: int, struct_name: str, name: str) -> int:
        layout = self.profile[struct_name][name]
        memory, at = self._place(self.gpa(gva + layout.offset))
        return int.from_bytes(memory[at : at + layout.size], "little")

    def new(
        self, struct_name: str, values: dict[str, Any] | None = None, extra: int = 0, align: int = 64
    ) -> int:
        gva = self.alloc(self.size(struct_name) + extra, align)
        self.set(gva, struct_name, values or {})
        return gva

    # The scene

    def _start_up(self) -> None:
        new = self.model == "new"
        self.state_field = "__state"
        clock = RODATA_GVA + AT["timekeeper"] + 8
        self.set(clock, "timekeeper", {"offs_real": BOOT_NS + 5_000, "offs_boot": 5_000})
        uts = RODATA_GVA + AT["init_uts_ns"]
        names = {
            "sysname": b"Linux",
            "nodename": b"fake\xff",
            "release": RELEASE.encode(),
            "machine": b"x86_64",
        }
        self.set(uts, "uts_namespace", {f"name.{name}": text for name, text in names.items()})
        self.set(uts, "uts_namespace", {"ns.inum": 0xEFFF_FFFE})
        self.put64(RODATA_GVA + AT["saved_command_line"], self.string(b"quiet console=ttyS0"))
        self.plain_ops = RODATA_GVA + AT["d_ops"]
        self.named_ops = RODATA_GVA + AT["d_ops_named"]
        self.set(self.named_ops, "dentry_operations", {"d_dname": TEXT_GVA + 0x100})
        stretches = ((0, 0x1000, 2), (0x1000, 0x9EC00, 1), (0x9FC00, 0x400, 2), (1 << 20, 64 << 20, 1))
        stride = self.size("e820_entry")
        entries = b"".join(struct.pack("<QQI", *words).ljust(stride, b"\0") for words in stretches)
        e820 = self.data(struct.pack("<I", len(stretches)) + entries)
        self.put64(RODATA_GVA + AT["e820_table"], e820)
        self.user_ns = self.new("user_namespace", {"ns.inum": 4026531837})
        self.pid_ns = self.new("pid_namespace", {"ns.inum": 4026531836})
        self.nsproxy = self.new(
            "nsproxy",
            {
                "uts_ns": uts,
                "ipc_ns": self.new("ipc_namespace", {"ns.inum": 4026531839}),
                "mnt_ns": self.new("mnt_namespace", {"ns.inum": 4026531840}),
                "net_ns": self.new("net", {"ns.inum": 4026531992}),
                "cgroup_ns": self.new("cgroup_namespace", {"ns.inum": 4026531835}),
            },
        )
        self.superblocks: dict[str, int] = {}
        self.root_dentry = self.dentry(b"/", 0, self.inode(0o40755, 2))
        self.root_mount = self.mount(0, 0, self.root_dentry)
        self.root_cgroup = self.kernfs(b"", 0)
        init = self.init_task
        tasks = self.at(init, "task_struct", "tasks")
        self.put64(tasks, tasks)
        self.put64(tasks + 8, tasks)
        self.set(init, "task_struct", {"comm": b"swapper/0", "group_leader": init, "real_parent": init})
        self.new_model = new

    def inode(self, mode: int, number: int, filesystem: str = "ext4", **values: int) -> int:
        return self.new(
            "inode",
            {"i_mode": mode, "i_ino": number, "i_sb": self.superblock(filesystem), **values},
        )

    def superblock(self, filesystem: str) -> int:
        if filesystem not in self.superblocks:
            kind = self.new("file_system_type", {"name": self.string(filesystem.encode())})
            device = 8 << 20 | 1 if filesystem == "ext4" else 20 + len(self.superblocks)
            self.superblocks[filesystem] = self.new("super_block", {"s_dev": device, "s_type": kind})
        return self.superblocks[filesystem]

    def dentry(
        self, name: bytes, parent: int, inode: int = 0, *, unhashed: bool = False, named: bool = False
    ) -> int:
        width = self.profile["dentry"]["d_shortname"].size
        gva = self.new("dentry", {"d_inode": inode, "d_name.len": len(name)})
        short = self.at(gva, "dentry", "d_shortname")
        if len(name) < width:
            self.write(short, name)
        place = short if len(name) < width else self.string(name)
        self.set(
            gva,
            "dentry",
            {
                "d_parent": parent or gva,
                "d_name.name": place,
                "d_hash.pprev": 0 if unhashed else gva,
                "d_op": self.named_ops if named else self.plain_ops,
            },
        )
        return gva

    def mount(self, parent_vfsmount: int, mountpoint: int, root: int) -> int:
        """Gives the vfsmount, which is what paths point to."""
        gva = self.new("mount", {"mnt_mountpoint": mountpoint, "mnt.mnt_root": root})
        inner = self.profile["mount"].offset("mnt")
        self.set(gva, "mount", {"mnt_parent": parent_vfsmount - inner if parent_vfsmount else gva})
        return gva + inner

    def path(self, *names: bytes, inode: int = 0, deleted: bool = False, start: int = 0) -> int:
        """A dentry for /names on the root mount; the last gets the inode."""
        at = start or self.root_dentry
        for number, name in enumerate(names):
            last = number == len(names) - 1
            at = self.dentry(
                name, at, inode or self.inode(0o100644, 77) if last else 0, unhashed=last and deleted
            )
        return at

    def file(self, dentry: int, mount: int | None = None, **values: int) -> int:
        gva = self.new("file", {"f_path.dentry": dentry, "f_path.mnt": mount or self.root_mount})
        self.set(gva, "file", {"f_inode": self.get(dentry, "dentry", "d_inode"), **values})
        return gva

    def special_file(self, filesystem: str, name: bytes, mode: int, number: int, **values: int) -> int:
        """A file of a file system without a place in the tree: pipefs, sockfs, anon_inodefs."""
        dentry = self.dentry(name, 0, self.inode(mode, number, filesystem), named=True)
        mount = self.mount(0, 0, self.dentry(b"/", 0))
        return self.file(dentry, mount, **values)

    def kernfs(self, name: bytes, parent: int) -> int:
        return self.new("kernfs_node", {"name": self.string(name), "__parent": parent})

    def cgroup(self, *names: bytes) -> int:
        """A css_set in the cgroup /names."""
        node = self.root_cgroup
        for name in names:
            node = self.kernfs(name, node)
        return self.new("css_set", {"dfl_cgrp": self.new("cgroup", {"kn": node})})

    def struct_pid(self, *numbers: tuple[int, int]) -> int:
        """A struct pid with a number in each namespace, outermost first."""
        stride, base = self.size("upid"), self.profile["pid"].offset("numbers")
        gva = self.new("pid", {"level": len(numbers) - 1}, extra=stride * len(numbers))
        for level, (number, namespace) in enumerate(numbers):
            self.set(gva + base + level * stride, "upid", {"nr": number, "ns": namespace})
        return gva

    def cred(self, uid: int = 0, gid: int = 0, groups: Sequence[int] = (), **values: int) -> int:
        info = self.new("group_info", {"ngroups": len(groups)}, extra=4 * len(groups))
        self.write(self.at(info, "group_info", "gid"), struct.pack(f"<{len(groups)}I", *groups))
        ids = dict.fromkeys(("uid", "euid", "suid", "fsuid"), uid)
        ids |= dict.fromkeys(("gid", "egid", "sgid", "fsgid"), gid)
        return self.new("cred", {**ids, "user_ns": self.user_ns, "group_info": info, **values})

    def fdtable(self, files: dict[int, int], cloexec: Sequence[int] = (), size: int = 64) -> int:
        """A files_struct."""
        slots = self.alloc(8 * size)
        opened, shut = bytearray(size // 8), bytearray(size // 8)
        for fd, file in files.items():
            self.put64(slots + 8 * fd, file)
            opened[fd // 8] |= 1 << fd % 8
            if fd in cloexec:
                shut[fd // 8] |= 1 << fd % 8
        table = self.new(
            "fdtable",
            {"max_fds": size, "fd": slots, "open_fds": self.data(opened), "close_on_exec": self.data(shut)},
        )
        return self.new("files_struct", {"fdt": table})

    def user_tables(self) -> PageTables:
        root = self.alloc(4096, 4096)
        return PageTables(
            self.gpa(root),
            self.la57,
            lambda gpa: self.u64(self.gva(gpa)),
            lambda gpa, value: self.put64(self.gva(gpa), value),
            lambda: self.gpa(self.alloc(4096, 4096)),
        )

    def mm(
        self,
        args: bytes = b"",
        env: bytes = b"",
        exe: int = 0,
        rss: Sequence[int] = (3, 5, 0, 2),
        **values: int,
    ) -> int:
        """An mm whose arguments and environment lie in one mapped page at 0x7ffd_0000_0000 + 0xE00."""
        tables = self.user_tables()
        text = args + env
        start = 0x7FFD_0000_0E00
        pages = -(-(0xE00 + len(text)) // 4096)
        for number in range(pages):
            page = self.alloc(4096, 4096)
            tables.map(start & ~0xFFF | number << 12, self.gpa(page))
            low = max(0, number * 4096 - 0xE00)
            inside = 0xE00 if number == 0 else 0
            self.write(page + inside, text[low : low + 4096 - inside])
        gva = self.new(
            "mm_struct",
            {
                "pgd": self.gva(tables.root),
                "arg_start": start,
                "arg_end": start + len(args),
                "env_start": start + len(args),
                "env_end": start + len(text),
                "exe_file": exe,
                "total_vm": 100,
                "start_brk": 0x5000_0000,
                "brk": 0x5002_1000,
                "start_stack": 0x7FFD_0000_0D00,
                **values,
            },
        )
        if self.model == "old":
            self.write(self.at(gva, "mm_struct", "rss_stat.count"), struct.pack("<4q", *rss))
        else:
            base = self.at(gva, "mm_struct", "rss_stat")
            for number, pages_count in enumerate(rss):
                parts = self.data(struct.pack("<i", 7).ljust(64, b"\0") + struct.pack("<i", -4))
                # One unit lies in each CPU's part: 7 on the first, -4 on the second.
                self.set(
                    base + number * self.size("percpu_counter"),
                    "percpu_counter",
                    {"count": pages_count - 3, "counters": parts},
                )
        return gva

    def process(self, pid: int, comm: bytes, mm: int = 0, threads: int = 1, **values: Any) -> Process:
        """A thread-group leader at the end of the list, with what a process must have."""
        parent = values.pop("parent", 0)
        ns_pids = values.pop("ns_pids", [(pid, self.pid_ns)])
        signal_values = values.pop("signal_values", {})
        struct_pid = self.struct_pid(*ns_pids)
        signal = self.new("signal_struct", {"nr_threads": threads, **signal_values})
        self.write(
            self.at(signal, "signal_struct", "pids"),
            struct.pack("<4Q", struct_pid, struct_pid, struct_pid, struct_pid),
        )
        task = self.new("task_struct")
        self.set(
            task,
            "task_struct",
            {
                "pid": pid,
                "tgid": pid,
                "comm": comm,
                "mm": mm,
                "real_parent": self.processes[parent].task if parent else self.init_task,
                "group_leader": task,
                "thread_pid": struct_pid,
                "signal": signal,
                "__state": 1,
                "static_prio": 120,
                "start_boottime": 1_000_000 * pid,
                "nsproxy": self.nsproxy,
                **values,
            },
        )
        if not values.get("real_cred"):
            cred = self.cred()
            self.set(task, "task_struct", {"real_cred": cred, "cred": cred})
        if not values.get("cgroups"):
            self.set(task, "task_struct", {"cgroups": self.cgroup()})
        self._link(task)
        made = Process(pid, task, signal, mm, pid)
        head = self.at(signal, "signal_struct", "thread_head")
        node = self.at(task, "task_struct", "thread_node")
        self._ring(head, node)
        for number in range(1, threads):
            other = self.new("task_struct")
            self.set(
                other,
                "task_struct",
                {"pid": pid + number, "tgid": pid, "comm": comm[:12] + b"-%d" % number, "group_leader": task},
            )
            self.set(other, "task_struct", {"signal": signal, "mm": mm, "utime": 1000 * number, "__state": 1})
            self._ring(head, self.at(other, "task_struct", "thread_node"))
            made.threads.append(other)
        self.processes[pid] = made
        return made

    def _link(self, task: int) -> None:
        self._ring(self.at(self.init_task, "task_struct", "tasks"), self.at(task, "task_struct", "tasks"))

    def _ring(self, head: int, node: int) -> None:
        """list_add_tail."""
        first, last = self.u64(head), self.u64(head + 8)
        if not first:
            first = last = head
        self.put64(node, head)
        self.put64(node + 8, last)
        self.put64(last, node)
        self.put64(head + 8, node)

    def areas(self, mm: int, areas: Sequence[dict[str, int]]) -> list[int]:
        """Give an mm its memory areas, in address order: a list or a maple tree of two levels."""
        made = [self.new("vm_area_struct", {"vm_mm": mm, **area}) for area in areas]
        if self.model == "old":
            for gva, after in zip(made, [*made[1:], 0], strict=True):
                self.set(gva, "vm_area_struct", {"vm_next": after})
            self.set(mm, "mm_struct", {"mmap": made[0] if made else 0})
            return made
        half = max(1, len(made) // 2)
        middle = areas[half - 1]["vm_end"] - 1
        leaves = [self.leaf(made[:half], areas[:half], middle), self.leaf(made[half:], areas[half:], 0)]
        root = self.new("maple_arange_64", align=256)
        self.write(self.at(root, "maple_arange_64", "pivot"), struct.pack("<Q", middle))
        self.write(self.at(root, "maple_arange_64", "slot"), struct.pack("<2Q", *leaves))
        self.set(mm, "mm_struct", {"mm_mt.ma_root": root | 3 << 3 | 2})
        return made

    def leaf(self, gvas: Sequence[int], areas: Sequence[dict[str, int]], end: int) -> int:
        """An encoded maple leaf: holes are null slots."""
        pivots: list[int] = []
        slots: list[int] = []
        at = None
        for gva, area in zip(gvas, areas, strict=True):
            if at is None or area["vm_start"] > at:
                pivots.append(area["vm_start"] - 1)
                slots.append(0)
            pivots.append(area["vm_end"] - 1)
            slots.append(gva)
            at = area["vm_end"]
        if end:
            pivots[-1] = end
        else:
            slots.append(0)
        node = self.new("maple_range_64", align=256)
        self.write(self.at(node, "maple_range_64", "pivot"), struct.pack(f"<{len(pivots)}Q", *pivots))
        self.write(self.at(node, "maple_range_64", "slot"), struct.pack(f"<{len(slots)}Q", *slots))
        return node | 1 << 3 | 4

    # Reading it

    def ram(self, **limits: int) -> BoundedRam:
        memory = {0: self.low, TEXT_GPA: self.code, RODATA_GPA: self.image, HEAP_GPA: self.heap}
        return BoundedRam({gpa: data for gpa, data in memory.items() if data}, **limits)

    def kernel(self, **limits: int) -> Kernel:
        ram = self.ram(**limits)
        bases = read_bases(ram, RODATA_GPA, self.profile, [])
        return Kernel(KernelMemory(ram, bases), self.profile)

    def words(self) -> Iterator[int]:
        """Places of all heap words that are not zero: what is worth damaging."""
        for at in range(0x2000, self.used & ~7, 8):
            if any(self.heap[at : at + 8]):
                yield at
