/* A program that runs itself from memory alone, and there takes hold of a child: what an intruder may do. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int take_hold(void)
{
	pid_t child = fork();

	if (!child)
		for (;;)
			pause();
	ptrace(PTRACE_ATTACH, child, 0, 0);
	waitpid(child, 0, 0);
	kill(child, SIGKILL);
	return 0;
}

int main(int count, char **words)
{
	char buffer[65536];
	ssize_t size;
	int in, out;

	if (count > 1)
		return take_hold();
	in = open("/proc/self/exe", O_RDONLY);
	out = memfd_create("unfiled", MFD_CLOEXEC);
	while ((size = read(in, buffer, sizeof(buffer))) > 0)
		write(out, buffer, size);
	syscall(SYS_execveat, out, "", (char *[]){"unfiled", "again", NULL}, (char *[]){NULL}, AT_EMPTY_PATH);
	perror("execveat");
	return 1;
}
