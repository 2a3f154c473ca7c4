/* The arguments of a hooked call become an event: which object, which numbers. What costs, a path, is left for those who
 * ask for it.
 */
#include "probe.h"

#define PROT_EXEC 4
#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10

static void add_path(struct event *event, u64 vfsmount, u64 dentry)
{
	struct place *place = &event->place[event->paths++];

	place->vfsmount = vfsmount;
	place->dentry = dentry;
}

static void file_path(struct event *event, u64 file)
{
	if (!file)
		return;
	add_path(event, LOAD(u64, file, AT.file_mnt), LOAD(u64, file, AT.file_dentry));
}

/* A dentry in the mount of a struct path: the path of something that is about to be made or taken away. */
static void entry_path(struct event *event, u64 dir, u64 dentry)
{
	add_path(event, LOAD(u64, dir, AT.path_mnt), dentry);
}

static void socket_of(struct event *event, u64 socket)
{
	u64 sk = LOAD(u64, socket, AT.socket_sk);
	u32 i, size = 0, from = 0;

	event->number[1] = LOAD(u16, socket, AT.socket_type);
	if (!sk)
		return;
	event->family = LOAD(u16, sk, AT.sk_family);
	event->number[0] = LOAD(u16, sk, AT.sk_protocol);
	if (event->family == AF_INET)
		size = 4, from = AT.sk_rcv_saddr;
	else if (event->family == AF_INET6)
		size = 16, from = AT.sk_v6_rcv_saddr;
	if (!size || !HAS(from))
		return;
	event->port = LOAD(u16, sk, AT.sk_num);
	for (i = 0; i < size; i++)
		event->address[i] = LOAD(u8, sk, from + i);
}

/* Names in the file system are paths to the rules too, as they were given: whole ones only. */
static void unix_name(struct event *event, const u8 *name, u32 room)
{
	struct path *path = &event->path[0];
	u32 len = 0;

	if (LOAD(u8, name, 0) != '/') {
		event->string = name;
		event->string_len = room;
		return;
	}
	while (len < room && LOAD(u8, name, len))
		len++;
	path->count = len > 1;
	path->cut = 0;
	path->len = len;
	path->parts[0].name = name + 1;
	path->parts[0].len = len - 1;
	event->paths = event->walked = 1;
}

static void address_of(struct event *event, u64 socket, u64 address, u32 len)
{
	u32 i, size = 0, from = 0;

	socket_of(event, socket);
	event->port = 0;
	for (i = 0; i < 16; i++)
		event->address[i] = 0;
	if (len < 2)
		return;
	event->family = LOAD(u16, address, 0);
	if (event->family == AF_INET && len >= 8)
		size = 4, from = 4;
	else if (event->family == AF_INET6 && len >= 24)
		size = 16, from = 8;
	else if (event->family == AF_UNIX && len > 2)
		unix_name(event, (const u8 *)address + 2, len - 2 < 108 ? len - 2 : 108);
	if (!size)
		return;
	event->port = (u16)(LOAD(u8, address, 2) << 8 | LOAD(u8, address, 3));
	for (i = 0; i < size; i++)
		event->address[i] = LOAD(u8, address, from + i);
}

u32 describe(struct event *event, const volatile struct vmon_hook *hook, const struct regs *regs)
{
	u64 mm;

	switch (hook->shape) {
	case VMON_SHAPE_TASK:
		event->number[0] = LOAD(u32, regs->rdi, AT.task_tgid);
		event->number[1] = LOAD(u64, regs->rdi, AT.task_start);
		/* A thread is no process. */
		return LOAD(u32, regs->rdi, AT.task_pid) == LOAD(u32, regs->rdi, AT.task_tgid);
	case VMON_SHAPE_BPRM:
		file_path(event, LOAD(u64, regs->rdi, AT.bprm_file));
		return 1;
	case VMON_SHAPE_EXECED:
		mm = LOAD(u64, event->task, AT.task_mm);
		if (!mm)
			return 0;
		file_path(event, LOAD(u64, mm, AT.mm_exe_file));
		event->user = LOAD(u64, mm, AT.mm_arg_start);
		if (LOAD(u64, mm, AT.mm_arg_end) > event->user)
			event->user_len = LOAD(u64, mm, AT.mm_arg_end) - event->user;
		return 1;
	case VMON_SHAPE_EXIT:
		event->number[0] = LOAD(u32, regs->rdi, AT.task_exit_code);
		return regs->rsi & 0xffffffff;
	case VMON_SHAPE_SETUID:
		event->number[0] = LOAD(u32, regs->rdi, AT.cred_uid);
		event->number[1] = LOAD(u32, regs->rdi, AT.cred_euid);
		event->number[2] = regs->rdx & 0xffffffff;
		return 1;
	case VMON_SHAPE_SIGNAL:
		event->number[0] = regs->rdx & 0xffffffff;
		event->number[1] = LOAD(u32, regs->rdi, AT.task_tgid);
		event->number[2] = LOAD(u64, LOAD(u64, regs->rdi, AT.task_leader), AT.task_start);
		/* Signal 0 asks whether one may. */
		return !!event->number[0];
	case VMON_SHAPE_PTRACE:
		event->number[0] = regs->rsi & 0xffffffff;
		event->number[1] = LOAD(u32, regs->rdi, AT.task_tgid);
		event->number[2] = LOAD(u64, LOAD(u64, regs->rdi, AT.task_leader), AT.task_start);
		return 1;
	case VMON_SHAPE_FILE:
		file_path(event, regs->rdi);
		event->number[0] = LOAD(u32, regs->rdi, AT.file_flags);
		event->number[1] = LOAD(u32, regs->rdi, AT.file_mode);
		return 1;
	case VMON_SHAPE_FILE_PROT:
		if (!regs->rdi || !(regs->rsi & PROT_EXEC))
			return 0;
		file_path(event, regs->rdi);
		event->number[0] = regs->rsi;
		event->number[1] = regs->rdx;
		return 1;
	case VMON_SHAPE_DIR_ENTRY:
		entry_path(event, regs->rdi, regs->rsi);
		event->number[0] = regs->rdx & 0xffff;
		return 1;
	case VMON_SHAPE_NAME:
		entry_path(event, regs->rdi, regs->rsi);
		return 1;
	case VMON_SHAPE_INODE_NAME:
		add_path(event, 0, regs->rsi);
		return 1;
	case VMON_SHAPE_INODE_ENTRY:
		add_path(event, 0, regs->rsi);
		event->number[0] = regs->rdx & 0xffff;
		return 1;
	case VMON_SHAPE_INODE_RENAME:
		add_path(event, 0, regs->rsi);
		add_path(event, 0, regs->rcx);
		event->number[0] = regs->r8 & 0xffffffff;
		return 1;
	case VMON_SHAPE_INODE_LINK:
		add_path(event, 0, regs->rdi);
		add_path(event, 0, regs->rdx);
		return 1;
	case VMON_SHAPE_RENAME:
		entry_path(event, regs->rdi, regs->rsi);
		entry_path(event, regs->rdx, regs->rcx);
		event->number[0] = regs->r8 & 0xffffffff;
		return 1;
	case VMON_SHAPE_LINK:
		/* Both names lie in one mount, or link() would not come this far. */
		entry_path(event, regs->rsi, regs->rdi);
		entry_path(event, regs->rsi, regs->rdx);
		return 1;
	case VMON_SHAPE_PATH:
		entry_path(event, regs->rdi, LOAD(u64, regs->rdi, AT.path_dentry));
		event->number[0] = regs->rsi & 0xffffffff;
		event->number[1] = regs->rdx & 0xffffffff;
		return 1;
	case VMON_SHAPE_MOUNT:
		entry_path(event, regs->rsi, LOAD(u64, regs->rsi, AT.path_dentry));
		event->number[0] = regs->rcx;
		return 1;
	case VMON_SHAPE_SOCKADDR:
		address_of(event, regs->rdi, regs->rsi, (u32)regs->rdx);
		return 1;
	case VMON_SHAPE_SOCKET:
		socket_of(event, regs->rdi);
		event->number[2] = regs->rsi & 0xffffffff;
		return 1;
	case VMON_SHAPE_READ_FILE:
		file_path(event, regs->rdi);
		event->number[0] = regs->rsi & 0xffffffff;
		return event->number[0] == hook->only;
	case VMON_SHAPE_LOAD_DATA:
	case VMON_SHAPE_BPF:
		event->number[0] = regs->rdi & 0xffffffff;
		return event->number[0] == hook->only;
	}
	return 0;
}
