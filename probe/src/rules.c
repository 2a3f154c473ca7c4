/* The first rule that fits decides. The table is the host's: it is replaced as a whole, never changed in place, and comes
 * with an index, so that a rule costs only those events that share its key.
 */
#include "probe.h"

#define CGROUP_DEPTH 16
#define PATHS (VMON_MATCH_PATH | VMON_MATCH_PREFIX | VMON_MATCH_SUFFIX | VMON_MATCH_FLAT)

struct search {
	struct event *event;
	const volatile struct vmon_table *table;
	u32 best; /* the first rule known to fit */
	u32 exe_known; /* 0: not looked at, 1: in `exe`, 2: a thread of the kernel */
	struct path exe;
};

static u64 exe_file(u64 task)
{
	u64 mm = LOAD(u64, task, AT.task_mm);

	return mm ? LOAD(u64, mm, AT.mm_exe_file) : 0;
}

static u32 same_exe(struct search *search, const char *text, u32 len)
{
	if (!search->exe_known) {
		u64 file = exe_file(search->event->task);

		search->exe_known = file ? 1 : 2;
		if (file)
			path_walk(&search->exe, LOAD(u64, file, AT.file_mnt), LOAD(u64, file, AT.file_dentry));
	}
	return search->exe_known == 1 && path_equals(&search->exe, text, len);
}

/* Up to its NUL: some kernels leave rubbish behind it. */
static void comm_of(u64 task, u64 comm[2])
{
	u32 i;

	comm[0] = comm[1] = 0;
	for (i = 0; i < 16; i++) {
		u64 c = LOAD(u8, task, AT.task_comm + i);

		if (!c)
			break;
		comm[i / 8] |= c << i % 8 * 8;
	}
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

static u32 in_cgroup(u64 task, u64 id)
{
	u64 set = HAS(AT.task_cgroups) && HAS(AT.kn_parent) ? LOAD(u64, task, AT.task_cgroups) : 0;
	u64 group = set ? LOAD(u64, set, AT.css_set_cgroup) : 0;
	u64 node = group ? LOAD(u64, group, AT.cgroup_kn) : 0;
	u32 i;

	for (i = 0; i < CGROUP_DEPTH && kernel_pointer(node); i++) {
		if (LOAD(u64, node, AT.kn_id) == id)
			return 1;
		node = LOAD(u64, node, AT.kn_parent);
	}
	return 0;
}

static u32 path_fits(struct search *search, const volatile struct vmon_rule *rule, u32 how)
{
	const char *strings = (const char *)search->table->strings;
	u32 i;

	for (i = 0; i < search->event->paths; i++) {
		const struct path *path = event_path(search->event, i);

		if (how & VMON_MATCH_PATH && !path_equals(path, strings + rule->path_at, rule->path_len))
			continue;
		if (how & VMON_MATCH_PREFIX && !path_starts_with(path, strings + rule->path_at, rule->path_len))
			continue;
		if (how & VMON_MATCH_SUFFIX && !path_ends_with(path, strings + rule->suffix_at, rule->suffix_len))
			continue;
		/* One and the same character is not of both. */
		if (how & VMON_MATCH_PREFIX && how & VMON_MATCH_SUFFIX && path->len < rule->path_len + rule->suffix_len)
			continue;
		if (how & VMON_MATCH_FLAT && path->count != rule->slashes)
			continue;
		return 1;
	}
	return 0;
}

static u32 holds(struct search *search, const volatile struct vmon_rule *rule, u32 condition)
{
	const struct event *event = search->event;
	u64 task = event->task, comm[2];

	switch (condition) {
	case VMON_MATCH_FLAGS:
		return !!(event->number[0] & rule->flags);
	case VMON_MATCH_PORT:
		return event->port == rule->port;
	case VMON_MATCH_UID:
		return LOAD(u32, LOAD(u64, task, AT.task_cred), AT.cred_uid) == rule->uid;
	case VMON_MATCH_TGID:
		return LOAD(u32, task, AT.task_tgid) == rule->tgid &&
		       LOAD(u64, LOAD(u64, task, AT.task_leader), AT.task_start) == rule->start_ns;
	case VMON_MATCH_COMM:
		comm_of(task, comm);
		return comm[0] == LOAD(u64, rule->comm, 0) && comm[1] == LOAD(u64, rule->comm, 8);
	case VMON_MATCH_ADDRESS:
		return same_address(event, rule);
	case VMON_MATCH_CGROUP:
		return in_cgroup(task, rule->cgroup);
	case VMON_MATCH_TAG:
		return CONFIG->tags && !!(tags_of(LOAD(u32, task, AT.task_tgid),
						  LOAD(u64, LOAD(u64, task, AT.task_leader), AT.task_start)) & rule->tags);
	case VMON_MATCH_EXE:
		return same_exe(search, (const char *)search->table->strings + rule->exe_at, rule->exe_len);
	}
	return 0;
}

static u32 fits(struct search *search, const volatile struct vmon_rule *rule)
{
	u32 match = rule->match, left = (match | rule->unless) & ~PATHS;

	if (!(rule->kinds & BIT(search->event->kind)))
		return 0;
	for (; left; left &= left - 1) {
		u32 condition = left & -left;

		if (holds(search, rule, condition) != !!(match & condition))
			return 0;
	}
	return !(match & PATHS) || path_fits(search, rule, match & PATHS);
}

static u32 key_hash(u32 class, u64 value)
{
	return (u32)((value ^ (class + 1)) * VMON_MIX >> 32);
}

static void try_rule(struct search *search, u32 number)
{
	if (number < search->best && fits(search, &search->table->rules[number]))
		search->best = number;
}

static void try_key(struct search *search, u32 class, u64 value)
{
	const volatile struct vmon_table *table = search->table;
	u32 hash = key_hash(class, value), at = table->buckets[hash % VMON_BUCKETS], steps;

	for (steps = 0; at && at <= VMON_MAX_RULES && steps < VMON_MAX_RULES; steps++) {
		const volatile struct vmon_entry *entry = &table->entries[at - 1];

		if (entry->hash == hash && entry->rule < VMON_MAX_RULES)
			try_rule(search, entry->rule);
		at = entry->next;
	}
}

static void try_folders(struct search *search, const struct path *path)
{
	u64 hash = 0;
	u32 i;

	try_key(search, VMON_KEY_FOLDER, hash);
	for (i = path->count; i-- > 0;) {
		hash = (hash ^ name_hash(path->parts[i].name, path->parts[i].len)) * VMON_MIX;
		try_key(search, VMON_KEY_FOLDER, hash);
	}
}

static void try_paths(struct search *search, u32 classes)
{
	struct event *event = search->event;
	u32 i;

	for (i = 0; i < event->paths; i++) {
		if (classes & BIT(VMON_KEY_NAME))
			try_key(search, VMON_KEY_NAME,
				event->walked & BIT(i) ? path_leaf_hash(&event->path[i]) :
							 place_leaf_hash(event->place[i].vfsmount, event->place[i].dentry));
		if (classes & BIT(VMON_KEY_FOLDER))
			try_folders(search, event_path(event, i));
	}
}

static void try_class(struct search *search, u32 class)
{
	const struct event *event = search->event;
	u64 task = event->task, file, comm[2];

	switch (class) {
	case VMON_KEY_EXE:
		file = exe_file(task);
		if (file)
			try_key(search, class, place_leaf_hash(LOAD(u64, file, AT.file_mnt), LOAD(u64, file, AT.file_dentry)));
		break;
	case VMON_KEY_COMM:
		comm_of(task, comm);
		try_key(search, class, comm[0] * VMON_MIX ^ comm[1]);
		break;
	case VMON_KEY_ADDRESS:
		try_key(search, class, LOAD(u64, event->address, 0) * VMON_MIX ^ LOAD(u64, event->address, 8));
		break;
	case VMON_KEY_PORT:
		try_key(search, class, event->port);
		break;
	case VMON_KEY_UID:
		try_key(search, class, LOAD(u32, LOAD(u64, task, AT.task_cred), AT.cred_uid));
		break;
	case VMON_KEY_TGID:
		try_key(search, class, LOAD(u32, task, AT.task_tgid));
		break;
	}
}

static void try_keys(struct search *search, u32 classes)
{
	u32 paths = BIT(VMON_KEY_NAME) | BIT(VMON_KEY_FOLDER), left;

	if (classes & paths)
		try_paths(search, classes);
	for (left = classes & ~paths; left; left &= left - 1)
		try_class(search, __builtin_ctz(left));
}

/* Whether no rule can fit, as most often, told by the last name of the object alone and before there is an event. */
u32 rules_miss(u32 kind, u64 vfsmount, u64 dentry)
{
	u32 at = CONFIG->table_at, hash, next, steps;
	const volatile struct vmon_table *table = (const volatile struct vmon_table *)(WINDOW + at);

	if (!at || !(table->kinds & BIT(kind)))
		return 1;
	if (table->classes[kind] != BIT(VMON_KEY_NAME) || table->rest_count[kind])
		return 0;
	hash = key_hash(VMON_KEY_NAME, place_leaf_hash(vfsmount, dentry));
	next = table->buckets[hash % VMON_BUCKETS];
	for (steps = 0; next && next <= VMON_MAX_RULES && steps < VMON_MAX_RULES; steps++) {
		if (table->entries[next - 1].hash == hash)
			return 0;
		next = table->entries[next - 1].next;
	}
	return 1;
}

const volatile struct vmon_rule *rules_find(struct event *event)
{
	struct search search;
	u32 i, kind = event->kind, from, n, at = CONFIG->table_at;

	search.table = (const volatile struct vmon_table *)(WINDOW + at);
	if (!at || !(search.table->kinds & BIT(kind)))
		return 0;
	search.event = event;
	search.best = VMON_MAX_RULES;
	search.exe_known = 0;
	if (search.table->classes[kind])
		try_keys(&search, search.table->classes[kind]);
	from = search.table->rest_at[kind];
	n = search.table->rest_count[kind];
	for (i = from; i < from + n && i < VMON_REST && search.table->rest[i] < search.best; i++)
		try_rule(&search, search.table->rest[i]);
	if (search.best >= VMON_MAX_RULES)
		return 0;
	count(&LEDGER->hits[at == VMON_RULES_AT ? 0 : 1][search.best]);
	return &search.table->rules[search.best];
}
