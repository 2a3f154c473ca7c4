/* The ring: records are written where they will be read. Space is reserved by one compare-and-swap, `seq` written last
 * says that a record is whole. Never waits: what does not fit is counted as lost.
 */
#include "probe.h"

#define HEAD_BYTES sizeof(struct vmon_record)
#define CHUNK 256
#define MAX_TEXT 4096
#define MAX_ARGUMENTS 2048

static u64 reserve(u32 slots)
{
	u64 all = CONFIG->ring_slots, head, padding;

	do {
		head = STATE->head;
		padding = (head & (all - 1)) + slots > all ? all - (head & (all - 1)) : 0;
		if (slots > all || head + padding + slots - STATE->tail > all)
			return ~0ul;
	} while (!__atomic_compare_exchange_n((u64 *)&STATE->head, &head, head + padding + slots, 0, __ATOMIC_SEQ_CST,
					      __ATOMIC_SEQ_CST));
	if (padding) {
		struct vmon_record *gap =
			(struct vmon_record *)(WINDOW + VMON_RING_AT + (head & (all - 1)) * VMON_SLOT);

		gap->kind = VMON_NONE;
		gap->slots = padding;
		gap->flags = VMON_PADDING;
		__atomic_store_n(&gap->seq, head + 1, __ATOMIC_RELEASE);
	}
	return head + padding;
}

static void who(struct vmon_record *record, u64 task)
{
	u64 leader = LOAD(u64, task, AT.task_leader), parent = LOAD(u64, task, AT.task_parent);
	u64 cred = LOAD(u64, task, AT.task_cred);
	u32 i;

	record->tid = LOAD(u32, task, AT.task_pid);
	record->pid = LOAD(u32, task, AT.task_tgid);
	record->ppid = LOAD(u32, parent, AT.task_tgid);
	record->start_ns = LOAD(u64, leader, AT.task_start);
	record->uid = LOAD(u32, cred, AT.cred_uid);
	record->euid = LOAD(u32, cred, AT.cred_euid);
	record->gid = LOAD(u32, cred, AT.cred_gid);
	record->cpu = LOAD(u32, task, AT.task_cpu);
	for (i = 0; i < 16; i += 8)
		*(u64 *)(record->comm + i) = LOAD(u64, task, AT.task_comm + i);
	record->cgroup = 0;
	if (HAS(AT.task_cgroups) && HAS(AT.kn_id)) {
		u64 set = LOAD(u64, task, AT.task_cgroups);
		u64 group = set ? LOAD(u64, set, AT.css_set_cgroup) : 0;
		u64 node = group ? LOAD(u64, group, AT.cgroup_kn) : 0;

		if (node)
			record->cgroup = LOAD(u64, node, AT.kn_id);
	}
}

/* By way of the stack: the kernel checks where it copies user memory to, and would not know the ring. */
static u32 put_user(u8 *to, u64 from, u32 len, u16 *flags)
{
	u8 chunk[CHUNK];
	u32 at = 0, i, size;

	while (at < len) {
		size = len - at < CHUNK ? len - at : CHUNK;
		/* A page that is not there spoils no more than itself. */
		if (size > 4096 - ((from + at) & 4095))
			size = 4096 - ((from + at) & 4095);
		if (vmon_k_copy_user(chunk, from + at, size)) {
			*flags |= VMON_CUT;
			break;
		}
		for (i = 0; i < size; i++)
			to[at + i] = chunk[i];
		at += size;
	}
	return at;
}

u64 ring_put(struct event *event, const struct verdict *verdict, u32 flags)
{
	u32 text = 0, i, room, slots, user = event->user_len < MAX_ARGUMENTS ? event->user_len : MAX_ARGUMENTS;
	struct vmon_record *record;
	u64 at;
	u8 *to;

	for (i = 0; i < event->paths; i++)
		text += event_path(event, i)->len + 1;
	if (text > MAX_TEXT)
		text = MAX_TEXT;
	text += user + event->string_len;
	slots = (HEAD_BYTES + text + VMON_SLOT - 1) / VMON_SLOT;
	at = CONFIG->ring_slots ? reserve(slots) : ~0ul;
	if (at == ~0ul) {
		count(&STATE->lost[event->kind]);
		return 0;
	}
	record = (struct vmon_record *)(WINDOW + VMON_RING_AT + (at & (CONFIG->ring_slots - 1)) * VMON_SLOT);
	to = (u8 *)record + HEAD_BYTES;
	room = slots * VMON_SLOT - HEAD_BYTES - user - event->string_len;
	record->kind = event->kind;
	record->slots = slots;
	record->flags = flags | (event->user_len > user ? VMON_CUT : 0);
	record->rule = verdict->rule ? verdict->rule->id : 0;
	record->ask = verdict->ask;
	record->time_ns = vmon_k_clock();
	record->verdict = verdict->ask ? 0 : verdict->error;
	who(record, event->task);
	for (i = 0; i < 3; i++)
		record->number[i] = event->number[i];
	for (i = 0; i < 16; i += 8)
		*(u64 *)(record->address + i) = *(const u64 *)(event->address + i);
	record->family = event->family;
	record->port = event->port;
	for (i = 0; i < VMON_MAX_PATHS; i++) {
		record->text_len[i] = 0;
		if (i >= event->paths)
			continue;
		if (event->path[i].cut || event->path[i].len > room)
			record->flags |= VMON_CUT;
		record->text_len[i] = path_write(&event->path[i], to, room);
		to += record->text_len[i];
		room -= record->text_len[i];
	}
	if (user)
		record->text_len[1] = put_user(to, event->user, user, &record->flags);
	for (i = 0; i < event->string_len; i++)
		to[i] = LOAD(u8, event->string, i);
	if (event->string_len)
		record->text_len[0] = event->string_len;
	__atomic_store_n(&record->seq, at + 1, __ATOMIC_RELEASE);
	return at + 1;
}
