/* The first rule that fits decides. The table is the host's: it is replaced as a whole, never changed in place. */
#include "probe.h"

static u32 same_comm(u64 task, const volatile struct vmon_rule *rule)
{
	return LOAD(u64, task, AT.task_comm) == LOAD(u64, rule->comm, 0) &&
	       LOAD(u64, task, AT.task_comm + 8) == LOAD(u64, rule->comm, 8);
}

/* The program of a task; 0 for a thread of the kernel. */
static u32 exe_of(u64 task, struct path *exe)
{
	u64 mm = LOAD(u64, task, AT.task_mm), file = mm ? LOAD(u64, mm, AT.mm_exe_file) : 0;

	if (!file)
		return 0;
	path_walk(exe, LOAD(u64, file, AT.file_mnt), LOAD(u64, file, AT.file_dentry));
	return 1;
}

static u32 same_address(const struct event *event, const volatile struct vmon_rule *rule)
{
	u32 bits = rule->address_bits, i;

	if (event->family != rule->address_family)
		return 0;
	for (i = 0; i < 16 && bits; i++) {
		u32 some = bits < 8 ? bits : 8, mask = 0xff00u >> some & 0xff;

		if ((event->address[i] ^ rule->address[i]) & mask)
			return 0;
		bits -= some;
	}
	return 1;
}

static u32 fits(const struct event *event, const volatile struct vmon_rule *rule, const char *strings,
		struct path *exe, u32 *exe_known)
{
	u32 match = rule->match;
	u64 cred;

	if (!(rule->kinds & BIT(event->kind)))
		return 0;
	if (match & VMON_MATCH_FLAGS && !(event->number[0] & rule->flags))
		return 0;
	if (match & VMON_MATCH_TGID && (LOAD(u32, event->task, AT.task_tgid) != rule->tgid ||
					LOAD(u64, LOAD(u64, event->task, AT.task_leader), AT.task_start) != rule->start_ns))
		return 0;
	if (match & VMON_MATCH_UID) {
		cred = LOAD(u64, event->task, AT.task_cred);
		if (LOAD(u32, cred, AT.cred_uid) != rule->uid)
			return 0;
	}
	if (match & VMON_MATCH_COMM && !same_comm(event->task, rule))
		return 0;
	if (match & VMON_MATCH_NOT_COMM && same_comm(event->task, rule))
		return 0;
	if (match & VMON_MATCH_PORT && event->port != rule->port)
		return 0;
	if (match & VMON_MATCH_ADDRESS && !same_address(event, rule))
		return 0;
	if (match & (VMON_MATCH_PATH | VMON_MATCH_PREFIX | VMON_MATCH_SUFFIX)) {
		u32 how = match & (VMON_MATCH_PATH | VMON_MATCH_PREFIX | VMON_MATCH_SUFFIX), i, any = 0;

		for (i = 0; i < event->paths && !any; i++)
			any = path_matches(&event->path[i], strings + rule->path_at, rule->path_len, how);
		if (!any)
			return 0;
	}
	if (match & (VMON_MATCH_EXE | VMON_MATCH_NOT_EXE)) {
		u32 same;

		if (!*exe_known)
			*exe_known = exe_of(event->task, exe) ? 1 : 2;
		same = *exe_known == 1 && path_matches(exe, strings + rule->exe_at, rule->exe_len, VMON_MATCH_PATH);
		if (same != !!(match & VMON_MATCH_EXE))
			return 0;
	}
	return 1;
}

const volatile struct vmon_rule *rules_find(const struct event *event)
{
	const volatile struct vmon_table *table;
	struct path exe;
	u32 known = 0, i, n;

	if (!CONFIG->table)
		return 0;
	table = (const volatile struct vmon_table *)(WINDOW + VMON_RULES_AT + (CONFIG->table - 1) * VMON_TABLE_SIZE);
	if (!(table->kinds & BIT(event->kind)))
		return 0;
	n = table->count < VMON_MAX_RULES ? table->count : VMON_MAX_RULES;
	for (i = 0; i < n; i++)
		if (fits(event, &table->rules[i], (const char *)table->strings, &exe, &known)) {
			count(&STATE->hits[i]);
			return &table->rules[i];
		}
	return 0;
}
