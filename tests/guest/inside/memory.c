/* Runs inside the guest: a process whose memory holds known patterns in every kind of page, and threads with known
 * registers and stacks. `memory` makes it, prints what lies where (NAME START SIZE, a line each) and leaves it waiting for ever.
 * Swap must be on before, for the pages that shall be there.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE 4096UL
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

static FILE *out;

static unsigned char *area(const char *name, size_t pages, int flags)
{
	unsigned char *at = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
	if (at == MAP_FAILED)
		exit(5);
	fprintf(out, "%s %lu %lu\n", name, (unsigned long)at, pages * PAGE);
	return at;
}

/* Each page says whose it is, and differs from all others. */
static void fill(unsigned char *at, const char *name, size_t page)
{
	at += page * PAGE;
	for (size_t i = 0; i < PAGE; i++)
		at[i] = (unsigned char)(i * 7 + page * 13 + (i >> 8));
	snprintf((char *)at, 64, "page %zu of %s", page, name);
}

static long sleep_req[2] = {1000000, 0};
static volatile int tid, module_tid;
static volatile long turns;

/* Returns when a thread sleeps, in another system call than ioctl. */
static void until_asleep(int thread)
{
	char path[64], text[256];
	snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", thread);
	for (;; usleep(1000)) {
		int fd = open(path, O_RDONLY);
		ssize_t got = fd < 0 ? 0 : read(fd, text, sizeof(text));
		if (fd >= 0)
			close(fd);
		if (got > 0 && text[0] != 'r' && memcmp(text, "16 ", 3))
			return;
	}
}

static void *blocked(void *unused)
{
	(void)unused;
	prctl(PR_SET_NAME, "m-blocked");
	tid = (int)syscall(SYS_gettid);
	/* nanosleep, with registers that nobody would have by chance. */
	__asm__ volatile("movabs $0x1212121212121212, %%r12\n\t"
			 "movabs $0x1313131313131313, %%r13\n\t"
			 "movabs $0x1414141414141414, %%r14\n\t"
			 "movabs $0x1515151515151515, %%r15\n\t"
			 "movabs $0x0b0b0b0b0b0b0b0b, %%rbx\n\t"
			 "1: mov $35, %%eax\n\t"
			 "lea %0, %%rdi\n\t"
			 "xor %%esi, %%esi\n\t"
			 "syscall\n\t"
			 "jmp 1b"
			 :
			 : "m"(sleep_req)
			 : "rax", "rbx", "rcx", "rdi", "rsi", "r11", "r12", "r13", "r14", "r15", "memory");
	return NULL;
}

/* Sleeps in the code of a module, reading of a network device where nothing comes. */
static void *in_module(void *unused)
{
	struct ifreq request = {.ifr_name = "vmontun", .ifr_flags = IFF_TUN | IFF_NO_PI};
	char packet[64];
	int file = open("/dev/net/tun", O_RDWR);
	(void)unused;
	prctl(PR_SET_NAME, "m-module");
	module_tid = (int)syscall(SYS_gettid);
	if (file >= 0 && !ioctl(file, TUNSETIFF, &request))
		read(file, packet, sizeof(packet));
	for (;;)
		pause();
	return NULL;
}

static void *spinning(void *unused)
{
	(void)unused;
	prctl(PR_SET_NAME, "m-spinning");
	for (;;)
		turns++;
	return NULL;
}

int main(int argc, char **argv)
{
	int ends[2];
	if (pipe(ends))
		return 1;
	if (fork()) {
		char text[4096];
		ssize_t got;
		close(ends[1]);
		while ((got = read(ends[0], text, sizeof(text))) > 0)
			if (write(1, text, (size_t)got) != got)
				return 2;
		return 0;
	}
	close(ends[0]);
	for (int fd = 0; fd < 3; fd++)
		close(fd);
	setsid();
	prctl(PR_SET_NAME, "m-memory");
	out = fdopen(ends[1], "w");
	fprintf(out, "pid %d 0\n", getpid());

	unsigned char *at = area("anon", 64, MAP_PRIVATE);
	for (size_t page = 0; page < 64; page += 2)
		fill(at, "anon", page);
	/* A text that crosses from one page into the next, which lies elsewhere in RAM. */
	fill(at, "anon", 9);
	memcpy(at + 9 * PAGE - 6, "vmon-needle-7f3a", 16);
	/* UTF-16 */
	for (int i = 0; i < 12; i++) {
		at[20 * PAGE + 256 + 2 * i] = (unsigned char)"wide-needle!"[i];
		at[20 * PAGE + 257 + 2 * i] = 0;
	}
	at = area("large", 2048, MAP_PRIVATE);
	unsigned char *aligned = (unsigned char *)(((unsigned long)at + (2UL << 20) - 1) & ~((2UL << 20) - 1));
	madvise(aligned, 4UL << 20, MADV_HUGEPAGE);
	for (size_t page = 0; page < 1024; page++)
		fill(aligned, "large", page);
	at = area("none", 8, MAP_PRIVATE);
	for (size_t page = 0; page < 8; page++)
		fill(at, "none", page);
	mprotect(at, 8 * PAGE, PROT_NONE);
	at = area("shared", 8, MAP_SHARED);
	for (size_t page = 0; page < 8; page++)
		fill(at, "shared", page);
	/* Its first pages stay in memory, and nobody maps them. */
	madvise(at, 4 * PAGE, MADV_DONTNEED);
	at = area("zero", 4, MAP_PRIVATE);
	/* Read, never written: the zero page. */
	fprintf(out, "zeros %d 0\n", *(volatile unsigned char *)at);
	at = area("swapped", 64, MAP_PRIVATE);
	for (size_t page = 0; page < 64; page++)
		fill(at, "swapped", page);
	if (madvise(at, 64 * PAGE, MADV_PAGEOUT))
		fprintf(out, "nopageout 0 0\n");
	at = area("guard", 8, MAP_PRIVATE);
	for (size_t page = 0; page < 8; page++)
		fill(at, "guard", page);
	/* MADV_GUARD_INSTALL, 6.13 and later. */
	fprintf(out, "guarded %d 0\n", madvise(at + 2 * PAGE, 2 * PAGE, 102) == 0);

	pthread_t thread;
	pthread_create(&thread, NULL, blocked, NULL);
	while (!tid)
		usleep(1000);
	fprintf(out, "blocked %d 0\n", tid);
	fprintf(out, "request %lu 16\n", (unsigned long)sleep_req);
	until_asleep(tid);
	pthread_create(&thread, NULL, in_module, NULL);
	while (!module_tid)
		usleep(1000);
	until_asleep(module_tid);
	if (argc > 1 && !strcmp(argv[1], "spin")) {
		pthread_create(&thread, NULL, spinning, NULL);
		while (!turns)
			usleep(1000);
	}
	fclose(out);
	for (;;)
		pause();
}
