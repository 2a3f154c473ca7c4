/* Which processes belong to a tree: a process carries the tags of its parent from the moment it is made. A table in the
 * ledger; a process may lie in any of a few places, so that nobody ever waits for a lock.
 */
#include "probe.h"

static volatile struct vmon_tag *ways_of(u32 pid)
{
	return &LEDGER->tags[(pid * 2654435761u >> 16) % (VMON_TAGS / VMON_TAG_WAYS) * VMON_TAG_WAYS];
}

u32 tags_of(u32 pid, u64 start_ns)
{
	volatile struct vmon_tag *way = ways_of(pid);
	u32 i;

	for (i = 0; i < VMON_TAG_WAYS; i++, way++)
		if (way->pid == pid && way->start_ns == start_ns)
			return way->tags;
	return 0;
}

/* Whether there was a place. */
u32 tags_add(u32 pid, u64 start_ns, u32 tags)
{
	volatile struct vmon_tag *first = ways_of(pid), *way;

	for (way = first; way < first + VMON_TAG_WAYS; way++)
		if (way->pid == pid && way->start_ns == start_ns) {
			__asm__ volatile("lock orl %1, %0" : "+m"(way->tags) : "r"(tags));
			return 1;
		}
	for (way = first; way < first + VMON_TAG_WAYS; way++)
		if (take(&way->pid, 0, ~0u)) {
			way->tags = tags;
			way->start_ns = start_ns;
			__atomic_store_n((u32 *)&way->pid, pid, __ATOMIC_RELEASE);
			return 1;
		}
	return 0;
}

void tags_clear(u32 pid, u64 start_ns)
{
	volatile struct vmon_tag *way = ways_of(pid);
	u32 i;

	for (i = 0; i < VMON_TAG_WAYS; i++, way++)
		if (way->pid == pid && way->start_ns == start_ns)
			__atomic_store_n((u32 *)&way->pid, 0, __ATOMIC_RELEASE);
}

/* Nobody carries these any more. */
void tags_forget(u32 tags)
{
	u32 i;

	for (i = 0; i < VMON_TAGS; i++)
		__asm__ volatile("lock andl %1, %0" : "+m"(LEDGER->tags[i].tags) : "r"(~tags));
}

/* Children inherit; what ended is forgotten. */
void tags_follow(const struct event *event)
{
	u32 pid = LOAD(u32, event->task, AT.task_tgid), tags;
	u64 start_ns = LOAD(u64, LOAD(u64, event->task, AT.task_leader), AT.task_start);

	if (event->kind == VMON_PROCESS_FORK) {
		tags = tags_of(pid, start_ns);
		if (tags && !tags_add((u32)event->number[0], event->number[1], tags))
			count(&STATE->untagged);
	} else if (event->kind == VMON_PROCESS_EXIT) {
		tags_clear(pid, start_ns);
	}
}
