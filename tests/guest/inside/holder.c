/* Runs inside the guest and does what a shell cannot. Each kind says when it is done, or what the kernel refused.
 *
 * `holder idmap FOLDER`: mounts FOLDER over itself with ids mapped, and ends.
 * `holder locks FOLDER`: takes locks of every kind on files of FOLDER, some of which others wait for; prints the pids.
 * `holder terminal UID`: a session with a terminal of its own, led by UID, with two in the foreground and one behind;
 *     prints the pids, the foreground's last.
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
#include <sys/file.h>
#include <sys/ioctl.h>
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

static int open_in(const char *folder, const char *name)
{
	char path[256];
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	int fd = open(path, O_RDWR | O_CREAT, 0600);
	if (fd < 0)
		say(path);
	return fd;
}

static int range(int fd, int how, short type, off_t start, off_t length)
{
	struct flock wanted = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
	return fcntl(fd, how, &wanted);
}

/* Returns when a process sleeps. */
static void until_asleep(pid_t pid)
{
	char path[64], text[512], *end;
	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	for (;; usleep(10000)) {
		int fd = open(path, O_RDONLY);
		ssize_t got = read(fd, text, sizeof(text) - 1);
		close(fd);
		text[got > 0 ? got : 0] = 0;
		end = strrchr(text, ')');
		if (!end || end[2] == 'S')
			return;
	}
}

/* A process that waits for what is taken, of one kind. */
static void waits(const char *folder, int kind)
{
	pid_t child = fork();
	if (child) {
		printf("%d\n", child);
		until_asleep(child);
		return;
	}
	switch (kind) {
	case 0: range(open_in(folder, "posix"), F_SETLKW, F_WRLCK, 100, 50); break;
	case 1: range(open_in(folder, "posix"), F_SETLKW, F_RDLCK, 140, 5); break;
	case 2: flock(open_in(folder, "flock"), LOCK_EX); break;
	case 3: range(open_in(folder, "ofd"), F_OFD_SETLKW, F_WRLCK, 0, 0); break;
	case 4: open_in(folder, "breaking"); break;
	case 5: flock(open_in(folder, "inherited"), LOCK_SH); pause(); break;
	}
	_exit(0);
}

static int locks(const char *folder)
{
	int fd, other;
	setvbuf(stdout, NULL, _IONBF, 0);
	signal(SIGIO, SIG_IGN);
	printf("%d\n", getpid());
	fd = open_in(folder, "posix");
	range(fd, F_SETLK, F_WRLCK, 100, 50);
	range(fd, F_SETLK, F_RDLCK, 1000, 0);
	flock(open_in(folder, "flock"), LOCK_SH);
	flock(open_in(folder, "odd \xff name"), LOCK_EX);
	range(open_in(folder, "ofd"), F_OFD_SETLK, F_RDLCK, 7, 3);
	fcntl(open_in(folder, "lease"), F_SETLEASE, F_WRLCK);
	fcntl(open_in(folder, "breaking"), F_SETLEASE, F_WRLCK);
	other = open_in(folder, "gone");
	flock(other, LOCK_EX);
	unlinkat(AT_FDCWD, strcat(strcpy((char[300]){0}, folder), "/gone"), 0);
	for (int kind = 0; kind < 6; kind++)
		waits(folder, kind);
	puts("ready");
	pause();
	return 0;
}

static pid_t in_group(pid_t group)
{
	pid_t child = fork();
	if (!child) {
		setpgid(0, group);
		pause();
		_exit(0);
	}
	setpgid(child, group ? group : child);
	printf("%d\n", child);
	return child;
}

static int terminal(int uid)
{
	int unlock = 0, number, control = open("/dev/ptmx", O_RDWR);
	char path[32];
	ioctl(control, TIOCSPTLCK, &unlock);
	ioctl(control, TIOCGPTN, &number);
	snprintf(path, sizeof(path), "/dev/pts/%d", number);
	setsid();
	int fd = open(path, O_RDWR);
	ioctl(fd, TIOCSCTTY, 0);
	open("/dev/tty", O_RDWR);
	put("/proc/self/loginuid", uid == 1000 ? "1000" : "4294967295");
	setresuid(uid, uid, uid);
	printf("%d\n%d\n", number, getpid());
	in_group(0);
	pid_t front = in_group(0);
	in_group(front);
	signal(SIGTTOU, SIG_IGN);
	tcsetpgrp(fd, front);
	puts("ready");
	fflush(stdout);
	pause();
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
	if (argc == 3 && !strcmp(argv[1], "locks"))
		return locks(argv[2]);
	if (argc == 3 && !strcmp(argv[1], "terminal")) {
		setvbuf(stdout, NULL, _IONBF, 0);
		return terminal(atoi(argv[2]));
	}
	return 2;
}
