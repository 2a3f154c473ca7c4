"""Runs every helper of drgn.helpers.linux on a guest and tells which work without debug information.

vmon drgn TARGET docs/drgn_helpers.py [--markdown]

Each helper is called for real, on objects of this very kernel, and what it gives is read to its end.
"""

import contextlib
import importlib
import io
import itertools
import pkgutil
import sys

import drgn
from drgn import Object, cast, container_of, sizeof
from drgn.helpers import linux

prog = drgn.get_default_prog()
MOST = 2000
"""Of what a helper lists, so many are read."""
CALLS = """
[bitmap]
bitmap_weight: bitmap_weight(cpu_online_mask(prog).bits, 64)
[bitops]
for_each_clear_bit: for_each_clear_bit(cpu_online_mask(prog).bits, 64)
for_each_set_bit: for_each_set_bit(cpu_online_mask(prog).bits, 64)
test_bit: test_bit(0, cpu_online_mask(prog).bits)
[block]
bdev_partno: bdev_partno(bdev)
blk_mq_rq_from_pdu: blk_mq_rq_from_pdu(blk_mq_rq_to_pdu(request))
blk_mq_rq_to_pdu: blk_mq_rq_to_pdu(request)
blk_rq_bytes: blk_rq_bytes(request)
blk_rq_pos: blk_rq_pos(request)
disk_devt: disk_devt(disk)
disk_name: disk_name(disk)
for_each_disk: for_each_disk(prog)
for_each_partition: for_each_partition(prog)
nr_blockdev_pages: nr_blockdev_pages(prog)
op_is_write: op_is_write(request.cmd_flags)
part_devt: part_devt(bdev)
part_name: part_name(bdev)
print_disks: print_disks(prog)
print_partitions: print_partitions(prog)
req_op: req_op(request)
request_queue_busy_iter: request_queue_busy_iter(disk.queue)
rq_data_dir: rq_data_dir(request)
[boot]
kaslr_offset: kaslr_offset(prog)
pgtable_l5_enabled: pgtable_l5_enabled(prog)
[bpf]
bpf_btf_for_each: bpf_btf_for_each(prog)
bpf_link_for_each: bpf_link_for_each(prog)
bpf_map_for_each: bpf_map_for_each(prog)
bpf_prog_for_each: bpf_prog_for_each(prog)
cgroup_bpf_prog_for_each: cgroup_bpf_prog_for_each(root_cgroup, 0)
cgroup_bpf_prog_for_each_effective: cgroup_bpf_prog_for_each_effective(root_cgroup, 0)
bpf_prog_used_maps: bpf_prog_used_maps(next(bpf_prog_for_each(prog)))
bpf_prog_by_id: bpf_prog_by_id(prog, 1)
bpf_map_by_id: bpf_map_by_id(prog, 1)
[cgroup]
cgroup_get_from_path: cgroup_get_from_path(prog, "/")
cgroup_name: cgroup_name(root_cgroup)
cgroup_parent: cgroup_parent(root_cgroup)
cgroup_path: cgroup_path(root_cgroup)
css_for_each_child: css_for_each_child(root_cgroup.self.address_of_())
css_for_each_descendant_pre: css_for_each_descendant_pre(root_cgroup.self.address_of_())
css_next_child: css_next_child(no_css, root_cgroup.self.address_of_())
css_next_descendant_pre: css_next_descendant_pre(no_css, root_cgroup.self.address_of_())
sock_cgroup_ptr: sock_cgroup_ptr(sock.sk_cgrp_data.address_of_())
[completion]
completion_done: completion_done(completion)
completion_for_each_task: completion_for_each_task(completion)
[cpumask]
cpu_online_mask: cpu_online_mask(prog)
cpu_possible_mask: cpu_possible_mask(prog)
cpu_present_mask: cpu_present_mask(prog)
cpumask_of: cpumask_of(prog, 0)
cpumask_to_cpulist: cpumask_to_cpulist(cpu_online_mask(prog))
cpumask_weight: cpumask_weight(cpu_online_mask(prog))
for_each_cpu: for_each_cpu(cpu_online_mask(prog))
for_each_online_cpu: for_each_online_cpu(prog)
for_each_possible_cpu: for_each_possible_cpu(prog)
for_each_present_cpu: for_each_present_cpu(prog)
num_online_cpus: num_online_cpus(prog)
num_possible_cpus: num_possible_cpus(prog)
num_present_cpus: num_present_cpus(prog)
[device]
MAJOR: MAJOR(Object(prog, "dev_t", 0x800001))
MINOR: MINOR(Object(prog, "dev_t", 0x800001))
MKDEV: MKDEV(Object(prog, "unsigned int", 8), Object(prog, "unsigned int", 1))
bus_for_each_dev: bus_for_each_dev(prog["pci_bus_type"].address_of_())
bus_to_subsys: bus_to_subsys(prog["pci_bus_type"].address_of_())
class_for_each_device: class_for_each_device(prog["block_class"].address_of_())
class_to_subsys: class_to_subsys(prog["block_class"].address_of_())
dev_name: dev_name(next(bus_for_each_dev(prog["pci_bus_type"].address_of_())))
for_each_registered_blkdev: for_each_registered_blkdev(prog)
for_each_registered_chrdev: for_each_registered_chrdev(prog)
[fs]
address_space_for_each_page: address_space_for_each_page(exe.f_mapping)
d_path: d_path(exe.f_path)
decode_file_type: decode_file_type(exe.f_inode.i_mode)
dentry_path: dentry_path(exe.f_path.dentry)
fget: fget(task, 0)
for_each_file: for_each_file(task)
for_each_mount: for_each_mount(prog)
inode_for_each_page: inode_for_each_page(exe.f_inode)
inode_path: inode_path(exe.f_inode)
inode_paths: inode_paths(exe.f_inode)
mount_dst: mount_dst(mount)
mount_fstype: mount_fstype(mount)
mount_src: mount_src(mount)
path_lookup: path_lookup(prog, "/bin/busybox")
print_files: print_files(task)
print_mounts: print_mounts(prog)
super_block_for_each_mount: super_block_for_each_mount(mount.mnt.mnt_sb)
[hugetlb]
for_each_hstate: for_each_hstate(prog)
huge_page_size: huge_page_size(next(for_each_hstate(prog)))
hugetlb_total_pages: hugetlb_total_pages(prog)
hugetlb_total_usage: hugetlb_total_usage(prog)
[idr]
idr_find: idr_find(prog["init_pid_ns"].idr.address_of_(), 1)
idr_for_each: idr_for_each(prog["init_pid_ns"].idr.address_of_())
idr_for_each_entry: idr_for_each_entry(prog["init_pid_ns"].idr.address_of_(), "struct pid")
[ioport]
for_each_resource: for_each_resource(prog["iomem_resource"].address_of_())
[ipc]
decode_sysv_shm_flags: decode_sysv_shm_flags(shm)
decode_sysv_shm_mode_flags: decode_sysv_shm_mode_flags(shm.shm_perm.mode)
find_sysv_msg_queue: find_sysv_msg_queue(prog, 0)
find_sysv_sem_array: find_sysv_sem_array(prog, 0)
find_sysv_shm: find_sysv_shm(prog, 0)
for_each_sysv_msg_queue: for_each_sysv_msg_queue(prog)
for_each_sysv_sem_array: for_each_sysv_sem_array(prog)
for_each_sysv_shm: for_each_sysv_shm(prog)
[irq]
for_each_irq_desc: for_each_irq_desc(prog)
gate_desc_func: gate_desc_func(prog["idt_table"][14])
irq_desc_action_names: irq_desc_action_names(irq_desc)
irq_desc_affinity_mask: irq_desc_affinity_mask(irq_desc)
irq_desc_chip_name: irq_desc_chip_name(irq_desc)
irq_desc_kstat_cpu: irq_desc_kstat_cpu(irq_desc, 0)
irq_get_nr_irqs: irq_get_nr_irqs(prog)
irq_to_desc: irq_to_desc(prog, 1)
[kallsyms]
load_module_kallsyms: load_module_kallsyms(prog)
load_vmlinux_kallsyms: load_vmlinux_kallsyms(prog)
module_kallsyms: module_kallsyms(next(for_each_module(prog)))
[kconfig]
get_kconfig: get_kconfig(prog)
[kernfs]
kernfs_name: kernfs_name(node)
kernfs_parent: kernfs_parent(node)
kernfs_path: kernfs_path(node)
kernfs_root: kernfs_root(node)
kernfs_walk: kernfs_walk(prog["sysfs_root_kn"], "kernel/slab")
kernfs_children: kernfs_children(node)
[kthread]
kthread_data: kthread_data(kthread)
task_is_kthread: task_is_kthread(kthread)
to_kthread: to_kthread(kthread)
[list]
hlist_empty: hlist_empty(hlist)
hlist_for_each: hlist_for_each(hlist)
hlist_for_each_entry: hlist_for_each_entry("struct mount", hlist, "mnt_hash")
list_count_nodes: list_count_nodes(modules)
list_empty: list_empty(modules)
list_first_entry: list_first_entry(modules, "struct module", "list")
list_first_entry_or_null: list_first_entry_or_null(modules, "struct module", "list")
list_for_each: list_for_each(modules)
list_for_each_entry: list_for_each_entry("struct module", modules, "list")
list_for_each_entry_reverse: list_for_each_entry_reverse("struct module", modules, "list")
list_for_each_reverse: list_for_each_reverse(modules)
list_is_singular: list_is_singular(modules)
list_last_entry: list_last_entry(modules, "struct module", "list")
list_next_entry: list_next_entry(list_first_entry(modules, "struct module", "list"), "list")
list_prev_entry: list_prev_entry(list_last_entry(modules, "struct module", "list"), "list")
validate_list: validate_list(modules)
validate_list_count_nodes: validate_list_count_nodes(modules)
validate_list_for_each: validate_list_for_each(modules)
validate_list_for_each_entry: validate_list_for_each_entry("struct module", modules, "list")
[list_nulls]
hlist_nulls_empty: hlist_nulls_empty(nulls)
hlist_nulls_for_each_entry: hlist_nulls_for_each_entry("struct sock", nulls, "__sk_common.skc_nulls_node")
is_a_nulls: is_a_nulls(nulls.first)
[llist]
llist_empty: llist_empty(llist)
llist_first_entry: llist_first_entry(llist, "struct mount", "mnt_llist")
llist_first_entry_or_null: llist_first_entry_or_null(llist, "struct mount", "mnt_llist")
llist_for_each: llist_for_each(llist.first)
llist_for_each_entry: llist_for_each_entry("struct mount", llist.first, "mnt_llist")
llist_is_singular: llist_is_singular(llist)
llist_next_entry: llist_next_entry(container_of(llist_node, "struct mount", "mnt_llist"), "mnt_llist")
[locking]
mutex_owner: mutex_owner(task.signal.cred_guard_mutex.address_of_())
rwsem_locked: rwsem_locked(rwsem)
rwsem_owner: rwsem_owner(rwsem)
[mapletree]
mt_for_each: mt_for_each(task.mm.mm_mt.address_of_())
mtree_load: mtree_load(task.mm.mm_mt.address_of_(), task.mm.start_code)
[mm]
PFN_PHYS: PFN_PHYS(Object(prog, "unsigned long", 5))
PHYS_PFN: PHYS_PFN(Object(prog, "unsigned long", 5 << 12))
PageCompound: PageCompound(page)
PageHead: PageHead(page)
PageSlab: PageSlab(virt_to_page(task))
PageTail: PageTail(page)
access_process_vm: access_process_vm(task, task.mm.start_stack, 64)
access_remote_vm: access_remote_vm(task.mm, task.mm.start_stack, 64)
cmdline: cmdline(task)
compound_head: compound_head(page)
compound_nr: compound_nr(page)
compound_order: compound_order(page)
decode_memory_block_state: decode_memory_block_state(next(for_each_memory_block(prog)))
decode_memory_block_state_value: decode_memory_block_state_value(Object(prog, "unsigned long", 1))
decode_page_flags: decode_page_flags(page)
decode_page_flags_value: decode_page_flags_value(page_flags(page))
environ: environ(task)
find_vmap_area: find_vmap_area(prog, vmap)
follow_page: follow_page(task.mm, task.mm.start_stack)
follow_pfn: follow_pfn(task.mm, task.mm.start_stack)
follow_phys: follow_phys(task.mm, task.mm.start_stack)
for_each_memory_block: for_each_memory_block(prog)
for_each_page: for_each_page(prog)
for_each_valid_page_range: for_each_valid_page_range(prog)
for_each_valid_pfn_and_page: for_each_valid_pfn_and_page(prog)
for_each_vma: for_each_vma(task.mm)
for_each_vmap_area: for_each_vmap_area(prog)
in_direct_map: in_direct_map(prog, task)
memory_block_size_bytes: memory_block_size_bytes(prog)
mm_cmdline: mm_cmdline(task.mm)
mm_environ: mm_environ(task.mm)
page_flags: page_flags(page)
page_index: page_index(file_page)
page_size: page_size(page)
page_to_pfn: page_to_pfn(page)
page_to_phys: page_to_phys(page)
page_to_virt: page_to_virt(page)
pfn_to_page: pfn_to_page(prog, 5)
pfn_to_virt: pfn_to_virt(prog, 5)
phys_to_page: phys_to_page(prog, 5 << 12)
phys_to_virt: phys_to_virt(prog, 5 << 12)
task_rss: task_rss(task)
task_vsize: task_vsize(task)
totalram_pages: totalram_pages(prog)
virt_to_page: virt_to_page(task)
virt_to_pfn: virt_to_pfn(task)
virt_to_phys: virt_to_phys(task)
vm_commit_limit: vm_commit_limit(prog)
vm_memory_committed: vm_memory_committed(prog)
vma_find: vma_find(task.mm, task.mm.start_stack)
vma_name: [vma_name(vma) for vma in for_each_vma(task.mm)]
vmalloc_to_page: vmalloc_to_page(prog, vmap)
vmalloc_to_pfn: vmalloc_to_pfn(prog, vmap)
PageActive: PageActive(page)
PageChecked: PageChecked(page)
PageDirty: PageDirty(page)
PageDoubleMap: PageDoubleMap(page)
PageError: PageError(page)
PageForeign: PageForeign(page)
PageHWPoison: PageHWPoison(page)
PageHasHWPoisoned: PageHasHWPoisoned(page)
PageIdle: PageIdle(page)
PageIsolated: PageIsolated(page)
PageLRU: PageLRU(page)
PageLocked: PageLocked(page)
PageMappedToDisk: PageMappedToDisk(page)
PageMlocked: PageMlocked(page)
PageOwnerPriv1: PageOwnerPriv1(page)
PagePinned: PagePinned(page)
PagePrivate: PagePrivate(page)
PagePrivate2: PagePrivate2(page)
PageReadahead: PageReadahead(page)
PageReclaim: PageReclaim(page)
PageReferenced: PageReferenced(page)
PageReported: PageReported(page)
PageReserved: PageReserved(page)
PageSavePinned: PageSavePinned(page)
PageSkipKASanPoison: PageSkipKASanPoison(page)
PageSlobFree: PageSlobFree(page)
PageSwapBacked: PageSwapBacked(page)
PageUncached: PageUncached(page)
PageUnevictable: PageUnevictable(page)
PageUptodate: PageUptodate(page)
PageVmemmapSelfHosted: PageVmemmapSelfHosted(page)
PageWaiters: PageWaiters(page)
PageWorkingset: PageWorkingset(page)
PageWriteback: PageWriteback(page)
PageXenRemapped: PageXenRemapped(page)
PageYoung: PageYoung(page)
[mmzone]
NODE_DATA: NODE_DATA(prog, 0)
decode_section_flags: decode_section_flags(section)
early_section: early_section(section)
early_section_nr: early_section_nr(prog, 0)
for_each_online_pgdat: for_each_online_pgdat(prog)
for_each_present_section: for_each_present_section(prog)
high_wmark_pages: high_wmark_pages(zone)
low_wmark_pages: low_wmark_pages(zone)
min_wmark_pages: min_wmark_pages(zone)
nr_to_section: nr_to_section(prog, 0)
online_section: online_section(section)
online_section_nr: online_section_nr(prog, 0)
pfn_to_section: pfn_to_section(prog, 5)
pfn_to_section_nr: pfn_to_section_nr(prog, 5)
present_section: present_section(section)
present_section_nr: present_section_nr(prog, 0)
section_decode_mem_map: section_decode_mem_map(section, 0)
section_mem_map_addr: section_mem_map_addr(section)
section_nr_to_pfn: section_nr_to_pfn(prog, 1)
valid_section: valid_section(section)
valid_section_nr: valid_section_nr(prog, 0)
wmark_pages: wmark_pages(zone, prog["WMARK_LOW"])
[module]
address_to_module: address_to_module(prog, module_text)
find_module: find_module(prog, module.name.string_())
for_each_module: for_each_module(prog)
module_address_regions: module_address_regions(module)
module_percpu_region: module_percpu_region(module)
module_taints: module_taints(module)
[net]
SOCK_INODE: SOCK_INODE(socket)
SOCKET_I: SOCKET_I(SOCK_INODE(socket))
for_each_net: for_each_net(prog)
for_each_netdev: for_each_netdev(prog)
get_net_ns_by_inode: get_net_ns_by_inode(ns_file.f_inode)
get_net_ns_by_fd: get_net_ns_by_fd(ns_task, ns_fd)
netdev_for_each_tx_queue: netdev_for_each_tx_queue(lo)
netdev_get_by_index: netdev_get_by_index(prog, 1)
netdev_get_by_name: netdev_get_by_name(prog, "lo")
netdev_name: netdev_name(lo)
netdev_priv: netdev_priv(lo)
sk_fullsock: sk_fullsock(sock)
sk_nulls_for_each: [list(sk_nulls_for_each(prog["tcp_hashinfo"].ehash[i].chain.address_of_())) for i in range(64)]
skb_shinfo: skb_shinfo(skb)
is_pp_page: is_pp_page(page)
netdev_ipv4_addrs: netdev_ipv4_addrs(lo)
netdev_ipv6_addrs: netdev_ipv6_addrs(lo)
neigh_table_for_each_neighbor: neigh_table_for_each_neighbor(prog["arp_tbl"].nht)
[nodemask]
for_each_node: for_each_node(prog)
for_each_node_mask: for_each_node_mask(prog["node_states"][prog["N_ONLINE"]])
for_each_node_state: for_each_node_state(prog["N_ONLINE"])
for_each_online_node: for_each_online_node(prog)
node_state: node_state(0, prog["N_ONLINE"])
nr_node_ids: nr_node_ids(prog)
[panic]
panic_message: panic_message(prog)
panic_task: panic_task(prog)
tainted: tainted(prog)
[pci]
for_each_pci_dev: for_each_pci_dev(prog)
for_each_pci_root_bus: for_each_pci_root_bus(prog)
pci_bus_for_each_child: pci_bus_for_each_child(pci_bus)
pci_bus_for_each_dev: pci_bus_for_each_dev(pci_bus)
pci_bus_name: pci_bus_name(pci_bus)
pci_is_bridge: pci_is_bridge(pci_dev)
pci_name: pci_name(pci_dev)
pci_pcie_type: pci_pcie_type(pci_dev)
[percpu]
per_cpu: per_cpu(prog["runqueues"], 0).nr_running
per_cpu_ptr: per_cpu_ptr(prog["runqueues"].address_of_(), 0)
percpu_counter_sum: percpu_counter_sum(prog["vm_committed_as"].address_of_())
percpu_counter_sum_positive: percpu_counter_sum_positive(prog["vm_committed_as"].address_of_())
[pid]
find_pid: find_pid(prog, 1)
find_task: find_task(prog, 1)
for_each_pid: for_each_pid(prog)
for_each_task: for_each_task(prog)
for_each_task_in_group: for_each_task_in_group(task, include_self=True)
pid_task: pid_task(find_pid(prog, 1), prog.constant("PIDTYPE_PID"))
[plist]
plist_first_entry: plist_first_entry(plist, "struct swap_info_struct", "list")
plist_for_each: plist_for_each(plist)
plist_for_each_entry: plist_for_each_entry("struct swap_info_struct", plist, "list")
plist_head_empty: plist_head_empty(plist)
plist_last_entry: plist_last_entry(plist, "struct swap_info_struct", "list")
plist_node_empty: plist_node_empty(task.pushable_tasks.address_of_())
[printk]
get_dmesg: get_dmesg(prog)
get_printk_records: get_printk_records(prog)
print_dmesg: print_dmesg(prog)
[radixtree]
radix_tree_for_each: radix_tree_for_each(prog["init_pid_ns"].idr.idr_rt.address_of_())
radix_tree_lookup: radix_tree_lookup(prog["init_pid_ns"].idr.idr_rt.address_of_(), 1)
[rbtree]
RB_EMPTY_ROOT: RB_EMPTY_ROOT(rb)
RB_EMPTY_NODE: RB_EMPTY_NODE(rb_first(rb))
rb_find: rb_find("struct kernfs_node", rb, "rb", 0, lambda key, node: -1)
rb_first: rb_first(rb)
rb_last: rb_last(rb)
rb_next: rb_next(rb_first(rb))
rb_parent: rb_parent(rb_first(rb))
rb_prev: rb_prev(rb_last(rb))
rbtree_inorder_for_each: rbtree_inorder_for_each(rb)
rbtree_inorder_for_each_entry: rbtree_inorder_for_each_entry("struct kernfs_node", rb, "rb")
rbtree_preorder_for_each: rbtree_preorder_for_each(rb)
rbtree_preorder_for_each_entry: rbtree_preorder_for_each_entry("struct kernfs_node", rb, "rb")
validate_rbtree: validate_rbtree("struct kernfs_node", rb, "rb", by_hash, True)
validate_rbtree_inorder_for_each_entry: validate_rbtree_inorder_for_each_entry(kernfs_node, rb, "rb", by_hash, True)
[resource]
task_rlimits: task_rlimits(task)
[sbitmap]
sbitmap_for_each_set: sbitmap_for_each_set(sbitmap)
[sched]
cfs_rq_for_each_entity: cfs_rq_for_each_entity(cpu_rq(prog, 0).cfs.address_of_())
cpu_curr: cpu_curr(prog, 0)
cpu_rq: cpu_rq(prog, 0)
get_task_state: get_task_state(task)
idle_task: idle_task(prog, 0)
loadavg: loadavg(prog)
rq_for_each_fair_task: rq_for_each_fair_task(cpu_rq(prog, 0))
rq_for_each_rt_task: rq_for_each_rt_task(cpu_rq(prog, 0))
sched_entity_is_task: sched_entity_is_task(task.se.address_of_())
sched_entity_to_task: sched_entity_to_task(task.se.address_of_())
task_cpu: task_cpu(task)
task_group_name: task_group_name(prog["root_task_group"].address_of_())
task_group_sched_entity: task_group_sched_entity(prog["root_task_group"].address_of_(), 0)
task_on_cpu: task_on_cpu(task)
task_rq: task_rq(task)
task_since_last_arrival_ns: task_since_last_arrival_ns(task)
task_state_to_char: task_state_to_char(task)
task_thread_info: task_thread_info(task)
thread_group_leader: thread_group_leader(task)
[signal]
decode_sigaction_flags: decode_sigaction_flags(task.sighand.action[0].sa.address_of_())
decode_sigaction_flags_value: decode_sigaction_flags_value(0x04000000)
decode_sigset: decode_sigset(task.blocked)
sigaction_flags: sigaction_flags(prog)
signal_names: signal_names(prog)
signal_numbers: signal_numbers(prog)
sigpending_for_each: sigpending_for_each(task.pending.address_of_())
sigset_to_hex: sigset_to_hex(task.blocked)
[slab]
find_containing_slab_cache: find_containing_slab_cache(task)
find_slab_cache: find_slab_cache(prog, "dentry")
for_each_slab_cache: for_each_slab_cache(prog)
get_slab_cache_aliases: get_slab_cache_aliases(prog)
print_slab_caches: print_slab_caches(prog)
slab_cache_for_each_allocated_object: slab_cache_for_each_allocated_object(task_cache, "struct task_struct")
slab_cache_is_merged: slab_cache_is_merged(find_slab_cache(prog, "dentry"))
slab_cache_objects_per_slab: slab_cache_objects_per_slab(find_slab_cache(prog, "dentry"))
slab_cache_order: slab_cache_order(find_slab_cache(prog, "dentry"))
slab_cache_pages_per_slab: slab_cache_pages_per_slab(find_slab_cache(prog, "dentry"))
slab_cache_usage: slab_cache_usage(find_slab_cache(prog, "dentry"))
slab_object_info: slab_object_info(task)
slab_total_usage: slab_total_usage(prog)
[stack]
StackKind: StackKind.TASK
StackSegment: StackSegment(StackKind.TASK, prog.stack_trace(task))
LinuxKernelStack: kernel_stack_trace(task)
kernel_stack_trace: kernel_stack_trace(task)
[stackdepot]
stack_depot_fetch: stack_depot_fetch(Object(prog, "depot_stack_handle_t", 1))
[swait]
swait_active: swait_active(swait)
swait_for_each_task: swait_for_each_task(swait)
[swap]
for_each_swap_info: for_each_swap_info(prog)
swap_file_path: [swap_file_path(si) for si in for_each_swap_info(prog)]
swap_is_file: [swap_is_file(si) for si in for_each_swap_info(prog)]
swap_total_usage: swap_total_usage(prog)
swap_usage_in_pages: [swap_usage_in_pages(si) for si in for_each_swap_info(prog)]
total_swapcache_pages: total_swapcache_pages(prog)
[sysfs]
sysfs_lookup_node: sysfs_lookup_node(prog, "kernel/slab")
sysfs_lookup_kobject: sysfs_lookup_kobject(prog, "kernel/slab")
sysfs_lookup: sysfs_lookup(prog, "devices/virtual/net/lo")
sysfs_listdir: sysfs_listdir(prog, "kernel")
kobject_path: kobject_path(prog["kernel_kobj"])
[tc]
qdisc_lookup: qdisc_lookup(lo, 0)
[tcp]
sk_tcpstate: sk_tcpstate(sock)
[timekeeping]
ktime_get_boottime_seconds: ktime_get_boottime_seconds(prog)
ktime_get_clocktai_seconds: ktime_get_clocktai_seconds(prog)
ktime_get_coarse_boottime_ns: ktime_get_coarse_boottime_ns(prog)
ktime_get_coarse_clocktai_ns: ktime_get_coarse_clocktai_ns(prog)
ktime_get_coarse_ns: ktime_get_coarse_ns(prog)
ktime_get_coarse_real_ns: ktime_get_coarse_real_ns(prog)
ktime_get_real_seconds: ktime_get_real_seconds(prog)
ktime_get_seconds: ktime_get_seconds(prog)
ktime_to_ns: ktime_to_ns(Object(prog, "ktime_t", 5))
uptime: uptime(prog)
uptime_pretty: uptime_pretty(prog)
[timer]
hrtimer_clock_base_for_each: hrtimer_clock_base_for_each(hrtimer_base.clock_base[0].address_of_())
timer_base_for_each: timer_base_for_each(per_cpu(prog["timer_bases"], 0)[0].address_of_())
timer_base_names: timer_base_names(prog)
[user]
find_user: find_user(prog, 0)
for_each_user: for_each_user(prog)
kuid_val: kuid_val(task.cred.uid)
[vmstat]
global_node_page_state: global_node_page_state(prog["NR_ACTIVE_ANON"])
global_numa_event_state: global_numa_event_state(prog["NUMA_HIT"])
global_vm_event_state: global_vm_event_state(prog["PGFAULT"])
global_zone_page_state: global_zone_page_state(prog["NR_FREE_PAGES"])
nr_free_pages: nr_free_pages(prog)
zone_page_state: zone_page_state(zone, prog["NR_FREE_PAGES"])
[wait]
waitqueue_active: waitqueue_active(wait)
waitqueue_for_each_entry: waitqueue_for_each_entry(wait)
waitqueue_for_each_task: waitqueue_for_each_task(wait)
[xarray]
xa_for_each: xa_for_each(xarray)
xa_is_value: xa_is_value(xa_load(xarray, 0))
xa_is_zero: xa_is_zero(xa_load(xarray, 0))
xa_load: xa_load(xarray, 0)
xa_to_value: xa_to_value(Object(prog, "void *", 5))
"""
# What the calls are made with, found when first needed.
SAMPLES = {
    "task": lambda n: linux.find_task(prog, 1),
    "kthread": lambda n: next(
        task for task in linux.for_each_task(prog) if task.pid > 2 and linux.task_is_kthread(task)
    ),
    "task_cache": lambda n: linux.find_slab_cache(prog, "task_struct"),
    "no_css": lambda n: drgn.NULL(prog, "struct cgroup_subsys_state *"),
    "kernfs_node": lambda n: "struct kernfs_node",
    "by_hash": lambda n: lambda a, b: a.hash.value_() - b.hash.value_(),
    "hrtimer_base": lambda n: linux.per_cpu(prog["hrtimer_bases"], 0),
    "llist_node": lambda n: cast("struct llist_node *", n["modules"]),
    "modules": lambda n: prog["modules"].address_of_(),
    "module": lambda n: next(linux.for_each_module(prog)),
    "module_text": lambda n: linux.module_address_regions(n["module"])[0][0],
    "exe": lambda n: n["task"].mm.exe_file,
    "mount": lambda n: next(linux.for_each_mount(prog)),
    "disk": lambda n: next(linux.for_each_disk(prog)),
    "bdev": lambda n: next(linux.for_each_partition(prog)),
    "request": lambda n: n["disk"].queue.tag_set.tags[0].static_rqs[0],
    "sbitmap": lambda n: n["disk"].queue.tag_set.tags[0].bitmap_tags.sb.address_of_(),
    "root_cgroup": lambda n: prog["cgrp_dfl_root"].cgrp.address_of_(),
    "socket": lambda n: cast("struct socket *", n["socket_file"].private_data),
    "socket_file": lambda n: next(
        file
        for task in linux.for_each_task(prog)
        if task.mm
        for _, file in linux.for_each_file(task)
        if file and file.f_inode.i_mode & 0o170000 == 0o140000
    ),
    "sock": lambda n: n["socket"].sk,
    "skb": lambda n: next(slab_objects("skbuff_head_cache", "struct sk_buff")),
    "completion": lambda n: linux.to_kthread(n["kthread"]).exited.address_of_(),
    "swait": lambda n: n["completion"].wait.address_of_(),
    "wait": lambda n: n["task"].signal.wait_chldexit.address_of_(),
    "shm": lambda n: next(linux.for_each_sysv_shm(prog)),
    "irq_desc": lambda n: linux.irq_to_desc(prog, 1),
    "node": lambda n: linux.kernfs_walk(prog["sysfs_root_kn"], "kernel"),
    "hlist": lambda n: next(
        head.address_of_() for head in (prog["mount_hashtable"][i] for i in range(1 << 16)) if head.first
    ),
    "nulls": lambda n: prog["tcp_hashinfo"].ehash[0].chain.address_of_(),
    "llist": lambda n: linux.per_cpu(prog["call_single_queue"], 0).address_of_(),
    "rwsem": lambda n: (
        n["task"]
        .mm.member_("mmap_lock" if prog.type("struct mm_struct").has_member("mmap_lock") else "mmap_sem")
        .address_of_()
    ),
    "page": lambda n: linux.follow_page(n["task"].mm, n["task"].mm.start_stack),
    "file_page": lambda n: next(linux.inode_for_each_page(n["exe"].f_inode))[1],
    "vmap": lambda n: next(linux.for_each_vmap_area(prog)).va_start.value_(),
    "section": lambda n: linux.nr_to_section(prog, 0),
    "zone": lambda n: linux.NODE_DATA(prog, 0).node_zones[1].address_of_(),
    "lo": lambda n: linux.netdev_get_by_name(prog, "lo"),
    "ns_task": lambda n: n["_ns"][0],
    "ns_fd": lambda n: n["_ns"][1],
    "ns_file": lambda n: n["_ns"][2],
    "_ns": lambda n: next(
        (task, number, file)
        for task in linux.for_each_task(prog)
        if task.mm
        for number, file in linux.for_each_file(task)
        if file and file.f_op == prog["ns_file_operations"].address_of_()
    ),
    "pci_bus": lambda n: next(linux.for_each_pci_root_bus(prog)),
    "pci_dev": lambda n: next(linux.for_each_pci_dev(prog)),
    "plist": lambda n: prog["swap_active_head"].address_of_(),
    "rb": lambda n: n["node"].dir.children.address_of_(),
    "xarray": lambda n: n["exe"].f_mapping.i_pages.address_of_(),
}


def slab_objects(cache, type_name):
    """What lies in a slab cache now."""
    found = linux.find_slab_cache(prog, cache)
    return linux.slab_cache_for_each_allocated_object(found, type_name)


class Names(dict):
    """drgn's names, the helpers, and samples that are found when they are used."""

    def __missing__(self, name):
        if name not in SAMPLES:
            raise KeyError(name)
        try:
            self[name] = SAMPLES[name](self)
        except (StopIteration, drgn.ObjectAbsentError) as error:
            raise Nothing(name) from error
        return self[name]


class Nothing(Exception):
    """The guest has none of what the helper is for."""


def names():
    """The globals of the calls."""
    found = Names(
        prog=prog, Object=Object, cast=cast, container_of=container_of, sizeof=sizeof, NULL=drgn.NULL
    )
    found["__builtins__"] = __builtins__
    for name in linux.__all__:
        found[name] = getattr(linux, name)
    return found


def force(value, depth=0):
    """Read what a helper gave; how many things that were."""
    if isinstance(value, Object):
        if value.type_.kind != drgn.TypeKind.FUNCTION:
            value.read_()
    elif isinstance(value, (str, bytes, int, float, type(None))) or depth > 3:
        pass
    elif isinstance(value, dict):
        return sum(1 for item in value.items() if force(item, depth + 1))
    elif hasattr(value, "__iter__"):
        return sum(1 for item in itertools.islice(value, MOST) if force(item, depth + 1) or True)
    else:
        str(value)
    return 1


def survey():
    """(module, helper, "works" or why not) of every helper, in the order of CALLS."""
    listed = {
        module.name: set(importlib.import_module(f"drgn.helpers.linux.{module.name}").__all__)
        for module in pkgutil.iter_modules(linux.__path__)
    }
    found = names()
    module = ""
    for line in CALLS.strip().splitlines():
        if line.startswith("["):
            module = line.strip("[]")
            continue
        name, _, call = line.partition(": ")
        listed.get(module, set()).discard(name)
        yield module, name, verdict(call, found)
    for module, left in listed.items():
        for name in sorted(left):
            yield module, name, "not tried: this drgn has it, the survey does not know it"


def verdict(call, found):
    """One call."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            count = force(eval(call, found))
    except Nothing as error:
        return f"nothing of the kind in this guest ({error})"
    except StopIteration:
        return "nothing of the kind in this guest"
    except Exception as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return "works" if count else "works, and lists nothing here"


def table(rows):
    """A table of Markdown, a module a row."""
    lines = ["| drgn.helpers.linux | works | does not, here |", "|---|---|---|"]
    for module, group in itertools.groupby(rows, key=lambda row: row[0]):
        members = [row[1:] for row in group]
        works = " ".join(name for name, said in members if said.startswith("works"))
        fails = "; ".join(f"{name}: {said}" for name, said in members if not said.startswith("works"))
        lines.append(f"| {module} | {works} | {fails.replace('|', '/')} |")
    return "\n".join(lines)


def main():
    """All of it, as lines or as a table."""
    rows = list(survey())
    if "--markdown" in sys.argv:
        print(table(rows))
    else:
        for module, name, said in rows:
            print(f"{module + '.' + name:45} {said}")
    works = sum(said.startswith("works") for *_, said in rows)
    print(f"{works} of {len(rows)} work", file=sys.stderr)


if __name__ == "__main__":
    main()
