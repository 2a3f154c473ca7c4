/* What the probe's C code needs around it when it runs on the host: a window of memory and a kernel that says yes. */
#include "probe.h"

u8 *vmon_window;
u64 native_task;
u64 native_clock;
u64 native_signal[2];
u64 native_killed[2];
u64 native_atomic[2];
u64 native_slept[2]; /* times, and microseconds in all */
void (*native_waiting)(void); /* called at each look for an answer */
u64 native_uncounted[2]; /* calls of the kernel by somebody whom no count of the probe tells of */

/* On a stack such a call can't be told from what is left of an older one. */
static void called(void)
{
	u32 i, counted = STATE->waiting || STATE->mailbox.busy;

	for (i = 0; i < VMON_STRIPES * 16; i++)
		counted |= STATE->in_flight[i];
	native_uncounted[0] += !counted;
}

u64 current_task(void) { return native_task; }
u32 may_sleep(void) { return !native_atomic[0]; }
u64 vmon_k_clock(void)
{
	called();
	return ++native_clock;
}

u64 vmon_k_find_pid(u32 pid, u64 namespace)
{
	called();
	(void)namespace;
	return pid == 404 ? 0 : native_task;
}

u64 vmon_k_pid_task(u64 pid, u32 type)
{
	called();
	(void)type;
	return pid;
}

u64 vmon_k_get_pages(u32 gfp, u32 order)
{
	called();
	(void)gfp;
	return order > 4 ? 0 : 0x1000ul << order;
}

s32 vmon_k_kill_pid(u64 pid, u32 signal, u32 private)
{
	called();
	(void)private;
	native_killed[0] = pid;
	native_killed[1] = signal;
	return 0;
}

s32 vmon_k_send_sig(u32 signal, u64 task, u32 private)
{
	called();
	(void)private;
	native_signal[0] = signal;
	native_signal[1] = task;
	return 0;
}

s64 vmon_k_copy_user(void *to, u64 from, u64 len)
{
	u64 i;

	called();
	for (i = 0; i < len; i++)
		((u8 *)to)[i] = ((u8 *)from)[i];
	return 0;
}

void pause_cpu(void)
{
	if (native_waiting)
		native_waiting();
}

void vmon_k_sleep(u64 least_us, u64 most_us, u32 state)
{
	called();
	(void)most_us;
	(void)state;
	native_slept[0]++;
	native_slept[1] += least_us;
	native_clock += least_us * 1000;
	if (native_waiting)
		native_waiting();
}
