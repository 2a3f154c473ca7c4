/* What the parts of the probe share. Freestanding: no header of any library, no data of its own, no pointer to code. */
#ifndef VMON_PROBE_H
#define VMON_PROBE_H

#include "vmon_abi.h"

#ifdef VMON_NATIVE /* the unit tests on the host */
extern u8 *vmon_window;
#define WINDOW ((u64)vmon_window)
#else
#define WINDOW ((u64)VMON_WINDOW)
#endif

#define CONFIG ((const volatile struct vmon_config *)(WINDOW + VMON_CONFIG_AT))
#define STATE ((volatile struct vmon_state *)(WINDOW + VMON_STATE_AT))
#define LEDGER ((volatile struct vmon_ledger *)(WINDOW + VMON_LEDGER_AT))
/* These never change while the probe is active. */
#define AT (((const struct vmon_config *)CONFIG)->at)

#define LOAD(type, base, offset) (*(const volatile type *)((u64)(base) + (offset)))
#define HAS(offset) ((offset) != VMON_NO_FIELD)
#define BIT(number) (1ul << (number))
#define INTERRUPTS_ON 0x200 /* in RFLAGS */

/* A path is kept as its names, leaf first: it is measured and compared before it is written anywhere. */
#define MAX_PARTS 40
#define MAX_STEPS 200
#define MAX_NAME 255

struct part {
	const u8 *name;
	u32 len;
};

struct path {
	u32 count;
	u32 len;
	u32 cut;
	struct part parts[MAX_PARTS];
};

struct place {
	u64 vfsmount; /* 0: the path is the one within its file system */
	u64 dentry;
};

struct regs {
	u64 r9, r8, rcx, rdx, rsi, rdi, rax;
};

struct event {
	u32 kind;
	u64 task;
	u64 number[3];
	u16 family;
	u16 port;
	u8 address[16];
	u32 paths;
	u32 walked; /* bit a path: it is known */
	u32 user_len; /* bytes of arguments at `user` */
	u64 user;
	const u8 *string; /* a name that is no path: of an abstract unix socket */
	u32 string_len;
	struct place place[VMON_MAX_PATHS];
	struct path path[VMON_MAX_PATHS];
};

struct verdict {
	const volatile struct vmon_rule *rule; /* 0: none fits */
	s32 error;
	u32 kill;
	u32 ask; /* index of the ask plus one */
	u32 record; /* what its answer has to name */
	u32 timeout_ms;
	u32 open; /* without an answer it may go on */
};

/* describe.c: what a hooked call is about; 0 when it is none of ours */
u32 describe(struct event *event, const volatile struct vmon_hook *hook, const struct regs *regs);

/* path.c */
void path_walk(struct path *path, u64 vfsmount, u64 dentry);
u32 path_write(const struct path *path, u8 *to, u32 room);
u32 path_starts_with(const struct path *path, const char *text, u32 len);
u32 path_ends_with(const struct path *path, const char *text, u32 len);
u32 path_equals(const struct path *path, const char *text, u32 len);
u64 name_hash(const u8 *name, u32 len);
u64 place_leaf_hash(u64 vfsmount, u64 dentry);
u64 path_leaf_hash(const struct path *path);

/* Walked once, and only for those who need it. */
static inline const struct path *event_path(struct event *event, u32 number)
{
	struct path *path = &event->path[number];

	if (!(event->walked & BIT(number))) {
		event->walked |= BIT(number);
		path_walk(path, event->place[number].vfsmount, event->place[number].dentry);
	}
	return path;
}

/* ring.c: the record's seq, 0 when there was no room for it */
u64 ring_put(struct event *event, const struct verdict *verdict, u32 flags);

/* rules.c */
const volatile struct vmon_rule *rules_find(struct event *event);
u32 rules_miss(u32 kind, u64 vfsmount, u64 dentry);

/* tags.c */
u32 tags_of(u32 pid, u64 start_ns);
u32 tags_add(u32 pid, u64 start_ns, u32 tags);
void tags_clear(u32 pid, u64 start_ns);
void tags_forget(u32 tags);
void tags_follow(const struct event *event);

/* ask.c */
u32 ask_begin(void);
void ask_drop(u32 ask);
s64 ask_wait(u32 kind, const struct verdict *verdict);

/* hook.c */
s64 vmon_hook(u32 number, const struct regs *regs);

/* mailbox.c */
void mailbox_answer(void);

/* entry.S: jumps into the kernel */
u64 vmon_k_clock(void);
u64 vmon_k_find_pid(u32 pid, u64 namespace);
u64 vmon_k_pid_task(u64 pid, u32 type);
s32 vmon_k_kill_pid(u64 pid, u32 signal, u32 private);
s32 vmon_k_send_sig(u32 signal, u64 task, u32 private);
u64 vmon_k_get_pages(u32 gfp, u32 order);
s64 vmon_k_copy_user(void *to, u64 from, u64 len);
void vmon_k_sleep(u64 least_us, u64 most_us, u32 state);

#ifndef VMON_NATIVE
static inline u64 kernel_pointer(u64 value)
{
	return value >> 63;
}

static inline u64 current_task(void)
{
	u64 task;
	__asm__ volatile("movq %%gs:(%1), %0" : "=r"(task) : "r"(CONFIG->current_task));
	return task;
}

/* Nobody else runs on this CPU until preempt_on(), and what waits for RCU stays. Costs less than stopping interrupts. */
static inline void preempt_off(void)
{
	__asm__ volatile("incl %%gs:(%0)" : : "r"(CONFIG->preempt_count) : "memory");
}

static inline void preempt_on(void)
{
	__asm__ volatile("decl %%gs:(%0)" : : "r"(CONFIG->preempt_count) : "memory");
}

/* Whether the caller may sleep: it holds no lock, serves no interrupt, has not stopped them. Within preempt_off(). */
static inline u32 may_sleep(void)
{
	u32 depth;
	u64 flags;

	__asm__ volatile("movl %%gs:(%1), %0" : "=r"(depth) : "r"(CONFIG->preempt_count));
	__asm__ volatile("pushfq\n\tpopq %0" : "=r"(flags));
	return (depth & 0x7fffffff) == 1 && flags & INTERRUPTS_ON;
}

static inline void pause_cpu(void)
{
	__asm__ volatile("pause");
}
#else
u64 current_task(void);
u32 may_sleep(void);
void pause_cpu(void);
static inline void preempt_off(void) { }
static inline void preempt_on(void) { }
static inline u64 kernel_pointer(u64 value) { return !!value; }
#endif

static inline void count(volatile u64 *counter)
{
	__asm__ volatile("lock incq %0" : "+m"(*counter));
}

static inline u32 take(volatile u32 *word, u32 from, u32 to)
{
	return __atomic_compare_exchange_n((u32 *)word, &from, to, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

#endif
