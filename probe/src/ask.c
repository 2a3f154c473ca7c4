/* The host is asked: the call waits for its answer, bounded in time, and gets what the rule says when none comes. First
 * without sleeping, for a host that looks all the time; then asleep, so that the CPU is free. Preemption is on here.
 */
#include "probe.h"

#define SIGKILL 9
#define UNINTERRUPTIBLE 2
#define SHORTEST_US 100
#define LONGEST_US 10000
#define LOOKS 64 /* without asking the clock, which costs more than a look */

/* An ask that is free, plus one; 0 when there is none, or nobody who would answer. */
u32 ask_begin(void)
{
	u32 i;

	if (!CONFIG->beat || CONFIG->beat == STATE->dead_beat || !CONFIG->ring_slots)
		return 0;
	for (i = 0; i < VMON_ASKS; i++)
		if (take(&STATE->asks[i].taken, 0, 1)) {
			STATE->asks[i].record = 0;
			count(&STATE->waiting);
			return i + 1;
		}
	return 0;
}

void ask_drop(u32 ask)
{
	STATE->asks[ask - 1].taken = 0;
	__asm__ volatile("lock decq %0" : "+m"(STATE->waiting));
}

static u32 answered(const volatile struct vmon_ask *ask, u32 record, u32 *answer)
{
	/* One load: the host writes it as one word. */
	u64 word = LOAD(u64, ask, __builtin_offsetof(struct vmon_ask, answer));

	*answer = (u32)word;
	return word >> 32 == record;
}

s64 ask_wait(u32 kind, const struct verdict *verdict)
{
	volatile struct vmon_ask *ask = &STATE->asks[verdict->ask - 1];
	u64 begin = vmon_k_clock(), now = begin, beat = CONFIG->beat, beat_at = begin;
	u32 known = 0, looks = 0, answer = 0;

	while (!(known = answered(ask, verdict->record, &answer))) {
		if (now - begin < CONFIG->spin_ns && ++looks % LOOKS) {
			pause_cpu();
			continue;
		}
		now = vmon_k_clock();
		if (CONFIG->beat != beat) {
			beat = CONFIG->beat;
			beat_at = now;
		}
		if (now - beat_at > CONFIG->beat_ns)
			STATE->dead_beat = beat;
		if (!CONFIG->enabled || beat == STATE->dead_beat || !beat || now - begin > verdict->timeout_ms * 1000000ul)
			break;
		if (now - begin >= CONFIG->spin_ns) {
			u64 us = (now - begin) / 8000;

			us = us < SHORTEST_US ? SHORTEST_US : us > LONGEST_US ? LONGEST_US : us;
			vmon_k_sleep(us, us + us / 2, UNINTERRUPTIBLE);
		}
	}
	if (!known) {
		count(&STATE->unanswered[kind]);
		answer = verdict->open ? VMON_ANSWER_ALLOW : VMON_ANSWER_DENY;
	}
	if (answer == VMON_ANSWER_KILL)
		vmon_k_send_sig(SIGKILL, current_task(), 1);
	/* Who calls the kernel is counted until it is back: by that it is known when the probe may be taken away. */
	ask_drop(verdict->ask);
	if (answer == VMON_ANSWER_ALLOW)
		return 0;
	count(&STATE->denied[kind]);
	return verdict->error;
}
