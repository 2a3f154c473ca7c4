/* Where every hooked call arrives: the arguments become an event, the rules judge it, the ring tells of it.
 * Preemption is off meanwhile, for less than a few microseconds: what is pointed to stays. Only who waits for an answer
 * of the host waits with it on, and looks at nothing of the kernel any more.
 */
#include "probe.h"

#define SIGKILL 9

_Static_assert(__builtin_offsetof(struct vmon_config, gates) == VMON_GATES, "entry.S looks there");

static void judge(const volatile struct vmon_hook *hook, const struct regs *regs, struct verdict *verdict)
{
	const volatile struct vmon_rule *rule;
	struct event event;
	u32 i, flags = 0, kind = hook->kind, carried_out;

	verdict->kill = 0;
	event.kind = kind;
	event.paths = event.walked = event.user_len = event.string_len = event.family = event.port = 0;
	event.task = current_task();
	for (i = 0; i < 3; i++)
		event.number[i] = 0;
	for (i = 0; i < 16; i += 8)
		*(u64 *)(event.address + i) = 0;
	if (!describe(&event, hook, regs))
		return;
	if (CONFIG->tags)
		tags_follow(&event);
	count(&STATE->seen[kind]);
	verdict->rule = rule = CONFIG->table_at ? rules_find(&event) : 0;
	carried_out = rule && CONFIG->enforce && !rule->observe;
	if (rule && rule->action >= VMON_DENY) {
		verdict->error = rule->error;
		verdict->kill = rule->action == VMON_KILL;
		flags = (carried_out ? 0 : VMON_WOULD) | (verdict->kill ? VMON_KILLED : 0) |
			(rule->action == VMON_ASK ? VMON_ASKED : 0);
		if (carried_out && rule->action == VMON_ASK) {
			verdict->timeout_ms = rule->timeout_ms;
			verdict->open = rule->open;
			verdict->ask = CONFIG->ask_kinds & BIT(kind) && may_sleep() ? ask_begin() : 0;
			if (!verdict->ask && rule->open)
				verdict->error = 0;
			count(&STATE->asked[kind]);
		}
	}
	/* A check before the act is told of where it had a consequence; the act itself has a hook of its own. */
	if ((rule && rule->action != VMON_ALLOW) || (hook->shape != VMON_SHAPE_BPRM && CONFIG->log_kinds & BIT(kind))) {
		u64 seq = ring_put(&event, verdict, flags);

		verdict->record = (u32)seq;
		if (verdict->ask && !verdict->record) {
			/* Nobody will hear of it. */
			ask_drop(verdict->ask);
			verdict->ask = 0;
			if (rule->open)
				verdict->error = 0;
		}
	}
	if (!carried_out)
		verdict->error = verdict->kill = 0;
	else if (!verdict->ask) {
		if (rule->action == VMON_ASK)
			count(&STATE->unanswered[kind]);
		if (verdict->error)
			count(&STATE->denied[kind]);
	}
	if (verdict->kill)
		vmon_k_send_sig(SIGKILL, event.task, 1);
}

s64 vmon_hook(u32 number, const struct regs *regs)
{
	const volatile struct vmon_hook *hook = &CONFIG->hooks[number & (VMON_HOOKS - 1)];
	u32 kind = hook->kind;
	struct verdict verdict;
	volatile u32 *in_flight;

	if (hook->shape == VMON_SHAPE_TICK) {
		STATE->ticks++;
		if (STATE->mailbox.request != STATE->mailbox.done)
			mailbox_answer();
		return 0;
	}
	verdict.error = verdict.ask = 0;
	preempt_off();
	in_flight = &STATE->in_flight[(LOAD(u32, current_task(), AT.task_cpu) & (VMON_STRIPES - 1)) * 16];
	__asm__ volatile("lock incl %0" : "+m"(*in_flight));
	if (hook->shape == VMON_SHAPE_FILE && !(CONFIG->log_kinds & BIT(kind)) &&
	    rules_miss(kind, LOAD(u64, regs->rdi, AT.file_mnt), LOAD(u64, regs->rdi, AT.file_dentry)))
		count(&STATE->seen[kind]);
	else
		judge(hook, regs, &verdict);
	__asm__ volatile("lock decl %0" : "+m"(*in_flight));
	preempt_on();
	return verdict.ask ? ask_wait(kind, &verdict) : verdict.error;
}
