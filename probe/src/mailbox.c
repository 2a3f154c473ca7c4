/* The mailbox: what the host asks for is done by the kernel's own functions at the next safe moment. */
#include "probe.h"

#define NO_SUCH_PROCESS -3 /* ESRCH */
#define NO_MEMORY -12
#define NO_SUCH_OP -38

/* Found and signalled in one go, with interrupts off: the pid can't be used again in between. */
static s64 signal_process(volatile struct vmon_mailbox *box)
{
	u64 pid = vmon_k_find_pid(box->pid, CONFIG->init_pid_ns), task;

	task = pid ? vmon_k_pid_task(pid, CONFIG->pid_type_tgid) : 0;
	if (!task || LOAD(u64, task, AT.task_start) != box->start_ns)
		return NO_SUCH_PROCESS;
	return box->signal ? vmon_k_kill_pid(pid, box->signal, 1) : 0;
}

/* How many found no place. */
static s64 tag_processes(volatile struct vmon_mailbox *box)
{
	u32 i, n = box->order < VMON_TAG_BATCH ? box->order : VMON_TAG_BATCH, missed = 0;

	for (i = 0; i < n; i++) {
		volatile struct vmon_tag *tag = &LEDGER->batch[i];

		missed += !tags_add(tag->pid, tag->start_ns, tag->tags);
	}
	return missed;
}

void mailbox_answer(void)
{
	volatile struct vmon_mailbox *box = &STATE->mailbox;
	u64 request = box->request;

	if (request == box->done || __atomic_exchange_n((u32 *)&box->busy, 1, __ATOMIC_ACQUIRE))
		return;
	/* Another CPU may have answered between the two looks. */
	request = box->request;
	if (request != box->done) {
		box->value = 0;
		switch (box->op) {
		case VMON_OP_SIGNAL:
			box->result = signal_process(box);
			break;
		case VMON_OP_GET_PAGES:
			box->value = vmon_k_get_pages(CONFIG->gfp, box->order);
			box->result = box->value ? 0 : NO_MEMORY;
			break;
		case VMON_OP_TAG:
			/* Without tags there may be no ledger. */
			box->result = CONFIG->tags ? tag_processes(box) : NO_SUCH_OP;
			break;
		case VMON_OP_FORGET:
			if (CONFIG->tags)
				tags_forget(box->tags);
			box->result = 0;
			break;
		default:
			box->result = NO_SUCH_OP;
		}
		__atomic_store_n((u64 *)&box->done, request, __ATOMIC_RELEASE);
	}
	__atomic_store_n((u32 *)&box->busy, 0, __ATOMIC_RELEASE);
}
