/* Runs inside a guest: `work [-c] MODE TURNS BATCH [...]` does the same thing again and again and prints what a turn takes
 * in nanoseconds: the median of the batches, and that below which a tenth of them lies.
 * -c: CPU time of the program and its children instead of time that has passed; what waits for a disk is not counted.
 *
 *     opens N B [FILE]      open and close           forks N B        vfork, exec, exit and wait
 *     reads N B FILE SIZE   pread, one after another  writes N B FILE SIZE
 *     mixed N B FILE FLAG   4 KiB at random places, seven pread and three pwrite of ten, by fio's habit; FLAG is
 *                           cached or direct (O_DIRECT)
 *     synced N B FILE SIZE  pwrite and fdatasync
 *     files N B FILE        create, write 4 KiB, close, rename, unlink
 *     run N B COMMAND ...   a command, its output thrown away
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FILE_BYTES (16L << 20)
#define PAGE 4096

static char **words;
static const char *path = "/etc/passwd", *flag = "";
static long size = PAGE;
static int fd = -1, by_cpu;
static char *buffer, page[PAGE];
static uint64_t random_state = 1;

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static long now(void)
{
	struct timespec time;
	struct rusage used;

	clock_gettime(by_cpu ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &time);
	long ns = time.tv_sec * 1000000000L + time.tv_nsec;
	if (!by_cpu)
		return ns;
	getrusage(RUSAGE_CHILDREN, &used);
	return ns + (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000000L +
	       (used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1000L;
}

static void opens(long turn)
{
	int one = open(path, O_RDONLY);
	if (one < 0)
		fail(path);
	close(one);
}

static void child(char **arguments, int quiet)
{
	int status;
	pid_t pid = vfork();

	if (!pid) {
		if (quiet) {
			dup2(fd, 1);
			dup2(fd, 2);
		}
		execvp(arguments[0], arguments);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status) {
		fprintf(stderr, "%s failed\n", arguments[0]);
		exit(1);
	}
}

static void forks(long turn)
{
	child((char *[]){ "/proc/self/exe", "nothing", 0 }, 0);
}

static void run(long turn)
{
	child(words, 1);
}

static void reads(long turn)
{
	if (pread(fd, buffer, size, turn * size % FILE_BYTES) != size)
		fail("pread");
}

static void writes(long turn)
{
	if (pwrite(fd, buffer, size, turn * size % FILE_BYTES) != size)
		fail("pwrite");
}

static void mixed(long turn)
{
	random_state = random_state * 6364136223846793005UL + 1442695040888963407UL;
	long at = (random_state >> 33) % (FILE_BYTES / PAGE) * PAGE;

	if ((random_state >> 20) % 10 < 7) {
		if (pread(fd, buffer, PAGE, at) != PAGE)
			fail("pread");
	} else {
		if (pwrite(fd, buffer, PAGE, at) != PAGE)
			fail("pwrite");
	}
}

static void synced(long turn)
{
	writes(turn);
	if (fdatasync(fd))
		fail("fdatasync");
}

static void files(long turn)
{
	char other[256];
	int one = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);

	snprintf(other, sizeof other, "%s-", path);
	if (one < 0 || write(one, page, PAGE) != PAGE || close(one) || rename(path, other) || unlink(other))
		fail(path);
}

/* A file of full length, so that no turn makes it longer. */
static void open_file(void)
{
	fd = open(path, O_RDWR | O_CREAT, 0600);
	if (fd < 0)
		fail(path);
	for (long at = lseek(fd, 0, SEEK_END); at < FILE_BYTES; at += 1 << 20)
		if (pwrite(fd, buffer, 1 << 20, at) != 1 << 20)
			fail("filling the file");
	fsync(fd);
	if (!strcmp(flag, "direct") && fcntl(fd, F_SETFL, O_DIRECT))
		fail("O_DIRECT");
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static const struct mode {
	const char *name;
	void (*turn)(long);
	int arguments;
	int with_file;
} MODES[] = {
	{ "opens", opens, 0, 0 }, { "forks", forks, 0, 0 }, { "reads", reads, 2, 1 },
	{ "writes", writes, 2, 1 }, { "mixed", mixed, 2, 1 }, { "synced", synced, 2, 1 },
	{ "files", files, 1, 0 }, { "run", run, 1, 0 },
};

int main(int argc, char **argv)
{
	const struct mode *mode = 0;

	if (argc > 1 && !strcmp(argv[1], "nothing"))
		return 0;
	if (argc > 1 && !strcmp(argv[1], "-c")) {
		by_cpu = 1;
		argv++;
		argc--;
	}
	for (size_t i = 0; argc > 3 && i < sizeof MODES / sizeof *MODES; i++)
		if (!strcmp(argv[1], MODES[i].name) && argc - 4 >= MODES[i].arguments)
			mode = &MODES[i];
	long turns = mode ? atol(argv[2]) : 0, batch = mode ? atol(argv[3]) : 0;
	if (!mode || batch < 1 || turns < batch) {
		fputs("work [-c] MODE TURNS BATCH ...\n", stderr);
		return 2;
	}
	if (mode->turn == run) {
		words = argv + 4;
		fd = open("/dev/null", O_WRONLY);
	} else if (argc > 4) {
		path = argv[4];
	}
	if (mode->with_file) {
		if (mode->turn == mixed)
			flag = argv[5];
		else
			size = atol(argv[5]);
		if (posix_memalign((void **)&buffer, PAGE, 1 << 20))
			fail("memory");
		memset(buffer, 'v', 1 << 20);
		open_file();
	}
	long batches = turns / batch;
	double *took = malloc(batches * sizeof *took);
	/* The first of each page and each cache line is nobody's cost. */
	for (long i = 0; i < batch; i++)
		mode->turn(i);
	for (long at = 0; at < batches; at++) {
		long begin = now();
		for (long i = 0; i < batch; i++)
			mode->turn(at * batch + i);
		took[at] = (double)(now() - begin) / batch;
	}
	qsort(took, batches, sizeof *took, by_value);
	printf("%.1f %.1f\n", (took[(batches - 1) / 2] + took[batches / 2]) / 2, took[batches / 10]);
	return 0;
}
