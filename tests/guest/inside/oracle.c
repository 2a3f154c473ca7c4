/* Runs inside the guest and prints what its own /proc says: the truth that vmon's answers are compared with.
 *
 * For every process: the named files, the targets of the named links, every fd with its fdinfo, every thread's stat and
 * status; then an empty file `end`, where it was still there.
 * A frame is `kind length path\n` and then the bytes; kind is f (file), l (link) or e (errno as text).
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char buffer[8 << 20];

static void frame(char kind, const char *path, const char *data, size_t length)
{
	printf("%c %zu %s\n", kind, length, path);
	fwrite(data, 1, length, stdout);
}

static void failed(const char *path)
{
	char text[16];
	int length = snprintf(text, sizeof(text), "%d", errno);
	frame('e', path, text, length);
}

static void file(const char *path)
{
	size_t have = 0;
	ssize_t got;
	int fd = open(path, O_RDONLY | O_NOFOLLOW);

	if (fd < 0) {
		failed(path);
		return;
	}
	/* Chunks: /proc/sys allocates as much as is asked for. */
	while (have + 65536 <= sizeof(buffer) && (got = read(fd, buffer + have, 65536)) > 0)
		have += got;
	if (got < 0)
		failed(path);
	else
		frame('f', path, buffer, have);
	close(fd);
}

static void target(const char *path)
{
	ssize_t length = readlink(path, buffer, sizeof(buffer));

	if (length < 0)
		failed(path);
	else
		frame('l', path, buffer, length);
}

static void each(const char *folder, void (*visit)(const char *))
{
	char path[600];
	struct dirent *entry;
	DIR *dir = opendir(folder);

	if (!dir) {
		failed(folder);
		return;
	}
	while ((entry = readdir(dir))) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		visit(path);
	}
	closedir(dir);
}

static void thread_stat(const char *folder)
{
	char path[600];

	snprintf(path, sizeof(path), "%s/stat", folder);
	file(path);
	snprintf(path, sizeof(path), "%s/status", folder);
	file(path);
}

static void process(const char *folder)
{
	static const char *const files[] = {"stat", "status", "cmdline", "environ", "cgroup", "maps", "smaps_rollup", 0};
	static const char *const links[] = {"exe", "cwd", "root", 0};
	char path[600];

	for (int i = 0; files[i]; i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, files[i]);
		file(path);
	}
	for (int i = 0; links[i]; i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, links[i]);
		target(path);
	}
	snprintf(path, sizeof(path), "%s/ns", folder);
	each(path, target);
	snprintf(path, sizeof(path), "%s/fd", folder);
	each(path, target);
	snprintf(path, sizeof(path), "%s/fdinfo", folder);
	each(path, file);
	snprintf(path, sizeof(path), "%s/task", folder);
	each(path, thread_stat);
	snprintf(path, sizeof(path), "%s/end", folder);
	if (!access(folder, F_OK))
		frame('f', path, "", 0);
}

int main(void)
{
	static const char *const system_files[] = {
		"/proc/stat", "/proc/modules", "/proc/cmdline", "/proc/version", "/proc/meminfo", "/proc/uptime",
		"/proc/sys/kernel/hostname", "/proc/sys/kernel/osrelease", 0,
	};
	static const char *const net_files[] = {"tcp", "tcp6", "udp", "udp6", "unix", "raw", 0};
	struct dirent *entry;
	char path[300];
	DIR *proc = opendir("/proc");
	pid_t self = getpid();

	for (int i = 0; system_files[i]; i++)
		file(system_files[i]);
	for (int i = 0; net_files[i]; i++) {
		snprintf(path, sizeof(path), "/proc/1/net/%s", net_files[i]);
		file(path);
	}
	while ((entry = readdir(proc))) {
		if (!isdigit(entry->d_name[0]) || atoi(entry->d_name) == self)
			continue;
		snprintf(path, sizeof(path), "/proc/%s", entry->d_name);
		process(path);
	}
	return 0;
}
