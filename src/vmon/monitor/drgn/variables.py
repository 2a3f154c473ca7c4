"""The kernel's global variables that tools ask for, with their types as the kernel's sources declare them.

BTF describes types and each CPU's own variables, and few kernels tell it the types of the others. Where a release
changed a declaration both are named, newest first: the first whose type this kernel has is taken. A test looks on every
kernel that no type is larger than the room before the next symbol.
"""

from __future__ import annotations

from vmon.kernel.profile import Wants

DECLARATIONS = """
# Processes and namespaces
init_task: struct task_struct
init_mm: struct mm_struct
init_fs: struct fs_struct
init_files: struct files_struct
init_cred: struct cred
init_nsproxy: struct nsproxy
init_pid_ns: struct pid_namespace
init_user_ns: struct user_namespace
init_uts_ns: struct uts_namespace
init_ipc_ns: struct ipc_namespace
init_cgroup_ns: struct cgroup_namespace
init_time_ns: struct time_namespace
init_css_set: struct css_set
init_struct_pid: struct pid
userspace_init_fs: struct fs_struct *
ipc_mni_shift: int
nr_threads: int
max_threads: int
total_forks: unsigned long
pid_max: int
tasklist_lock: rwlock_t
root_task_group: struct task_group
task_groups: struct list_head
task_state_array: const char * const [*]
avenrun: unsigned long [3]
uidhash_table: struct hlist_head []
cgrp_dfl_root: struct cgroup_root
cgroup_roots: struct list_head
cgroup_subsys: struct cgroup_subsys *[]
workqueues: struct list_head
kthread_create_list: struct list_head
# Each CPU's own, for kernels whose BTF leaves them out
runqueues: struct rq
current_task: struct task_struct *
cpu_number: int
cpu_info: struct cpuinfo_x86
cpu_tss_rw: struct tss_struct
gdt_page: struct gdt_page
kstat: struct kernel_stat
kernel_cpustat: struct kernel_cpustat
irq_stack_ptr: void *
hardirq_stack_ptr: struct irq_stack *|void *
exception_stacks: struct exception_stacks
cea_exception_stacks: struct cea_exception_stacks *
_cea_offset: unsigned long
timer_bases: struct timer_base []
hrtimer_bases: struct hrtimer_cpu_base
tick_cpu_device: struct tick_device
tick_cpu_sched: struct tick_sched
vm_event_states: struct vm_event_state
softnet_data: struct softnet_data
call_single_queue: struct llist_head
idle_threads: struct task_struct *
ksoftirqd: struct task_struct *
# The machine and the kernel as a whole
nr_cpu_ids: unsigned int
__per_cpu_offset: unsigned long []
cpu_bit_bitmap: typeof(struct cpumask.bits) [65]
__cpu_online_mask: struct cpumask
__cpu_possible_mask: struct cpumask
__cpu_present_mask: struct cpumask
__cpu_active_mask: struct cpumask
__num_online_cpus: atomic_t
boot_cpu_data: struct cpuinfo_x86
jiffies: volatile unsigned long
jiffies_64: u64
loops_per_jiffy: unsigned long
tk_core: struct tk_data|{seqcount_raw_spinlock_t|seqcount_t seq; struct timekeeper timekeeper}
timekeeper_data: struct tk_data []
system_state: enum system_states
saved_command_line: char *
boot_command_line: char []
linux_banner: const char []
linux_proc_banner: const char []
modprobe_path: char [256]
core_pattern: char [128]
tainted_mask: unsigned long
taint_flags: const struct taint_flag [*]
panic_on_oops: int
panic_timeout: int
oops_in_progress: int
sysctl_hung_task_timeout_secs: unsigned long
kptr_restrict: int
sysrq_enabled: int
prb: struct printk_ringbuffer *
console_drivers: struct console *
console_list: struct hlist_head
log_buf: char *
log_buf_len: u32
modules: struct list_head
mod_tree: struct mod_tree_root
btf_modules: struct list_head
module_kset: struct kset *
kernel_kobj: struct kobject *
sys_call_table: const sys_call_ptr_t []
idt_table: gate_desc [256]
kprobe_table: struct hlist_head [64]
ftrace_ops_list: struct ftrace_ops *
ftrace_events: struct list_head
tracepoint_srcu: struct srcu_struct
notifier_chain: struct notifier_block *
die_chain: struct atomic_notifier_head
panic_notifier_list: struct atomic_notifier_head
reboot_notifier_list: struct blocking_notifier_head
# Memory
page_offset_base: unsigned long
vmemmap_base: unsigned long
vmalloc_base: unsigned long
phys_base: unsigned long
__pgtable_l5_enabled: unsigned int
pgdir_shift: unsigned int
ptrs_per_p4d: unsigned int
init_top_pgt: pgd_t [512]
high_memory: void *
max_pfn: unsigned long
min_low_pfn: unsigned long
max_low_pfn: unsigned long
max_mapnr: unsigned long
_totalram_pages: atomic_long_t
totalreserve_pages: unsigned long
mem_section: struct mem_section **
__highest_present_section_nr: unsigned long
memblock: struct memblock
memory_subsys: struct bus_type
sections_per_block: int
node_data: struct pglist_data *[]
node_states: nodemask_t [NR_NODE_STATES]
nr_node_ids: unsigned int
nr_online_nodes: unsigned int
vm_node_stat: atomic_long_t [NR_VM_NODE_STAT_ITEMS]
vm_zone_stat: atomic_long_t [NR_VM_ZONE_STAT_ITEMS]
vm_numa_event: atomic_long_t [NR_VM_NUMA_EVENT_ITEMS]
vm_numa_stat: atomic_long_t [NR_VM_NUMA_STAT_ITEMS]
vm_committed_as: struct percpu_counter
sysctl_overcommit_memory: int
sysctl_overcommit_ratio: int
sysctl_overcommit_kbytes: unsigned long
total_swap_pages: long
nr_swap_pages: atomic_long_t
nr_swapfiles: unsigned int
swap_info: struct swap_info_struct *[]
swap_active_head: struct plist_head
nr_swapper_spaces: unsigned int []
swapper_spaces: struct address_space *[]
vmap_area_root: struct rb_root
vmap_area_list: struct list_head
vmap_nodes: struct vmap_node *
nr_vmap_nodes: unsigned int
vmap_zone_size: unsigned int
single: struct vmap_node
slab_caches: struct list_head
slab_kset: struct kset *
kmem_cache: struct kmem_cache *
task_struct_cachep: struct kmem_cache *
thread_stack_cache: struct kmem_cache *
mm_cachep: struct kmem_cache *
files_cachep: struct kmem_cache *
filp_cachep: struct kmem_cache *
names_cachep: struct kmem_cache *
dentry_cache: struct kmem_cache *
hstates: struct hstate []
hugetlb_max_hstate: int
default_hstate_idx: unsigned int
stack_pools: void *[]
stack_slabs: void *[]
iomem_resource: struct resource
ioport_resource: struct resource
# Files and devices
super_blocks: struct list_head
file_systems: struct file_system_type *
formats: struct list_head
dentry_hashtable: struct hlist_bl_head *
d_hash_shift: unsigned int
inode_hashtable: struct hlist_head *
mount_hashtable: struct hlist_head *
blockdev_superblock: struct super_block *
files_stat: struct files_stat_struct
dentry_stat: struct dentry_stat_t
inodes_stat: struct inodes_stat_t
ns_file_operations: const struct file_operations
sysfs_root_kn: struct kernfs_node *
bus_kset: struct kset *
class_kset: struct kset *
devices_kset: struct kset *
block_class: struct class
net_class: struct class
tty_class: struct class *
cdev_map: struct kobj_map *
chrdevs: struct char_device_struct *[255]
major_names: struct blk_major_name *[255]
tty_drivers: struct list_head
device_ktype: struct kobj_type
module_ktype: struct kobj_type
driver_ktype: struct kobj_type
class_ktype: struct kobj_type
bus_ktype: struct kobj_type
pci_bus_type: struct bus_type
pci_root_buses: struct list_head
platform_bus_type: struct bus_type
nr_irqs: unsigned int
total_nr_irqs: unsigned int
sparse_irqs: struct maple_tree
irq_desc_tree: struct xarray
btf_idr: struct idr
map_idr: struct idr
prog_idr: struct idr
link_idr: struct idr
crypto_alg_list: struct list_head
# Network
init_net: struct net
net_namespace_list: struct list_head
tcp_hashinfo: struct inet_hashinfo
udp_table: struct udp_table
raw_v4_hashinfo: struct raw_hashinfo
raw_v6_hashinfo: struct raw_hashinfo
unix_socket_table: struct hlist_head []
arp_tbl: struct neigh_table
nd_tbl: struct neigh_table
net_families: const struct net_proto_family *[]
ptype_base: struct list_head [16]
inet_stream_ops: const struct proto_ops
tcp_prot: struct proto
udp_prot: struct proto
tcp_memory_allocated: atomic_long_t
poll_spurious_irq_timer: struct timer_list
"""

VARIABLES: dict[str, str] = dict(
    line.split(": ", 1) for line in DECLARATIONS.splitlines() if line and not line.startswith("#")
)
"""Types by the names of variables; several, separated by |, newest first."""

UNWIND_MARKS = tuple(
    f"__{end}_orc_{part}" for part in ("unwind", "unwind_ip", "header") for end in ("start", "stop")
)
"""Symbols where the kernel's ORC tables, by which stacks are unwound, begin and end."""

WANTS = Wants(
    symbols=(*VARIABLES, *UNWIND_MARKS, "_sdata", "_edata"),
    structs={"btf_module": "list btf module", "btf": "data data_size start_id start_str_off"},
)
"""Their addresses are saved with the profile, so that most scripts need no symbol table."""
