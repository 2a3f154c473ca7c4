/* Runs inside the guest: what a shell can't do with files.
 *
 * `content resident FILE` prints a letter a page: 1 where it is in the page cache. `content huge` fills a file of two
 * huge pages that has no name, prints its process, descriptor and size, and stays. Nothing here attacks anything.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define HUGE (2 << 20)

static int resident(const char *path)
{
	struct stat about;
	int fd = open(path, O_RDONLY);
	if (fd < 0 || fstat(fd, &about))
		return 1;
	size_t pages = (about.st_size + 4095) / 4096;
	unsigned char *there = malloc(pages);
	void *data = mmap(NULL, about.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (data == MAP_FAILED || mincore(data, about.st_size, there))
		return 1;
	for (size_t i = 0; i < pages; i++)
		putchar('0' + (there[i] & 1));
	putchar('\n');
	return 0;
}

static int huge(void)
{
	int fd = memfd_create("huge", MFD_HUGETLB);
	if (fd < 0 || ftruncate(fd, 3 * HUGE))
		return 1;
	unsigned *data = mmap(NULL, 3 * HUGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (data == MAP_FAILED)
		return 1;
	/* The one in the middle is left as it is: never allocated. */
	for (unsigned i = 0; i < HUGE / sizeof(*data); i++) {
		data[i] = i * 2654435761u;
		data[i + 2 * HUGE / sizeof(*data)] = ~i;
	}
	pid_t child = fork();
	if (!child) {
		close(0), close(1), close(2);
		for (;;)
			pause();
	}
	printf("%d %d\n", child, fd);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "resident"))
		return resident(argv[2]);
	if (argc == 2 && !strcmp(argv[1], "huge"))
		return huge();
	return 2;
}
