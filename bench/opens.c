/* Runs inside the guest: `opens N` opens and closes a file N times, `forks N` forks, executes and waits N times; prints
 * nanoseconds a turn. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct timespec a, b;
	long count = argc > 2 ? atol(argv[2]) : 1000;
	int forks = argc > 1 && !strcmp(argv[1], "forks");

	if (argc > 1 && !strcmp(argv[1], "nothing"))
		return 0;
	clock_gettime(CLOCK_MONOTONIC, &a);
	for (long i = 0; i < count; i++) {
		if (forks) {
			pid_t pid = vfork();
			if (!pid) {
				execl(argv[0], argv[0], "nothing", (char *)0);
				_exit(1);
			}
			waitpid(pid, 0, 0);
		} else {
			close(open("/etc/passwd", O_RDONLY));
		}
	}
	clock_gettime(CLOCK_MONOTONIC, &b);
	printf("%ld\n", ((b.tv_sec - a.tv_sec) * 1000000000L + b.tv_nsec - a.tv_nsec) / count);
	return 0;
}
