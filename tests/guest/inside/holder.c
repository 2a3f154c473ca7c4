/* Runs inside the guest and does what a shell cannot. Each kind says when it is done, or what the kernel refused.
 *
 * `holder idmap FOLDER`: mounts FOLDER over itself with ids mapped, and ends.
 * `holder forget`: unmaps the pages that its arguments are in, prints its pid, and stays.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct attributes {
	uint64_t set, clear, propagation, userns;
};

static int say(const char *what)
{
	printf("%s: %s\n", what, strerror(errno));
	return 1;
}

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		say(path);
	close(fd);
}

static int idmap(const char *folder)
{
	char path[64];
	int ready[2], fd, tree;
	pipe(ready);
	pid_t child = fork();
	if (!child) {
		unshare(CLONE_NEWUSER);
		write(ready[1], "x", 1);
		for (;;)
			pause();
	}
	read(ready[0], path, 1);
	snprintf(path, sizeof(path), "/proc/%d/uid_map", child);
	put(path, "0 1000 10");
	snprintf(path, sizeof(path), "/proc/%d/gid_map", child);
	put(path, "0 1000 10");
	snprintf(path, sizeof(path), "/proc/%d/ns/user", child);
	fd = open(path, O_RDONLY);
	struct attributes wanted = {.set = 0x00100000 /* MOUNT_ATTR_IDMAP */, .userns = fd};
	tree = syscall(428 /* open_tree */, AT_FDCWD, folder, 1 /* OPEN_TREE_CLONE */);
	long refused = syscall(442 /* mount_setattr */, tree, "", AT_EMPTY_PATH, &wanted, sizeof(wanted));
	int error = errno;
	if (!refused)
		refused = syscall(429 /* move_mount */, tree, "", AT_FDCWD, folder, 4 /* MOVE_MOUNT_F_EMPTY_PATH */);
	kill(child, 9);
	waitpid(child, NULL, 0);
	if (refused) {
		errno = error;
		return say("idmap");
	}
	puts("ready");
	return 0;
}

static int forget(char *arguments)
{
	printf("%d\n", getpid());
	fflush(stdout);
	unsigned long page = (unsigned long)arguments & ~4095UL;
	/* The rest of the stack is not needed any more: this stays in the kernel. */
	__asm__ volatile("syscall\n\tmov $34, %%eax\n\tsyscall"
			 : : "a"(11L), "D"(page), "S"(4096L) : "rcx", "r11", "memory");
	return 1;
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "forget"))
		return forget(argv[0]);
	if (argc == 3 && !strcmp(argv[1], "idmap"))
		return idmap(argv[2]);
	return 2;
}
