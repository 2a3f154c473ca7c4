/* Runs inside the guest: `crowd N` starts N processes that share nothing, as those of real programs do.
 *
 * Each has executed a file (so it has arguments and pages of its own) and holds eight descriptors of its own: a
 * regular file, two ends of a pipe, an eventfd, a listening TCP socket, a UDP socket, a connected pair of unix
 * sockets; and the three that it inherits.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static int is_up[2];

static void open_own(int number)
{
	char path[64];
	int ends[2], fd;
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(10000 + number),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	snprintf(path, sizeof(path), "/tmp/crowd-%d.log", number);
	if (open(path, O_RDWR | O_CREAT, 0644) < 0 || pipe(ends) || eventfd(0, 0) < 0)
		_exit(3);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(fd, (void *)&at, sizeof(at)) || listen(fd, 5))
		_exit(4);
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	if (bind(fd, (void *)&at, sizeof(at)))
		_exit(5);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends))
		_exit(6);
}

int main(int argc, char **argv)
{
	char done = 1, text[32], pipe_end[16];
	if (argc > 4 && !strcmp(argv[1], "--member")) {
		open_own(atoi(argv[2]));
		prctl(PR_SET_NAME, "crowd-member");
		if (write(atoi(argv[3]), &done, 1) != 1)
			return 7;
		close(atoi(argv[3]));
		for (;;)
			pause();
	}
	int count = argc > 1 ? atoi(argv[1]) : 0;
	if (pipe(is_up) || fcntl(is_up[0], F_SETFD, FD_CLOEXEC))
		return 1;
	snprintf(pipe_end, sizeof(pipe_end), "%d", is_up[1]);
	for (int i = 0; i < count; i++) {
		if (!fork()) {
			snprintf(text, sizeof(text), "%d", i);
			execl("/proc/self/exe", "/lab/crowd", "--member", text, pipe_end, "--config",
			      "/etc/crowd/member.conf", "--log-level=info", (char *)0);
			_exit(2);
		}
		/* One after the other: the emulated CPU is busier with 500 half-started processes. */
		if (read(is_up[0], &done, 1) != 1)
			return 8;
	}
	puts("ready");
	return 0;
}
